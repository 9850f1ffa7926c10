"""A further correlation method for pySigma backends: `sliding`.

The meaning is the same on every target: an alert for group g exists iff some event e of g completes it among the events
of g with time in [t(e) - W, t(e)], both ends included:

- `value_count`: at least N distinct values;
- `value_sum`, `value_avg`: a sum, or a mean, of at least N, of the values that are numbers;
- `event_count`: at least N events, each counted once, however often it was delivered;
- `temporal`: an event of each of the rules, or what a condition over the rules asks for, without `not`;
- `temporal_ordered`: a chain of events, one of each of the rules in their order. CloudTrail's times are whole seconds,
  so events of the same time count as in order.

One of the rules may be a correlation itself. Its events are those that complete it, each at its own time and with the
fields that it groups by; what completes a chain is the last event of it.

An event without a field of the group, or without the counted field, takes no part; an empty string is no value (the
integration of Elastic drops them at ingest).

A backend has one table, correlation type → the whole query as a template. The stock variables of a template say neither
how long a window is in seconds nor what the threshold is, which a query that must stay cheap needs before the end;
`sliding_variables` gives them.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, TypeVar

from sigma.backends.keywatch._correlation import Correlation, Rule, name_of
from sigma.backends.keywatch._repairs import RepairedBackend
from sigma.correlations import (
    CorrelationConditionNOT,
    SigmaCorrelationConditionOperator,
    SigmaCorrelationRule,
    SigmaCorrelationTypeLiteral,
)
from sigma.exceptions import SigmaFeatureNotSupportedByBackendError
from sigma.pipelines.keywatch._fields import below, cloudtrail_names

T = TypeVar("T")
#: The types that ask for a number.
_AT_LEAST = ("value_count", "value_sum", "value_avg", "event_count", "temporal")
#: Why a comparison has no meaning as a sliding window; of the others it is that they ask for few.
_UNANSWERED: dict[SigmaCorrelationConditionOperator | None, str] = {
    SigmaCorrelationConditionOperator.EQ: "exactly N is passed by a window that goes on to grow",
    SigmaCorrelationConditionOperator.NEQ: "any number but N is true of almost every window",
}


class SlidingWindowBackend(RepairedBackend):
    """A text backend whose correlations can use true sliding windows."""

    default_correlation_method: ClassVar[str] = "sliding"
    #: Correlation type → the query: {search} finds the events, the other variables are those of `sliding_variables`.
    #: What has no entry is refused.
    sliding: ClassVar[Mapping[str, Any]] = {}
    #: Correlation type → the query of the events that complete it, for a correlation that has it among its rules.
    completions: ClassVar[Mapping[str, Any]] = {}
    #: Why it has none.
    why_no_inner: ClassVar[str] = ""
    #: How the values of an evidence field are gathered, with what stands between two of them in front.
    evidence: ClassVar[str]
    #: How the outcomes are gathered, each of which is a text of its own in the rows, with what stands in front.
    outcomes: ClassVar[str] = ""
    #: Whether a group's field can be another one in each rule.
    aliased: ClassVar[bool] = False
    #: Why not, where more can be said than that.
    why_no_aliases: ClassVar[str] = ""
    #: Whether all events can be one group.
    ungrouped: ClassVar[bool] = False
    #: Whether the values of several fields can be counted together.
    combined: ClassVar[bool] = False
    #: What stands between two fields of a group.
    group_joiner: ClassVar[str] = ", "

    def sliding_variables(self, correlation: Correlation) -> dict[str, str]:
        """Return what a template may use.

        field: the counted field; groupby: the group's fields; fields: the evidence; outcomes: how the events of each
        Region ended; window: seconds; count: threshold.
        """
        column = partial(self.column, correlation.rule)
        return {
            "field": column(correlation.counted) if correlation.counted else "",
            "groupby": self.group_joiner.join(map(column, correlation.group)),
            "fields": "".join(self.evidence.format(field=column(name)) for name in correlation.evidence),
            "outcomes": self.outcomes if correlation.outcome else "",
            "window": str(correlation.window),
            "count": str(correlation.least),
        }

    def searches(self, rule: SigmaCorrelationRule) -> list[tuple[str, Any, dict[str, str]]]:
        """Return for each rule that a correlation refers to its name, its query, and alias → field."""
        correlation = Correlation.of(rule)
        assert correlation is not None
        return [
            (name_of(reference.rule), query, correlation.aliases_in(reference))
            for reference in rule.referenced_rules
            for query in reference.rule.get_conversion_result()
        ]

    def column(self, rule: Rule, field: str) -> str:
        """Write the name that a field of a rule has in a query behind its search."""
        return self.escape_and_quote_field(field)

    def convert_correlation_rule_from_template(
        self, rule: SigmaCorrelationRule, correlation_type: SigmaCorrelationTypeLiteral, method: str
    ) -> list[str]:
        """Convert a correlation.

        :raises SigmaFeatureNotSupportedByBackendError: for one that has no meaning as a sliding window.
        """
        if method != "sliding":
            if any(isinstance(reference.rule, SigmaCorrelationRule) for reference in rule.referenced_rules):
                raise SigmaFeatureNotSupportedByBackendError(
                    f"rule '{rule.title}': method '{method}' has no form for a correlation among the rules",
                    source=rule.source,
                )
            warnings.warn(
                f"{rule.title}: correlation method '{method}' counts in fixed time buckets and misses what straddles "
                "their edges; the default method 'sliding' does not",
                stacklevel=2,
            )
            return super().convert_correlation_rule_from_template(rule, correlation_type, method)
        correlation = self.slidable(rule, correlation_type)
        search = self.sliding_search(correlation)
        return [self.sliding[correlation_type].format(search=search, **self.sliding_variables(correlation))]

    def sliding_search(self, correlation: Correlation) -> str:
        """Write the search of the events; each is there once for each rule that it matches, where that matters."""
        if correlation.tagged:
            return self.search_of_each(correlation)
        return str(self.convert_correlation_search(correlation.rule))

    def search_of_each(self, correlation: Correlation) -> str:
        """Write the search of the events that each rule matches, with the rule's name beside them.

        A backend has it that has a type over rules, or aliases. Methods of fixed buckets don't use it.
        """
        raise NotImplementedError

    def slidable(self, rule: SigmaCorrelationRule, correlation_type: str) -> Correlation:
        """Return the view of a correlation that has a meaning as a sliding window.

        :param correlation_type: pySigma's, which has a name of its own for a type with a condition over rules.
        :raises SigmaFeatureNotSupportedByBackendError: for any other.
        """
        correlation = Correlation.of(rule)
        assert correlation is not None
        if correlation_type not in self.sliding:
            known = ", ".join(name for name in self.sliding if not name.endswith("_extended"))
            over_rules = correlation_type.endswith("_extended")
            said = correlation.type + (" with a condition over rules" if over_rules else "")
            problem = f"correlation type {said} has no sliding window here; these have: {known}"
        elif not (correlation.group or self.ungrouped):
            problem = f"a sliding {correlation_type} needs group-by"
        elif rule.aliases and not self.aliased:
            why = f" ({self.why_no_aliases})" if self.why_no_aliases else ""
            problem = f"aliases of fields have no form there{why}; use a field that all its rules have"
        elif correlation.parts and not (self.combined and correlation_type == "value_count"):
            problem = f"a sliding {correlation_type} has one field here, not a list of fields"
        elif correlation_type.startswith("value_") and correlation.counted is None:
            problem = f"a sliding {correlation_type} needs a field"
        elif correlation_type in _AT_LEAST and correlation.least is None:
            why = _UNANSWERED.get(getattr(rule.condition, "op", None), "fewer than N is true of almost every window")
            problem = f"a sliding {correlation_type} needs gte or gt: {why}"
        elif correlation_type == "temporal_ordered" and correlation.least != len(correlation.rules):
            problem = "a chain has all of its rules in it; leave the condition out"
        elif correlation_type.endswith("_extended") and _negates(rule.condition):
            problem = "a rule that must not match has no event that completes it; leave `not` out"
        elif any(inner.kind not in self.completions for inner in correlation.inner):
            problem = f"a correlation among its rules has no form there: {self.why_no_inner}"
        elif lacks := _lacks(correlation):
            problem = lacks
        else:
            return correlation
        raise SigmaFeatureNotSupportedByBackendError(f"rule '{rule.title}': {problem}", source=rule.source)


def combination_of(parts: Sequence[str], length: str, quote: str = '"') -> list[str]:
    """Return what is to be joined to a text of several values, with lengths, so that each can be told apart.

    :param parts: expressions of the values, two or more.
    :param length: writes the length of {part}, of all but the last.
    """
    between, opening, space, closing = (f"{quote}{text}{quote}" for text in (", ", " (", " ", ")"))
    pieces = [piece for part in parts for piece in (between, part)][1:]
    lengths = [piece for part in parts[:-1] for piece in (space, length.format(part=part))][1:]
    return [*pieces, opening, *lengths, closing]


def _lacks(correlation: Correlation) -> str | None:
    """Say which field a correlation is grouped by, or counts, that the events of one of its rules don't have."""
    aliases = {alias.alias for alias in correlation.rule.aliases}
    made = {alias.alias for rule in below(correlation.rule) for alias in getattr(rule, "aliases", ())}
    for reference in correlation.rule.referenced_rules:
        meant, inner = correlation.aliases_in(reference), Correlation.of(reference.rule)
        for key in correlation.keys:
            if key in aliases - meant.keys():
                return f"alias '{key}' names no field of rule '{reference.reference}'"
            field = meant.get(key, key)
            if inner is None and field in made:
                return f"rule '{reference.reference}' has no field '{field}', which is an alias; name one under aliases"
            if inner is not None and field not in inner.group:
                return (
                    f"the events of correlation '{reference.reference}' have only the fields that it groups by, and "
                    f"'{cloudtrail_names(correlation.rule).get(field, field)}' is none of them; add it to its group-by"
                )
    return None


def _negates(condition: object) -> bool:
    """Tell whether a condition over rules has a `not` in it."""
    parsed = getattr(condition, "parsed", condition)
    return isinstance(parsed, CorrelationConditionNOT) or any(map(_negates, getattr(parsed, "args", ())))
