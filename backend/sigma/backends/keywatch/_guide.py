"""Render a rule's triage guide in a target's field names and template syntax."""

from __future__ import annotations

from collections.abc import Callable
from string import Formatter

from sigma.backends.keywatch._sliding import counted_field, least
from sigma.correlations import SigmaCorrelationRule
from sigma.pipelines.keywatch._cloudtrail import GUIDE
from sigma.rule import SigmaRule

from keywatch.pack import Guide


def guide_steps(rule: SigmaRule | SigmaCorrelationRule, field: Callable[[str], str]) -> list[tuple[str, str]]:
    """Return the headings and texts of a rule's guide; none if the rule has no guide.

    :param field: writes an alert's value of a field, given by the target's name, in the target's template syntax.
    """
    guide: Guide | None = rule.custom_attributes.get(GUIDE)
    if guide is None:
        return []
    steps = {title: _fill(text, field) for title, text in guide.steps.items()}
    return [*steps.items(), ("Why this threshold?", f"{_threshold(rule)}{guide.threshold}")]


def _threshold(rule: SigmaRule | SigmaCorrelationRule) -> str:
    if not isinstance(rule, SigmaCorrelationRule):
        return ""
    return (
        f"Set here: {least(rule)} or more distinct {counted_field(rule)} within {rule.timespan.spec}. Why the default: "
    )


def _fill(text: str, field: Callable[[str], str]) -> str:
    return "".join(literal + (field(name) if name else "") for literal, name, _, _ in Formatter().parse(text))
