"""What a rule looks at and when it is raised, in words."""

from __future__ import annotations

from collections.abc import Iterator

from sigma.backends.keywatch._conditions import MEASURES, passes
from sigma.backends.keywatch._correlation import Correlation, Rule
from sigma.conditions import ConditionAND, ConditionFieldEqualsValueExpression, ConditionOR
from sigma.pipelines.keywatch._fields import ELEMENTS
from sigma.rule import SigmaRule
from sigma.types import SigmaString

#: What is counted, as people call it.
_NOUNS = {"awsRegion": "Regions", "requestParameters.modelId": "models", "eventName": "different calls"}


def raised_when(rule: Rule) -> str:
    """Say when an alert is raised: `3 Regions in 30m by userIdentity.arn`."""
    correlation = Correlation.of(rule)
    if correlation is None:
        return "each event"
    by = f", one {' and '.join(correlation.group)}" if correlation.group else ""
    if correlation.type in MEASURES:
        what = "sum" if correlation.type == "value_sum" else "mean"
        return f"{what} of {correlation.counted} {passes(correlation)} in {correlation.rule.timespan.spec}{by}"
    if correlation.least is None or correlation.over_rules:
        in_turn = " in this order" if "ordered" in correlation.type else ""
        return f"{' and '.join(correlation.rules)}{in_turn} in {correlation.rule.timespan.spec}{by}"
    if correlation.parts:
        noun = f"combinations of {' and '.join(correlation.parts)}"
    elif correlation.counted:
        noun = _NOUNS.get(correlation.counted, f"values of {correlation.counted}")
    else:
        noun = "events"
    return f"{correlation.least} {noun} in {correlation.rule.timespan.spec}{by}"


def calls_of(rule: Rule) -> str:
    """Say which calls a rule looks at: services, and what is called there."""
    found: dict[str, dict[str, None]] = {"eventSource": {}, "eventName": {}}
    for field, value in _values(rule):
        if field in found:
            found[field][value] = None
    sources, names = (", ".join(values) for values in found.values())
    return f"{names or 'all calls'} of {sources or 'all services'}"


def _values(rule: Rule) -> Iterator[tuple[str, str]]:
    if isinstance(rule, SigmaRule):
        for condition in rule.detection.parsed_condition:
            yield from _positive(condition.parsed)
    else:
        for reference in rule.referenced_rules:
            yield from _values(reference.rule)


def _positive(condition: object) -> Iterator[tuple[str, str]]:
    """Yield fields and values of a condition that are not excluded."""
    if isinstance(condition, ConditionAND | ConditionOR):
        for argument in condition.args:
            yield from _positive(argument)
    elif isinstance(condition, ConditionFieldEqualsValueExpression) and isinstance(condition.value, SigmaString):
        yield condition.field.removeprefix(ELEMENTS), str(condition.value)
