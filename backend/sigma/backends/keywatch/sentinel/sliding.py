"""The exact window in KQL.

Kusto has no window of distinct values, so they are counted as a sum that runs through time, as in Athena's SQL: a value
counts from its first event to a window after its last, or without a break when it is seen again before. An event is one
row, with a beginning (+1) or an end (-1) beside it where it makes one; beginnings come before ends of the same moment,
so both ends of a window are in. Exact, and two sorts.
"""

from __future__ import annotations

from itertools import accumulate
from typing import ClassVar

from sigma.backends.keywatch._conditions import MEASURES, condition_over_rules, passes
from sigma.backends.keywatch._correlation import COMBINATION, OUTCOMES, Correlation, Rule, name_of
from sigma.backends.keywatch._sliding import SlidingWindowBackend, combination_of
from sigma.backends.keywatch.sentinel.outcomes import same, told
from sigma.backends.keywatch.sentinel.values import literal
from sigma.pipelines.keywatch._fields import cloudtrail_names

_EVENT = "AwsEventId"
#: The column with the name of the rule that an event matches, and the one with its place among them.
RULE, _PLACE = "rule", "place"
#: The column that groups all events, where a correlation has no group.
_ALL_EVENTS = "AllEvents"
_STEPS = """{search}
| where {present}
| sort by {in_order}, {measured} asc, TimeGenerated asc
| extend begins = not({same_before} and TimeGenerated - prev(TimeGenerated) <= {window}s)
| extend ends = not({same_after} and next(TimeGenerated) - TimeGenerated <= {window}s)
| mv-expand step = pack_array(1, 0, -1) to typeof(long)
| where step == 0 or (step == 1 and begins) or (step == -1 and ends)
| extend at = iff(step == -1, TimeGenerated + {window}s, TimeGenerated)
| sort by {in_order}, at asc, step desc
{present_at}"""
#: What a chain that began latest is carried along with, which is what the state of `scan` is for.
_CHAIN = """{search}
| where {present}
| sort by {in_order}, TimeGenerated asc, {place} asc
| scan declare ({declared}) with (
    step each: true =>
        {carried};
)
| extend step = 0, present = iff({met}, {count}, 0)"""
_SUMMARY = """{told}
| summarize value_count = max(present), event_count = countif(step == 0), first_seen = minif(TimeGenerated, step == 0),
    last_seen = maxif(TimeGenerated, step == 0){outcomes}{fields}
    by {groupby}
| where value_count {passes}"""
#: The events that complete a correlation, without the columns that counting has added.
_COMPLETED = """
| where step == 0 and present {passes}
| project-away {added}"""


