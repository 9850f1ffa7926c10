"""The exact window in KQL.

Kusto has no window of distinct values, so they are counted as a sum that runs through time, as in Athena's SQL: a value
counts from its first event to a window after its last, or without a break when it is seen again before. An event is one
row, with a beginning (+1) or an end (-1) beside it where it makes one; beginnings come before ends of the same moment,
so both ends of a window are in. Exact, and two sorts.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from sigma.backends.keywatch._correlation import Correlation, Rule
from sigma.backends.keywatch._sliding import SlidingWindowBackend, condition_over_rules
from sigma.backends.keywatch.sentinel.values import literal
from sigma.correlations import SigmaCorrelationRule
from sigma.exceptions import SigmaFeatureNotSupportedByBackendError
from sigma.pipelines.keywatch._fields import cloudtrail_names

_EVENT = "AwsEventId"
#: The column with the name of the rule that an event matches.
RULE = "rule"
_QUERY = """{search}
| where {present}
| sort by {in_order}, {measured} asc, TimeGenerated asc
| extend begins = not({same_before} and TimeGenerated - prev(TimeGenerated) <= {window}s)
| extend ends = not({same_after} and next(TimeGenerated) - TimeGenerated <= {window}s)
| mv-expand step = pack_array(1, 0, -1) to typeof(long)
| where step == 0 or (step == 1 and begins) or (step == -1 and ends)
| extend at = iff(step == -1, TimeGenerated + {window}s, TimeGenerated)
| sort by {in_order}, at asc, step desc
{present_at}
| summarize value_count = max(present), event_count = countif(step == 0), first_seen = minif(TimeGenerated, step == 0),
    last_seen = maxif(TimeGenerated, step == 0){fields}
    by {groupby}
| where value_count >= {count}"""


class SentinelSliding(SlidingWindowBackend):
    """The method `sliding` in KQL."""

    evidence: ClassVar[str] = ""
    sliding: ClassVar[dict[str, str]] = {
        "value_count": _QUERY,
        "event_count": _QUERY,
        "temporal": _QUERY,
        "temporal_extended": _QUERY,
    }

    def search_of_each(self, correlation: Correlation) -> str:
        """Write the search of the events, with a row for each rule that one matches."""
        searches = self.searches(correlation.rule)
        any_of = "\n    or ".join(f"({query})" for _, query, _ in searches)
        tags = ", ".join(f'iff({query}, {literal(name)}, "")' for name, query, _ in searches)
        return (
            f"AWSCloudTrail\n| where {any_of}\n| mv-expand {RULE} = pack_array({tags}) to typeof(string)\n"
            f"| where isnotempty({RULE})"
        )

    def sliding_variables(self, correlation: Correlation) -> dict[str, str]:
        """Add the conditions that compare an event with its neighbours, and the evidence under names of their own."""
        measured = RULE if correlation.over_rules else correlation.counted or _EVENT
        sets = "".join(
            f",\n    {column(correlation.rule, name)} = array_sort_asc(make_set_if({value}, isnotempty({value})))"
            for name in [*correlation.keys[len(correlation.group) :], *correlation.evidence]
            for value in (self.escape_and_quote_field(name),)
        )
        same_group = _same("prev", correlation.group)
        present_at = f"| extend present = row_cumsum(step, not({same_group}))"
        numbers = range(len(correlation.rules))
        if condition := condition_over_rules(correlation, [f"seen_{number} > 0" for number in numbers], "and", "or"):
            seen = ",\n    ".join(
                f"seen_{number} = row_cumsum(iff({RULE} == {literal(name)}, step, 0), not({same_group}))"
                for number, name in enumerate(correlation.rules)
            )
            present_at = f"| extend {seen}\n| extend present = iff({condition}, {correlation.enough}, 0)"
        if correlation.over_rules:
            sets = f",\n    {RULE} = array_sort_asc(make_set_if({RULE}, isnotempty({RULE})))" + sets
        return super().sliding_variables(correlation) | {
            "count": str(correlation.enough),
            "present_at": present_at,
            "present": " and ".join(f"isnotempty({name})" for name in correlation.keys),
            "in_order": ", ".join(f"{name} asc" for name in correlation.group),
            "measured": measured,
            "same_before": _same("prev", [*correlation.group, measured]),
            "same_after": _same("next", [*correlation.group, measured]),
            "fields": sets,
        }

    def slidable(self, rule: SigmaCorrelationRule, correlation_type: str) -> Correlation:
        """Return the view of a correlation whose group and count are columns.

        :raises SigmaFeatureNotSupportedByBackendError: for any other.
        """
        correlation = super().slidable(rule, correlation_type)
        for name in correlation.keys:
            if is_expression(name):
                raise SigmaFeatureNotSupportedByBackendError(
                    f"rule '{rule.title}': '{column(rule, name)}' is no column of AWSCloudTrail, so it can't be "
                    "grouped by or counted",
                    source=rule.source,
                )
        return correlation


def is_expression(field: str) -> bool:
    """Tell whether a field is no column of its own, but lies in a column that is JSON."""
    return "(" in field


def column(rule: Rule, field: str) -> str:
    """Return the name that a value has in a row: the column's, or CloudTrail's for what is in no column of its own."""
    return cloudtrail_names(rule)[field].replace(".", "_") if is_expression(field) else field


def _same(neighbour: str, fields: Iterable[str]) -> str:
    return " and ".join(f"{neighbour}({name}) == {name}" for name in fields)