class SentinelSliding(SlidingWindowBackend):
    """The method `sliding` in KQL."""

    evidence: ClassVar[str] = ""
    outcomes: ClassVar[str] = f",\n    {OUTCOMES} = array_sort_asc(make_set_if({OUTCOMES}, isnotempty({OUTCOMES})))"
    aliased: ClassVar[bool] = True
    ungrouped: ClassVar[bool] = True
    combined: ClassVar[bool] = True
    sliding: ClassVar[dict[str, str]] = {
        "value_count": _STEPS + _SUMMARY,
        "event_count": _STEPS + _SUMMARY,
        "value_sum": _STEPS + _SUMMARY,
        "value_avg": _STEPS + _SUMMARY,
        "temporal": _STEPS + _SUMMARY,
        "temporal_extended": _STEPS + _SUMMARY,
        "temporal_ordered": _CHAIN + _SUMMARY,
    }

    completions: ClassVar[dict[str, str]] = {
        kind: template.removesuffix(_SUMMARY) + _COMPLETED for kind, template in sliding.items()
    }

    def sliding_search(self, correlation: Correlation) -> str:
        """Write the search of the events, with columns for what they are grouped by and what is counted."""
        search = super().sliding_search(correlation)
        if not correlation.group:
            search += f'\n| extend {_ALL_EVENTS} = "all events"'
        for field in filter(is_expression, correlation.keys):
            search += f"\n| extend {column(correlation.rule, field)} = {self.escape_and_quote_field(field)}"
        if correlation.parts:
            pieces = combination_of([column(correlation.rule, field) for field in correlation.parts], "strlen({part})")
            search += f"\n| extend {column(correlation.rule, COMBINATION)} = strcat({', '.join(pieces)})"
        return search

    def search_of_each(self, correlation: Correlation) -> str:
        """Write the search of the events, with a row for each rule that one matches, or that it completes."""
        rule, searches = correlation.rule, self.searches(correlation.rule)
        inner = {name_of(one.rule): one for one in correlation.inner}
        singles = [query for name, query, _ in searches if name not in inner]
        search = ""
        if singles:
            any_of = "\n    or ".join(f"({query})" for query in singles)
            tags = ", ".join(
                '""' if name in inner else f'iff({query}, {literal(name)}, "")' for name, query, _ in searches
            )
            search = (
                f"AWSCloudTrail\n| where {any_of}\n"
                f"| mv-expand with_itemindex={_PLACE} {RULE} = pack_array({tags}) to typeof(string)\n"
                f"| where isnotempty({RULE})\n| "
            )
        completed = [
            f"(\n{self._completed(inner[name])}\n| extend {RULE} = {literal(name)}, {_PLACE} = {place}\n)"
            for place, (name, *_) in enumerate(searches)
            if name in inner
        ]
        search = f"{search}union {', '.join(completed)}" if completed else search.removesuffix("\n| ")
        for alias in dict.fromkeys(alias for *_, aliases in searches for alias in aliases):
            values = ", ".join(
                f"{_PLACE} == {place}, {self.escape_and_quote_field(aliases[alias])}"
                for place, (*_, aliases) in enumerate(searches)
                if alias in aliases
            )
            search += f'\n| extend {column(rule, alias)} = case({values}, "")'
        return search

    def _completed(self, correlation: Correlation) -> str:
        variables = self.sliding_variables(correlation)
        added = [
            "step",
            "present",
            *((_began(correlation) or ["began"]) if correlation.type == "temporal_ordered" else []),
        ]
        search = self.sliding_search(correlation)
        return self.completions[correlation.kind].format(search=search, added=", ".join(added), **variables)

    def group_columns(self, correlation: Correlation) -> list[str]:
        """Return the columns that tell one group from another."""
        return [column(correlation.rule, field) for field in correlation.group] or [_ALL_EVENTS]

    def sliding_variables(self, correlation: Correlation) -> dict[str, str]:
        """Add the conditions that compare an event with its neighbours, and the evidence under names of their own."""
        rule, group = correlation.rule, self.group_columns(correlation)
        counted = column(rule, correlation.counted) if correlation.counted else ""
        shown = [counted] if counted else []
        shown += [RULE] if correlation.over_rules else []
        evidence = {name: name for name in shown} | {
            column(rule, field): self.escape_and_quote_field(field) for field in correlation.evidence
        }
        sets = "".join(
            f",\n    {name} = array_sort_asc(make_set_if({value}, isnotempty({value})))"
            for name, value in evidence.items()
        )
        keys = [column(rule, field) for field in correlation.keys]
        present = [f"isnotempty({name})" for name in dict.fromkeys([*group, *keys])]
        measured = RULE if correlation.over_rules else counted or _EVENT
        variables = super().sliding_variables(correlation) | {
            "groupby": ", ".join(group),
            "count": str(correlation.enough),
            "passes": passes(correlation),
            "in_order": ", ".join(f"{name} asc" for name in group),
            "fields": sets,
            "told": told(correlation, group),
            "present_at": self._present_at(correlation, same("prev({})", group)),
        }
        if correlation.type in MEASURES:
            measured = _EVENT
            present.append(f"isnotnull(todouble({counted}))")
        if correlation.type == "temporal_ordered":
            variables |= _carried(correlation, same("each.{}", group))
        return variables | {
            "present": " and ".join(present),
            "measured": measured,
            "same_before": same("prev({})", [*group, measured]),
            "same_after": same("next({})", [*group, measured]),
        }

    def _present_at(self, correlation: Correlation, same_group: str) -> str:
        """Write what adds up the steps: how many are in a window, how much, or whether the rules are."""
        sums = f"row_cumsum(step, not({same_group}))"
        if correlation.type in MEASURES:
            # A mean may rise where an event leaves the window, and a sum too, where no event completes anything.
            counted = column(correlation.rule, correlation.counted or "")
            measured = f"row_cumsum(step * todouble({counted}), not({same_group}))"
            value = measured if correlation.type == "value_sum" else f"{measured} / {sums}"
            return f"| extend present = {value}\n| extend present = iff(step == 0, present, real(null))"
        numbers = range(len(correlation.rules))
        if condition := condition_over_rules(correlation, [f"seen_{number} > 0" for number in numbers], "and", "or"):
            seen = ",\n    ".join(
                f"seen_{number} = row_cumsum(iff({RULE} == {literal(name)}, step, 0), not({same_group}))"
                for number, name in enumerate(correlation.rules)
            )
            return f"| extend {seen}\n| extend present = iff({condition}, {correlation.enough}, 0)"
        return f"| extend present = {sums}"


def _carried(correlation: Correlation, same_group: str) -> dict[str, str]:
    """Return the columns that say when the latest chain of the first N rules began, and what is met where it ends."""
    *first, last = _places(correlation)
    began = _began(correlation)
    before = ["TimeGenerated", *(f"iff({same_group}, each.{name}, datetime(null))" for name in began)]
    carried = [
        f"{name} = iff({first[number]}, {before[number]}, {before[number + 1]})" for number, name in enumerate(began)
    ]
    return {
        "place": _PLACE,
        "declared": ", ".join(f"{name}: datetime" for name in began) or "began: datetime",
        "carried": ",\n        ".join(carried) or "began = TimeGenerated",
        "met": " and ".join([last, *(f"TimeGenerated - {name} <= {correlation.window}s" for name in began[-1:])]),
    }


def _began(correlation: Correlation) -> list[str]:
    return [f"began_{number}" for number in range(len(correlation.rules) - 1)]


def _places(correlation: Correlation) -> list[str]:
    """Return for each rule the condition that an event is one that it matches; a rule may have several queries."""
    counts = [len(reference.rule.get_conversion_result()) for reference in correlation.rule.referenced_rules]
    ends = list(accumulate(counts))
    return [
        "(" + " or ".join(f"{_PLACE} == {place}" for place in range(end - count, end)) + ")"
        for count, end in zip(counts, ends, strict=True)
    ]


def is_expression(field: str) -> bool:
    """Tell whether a field is no column of its own, but lies in a column that is JSON."""
    return "(" in field


def column(rule: Rule, field: str) -> str:
    """Write the name that a value has in a row: the column's, or CloudTrail's for what is in no column of its own."""
    name = cloudtrail_names(rule)[field].replace(".", "_") if is_expression(field) else field
    # An alias may be any text, also one of KQL's words, which are all lower case.
    return name if name.isidentifier() and not name.islower() else f"[{literal(name)}]"
