"""The window in ES|QL 8.19, which has no window functions.

Time is quantised to slices, a minute for windows up to an hour; a principal keeps only if it has N Regions in the whole
look-back; each of its (slice, Region) pairs is then repeated for the W / slice + 1 windows that hold it, and Regions
are counted per window. The cost is linear, nothing is missed, and what is found beyond the exact meaning has a spread
of at most W + one slice. (A join of the events of a principal with themselves is exact, and stopped by a circuit
breaker at 10,000 events: in the attack it is for.)
"""

from __future__ import annotations

from math import ceil
from typing import ClassVar

from sigma.backends.keywatch._correlation import Correlation
from sigma.backends.keywatch._sliding import SlidingWindowBackend
from sigma.correlations import SigmaCorrelationRule
from sigma.exceptions import SigmaFeatureNotSupportedByBackendError
from sigma.pipelines.keywatch._fields import cloudtrail_names

_MINUTE, _HOUR = 60, 3600
#: The column with the name of the rule that an event matches.
_RULE = "rule"


#: The most distinct values in a window; rules that match are counted as values of a column.
_VALUES = (
    """{search}
| WHERE {present}
| EVAL slice = TO_LONG(@timestamp) / {slice}
| STATS value_count = MV_COUNT(VALUES({field})), event_count = COUNT(*), first_seen = MIN(@timestamp),"""
    """ last_seen = MAX(@timestamp), slice = VALUES(CONCAT(TO_STRING(slice), " ", {field})){fields} BY {groupby}
| WHERE value_count >= {count}
| MV_EXPAND slice
| DISSECT slice "%{{slice}} %{{counted_value}}"
| EVAL step = [{steps}]
| MV_EXPAND step
| EVAL window_end = TO_LONG(slice) + step{once}
| STATS value_count = COUNT_DISTINCT(counted_value), {name} = VALUES(counted_value), event_count = MAX(event_count),"""
    """ first_seen = MIN(first_seen), last_seen = MAX(last_seen){fields} BY {groupby}, window_end
| STATS value_count = MAX(value_count), {name} = VALUES({name}), event_count = MAX(event_count),"""
    """ first_seen = MIN(first_seen), last_seen = MAX(last_seen){fields} BY {groupby}
| WHERE value_count >= {count}"""
)


class ESQLSliding(SlidingWindowBackend):
    """The method `sliding` in ES|QL."""

    evidence: ClassVar[str] = ", {field} = VALUES({field})"
    sliding: ClassVar[dict[str, str]] = {
        "value_count": _VALUES,
        "temporal": _VALUES,
        "event_count": """{search}
| WHERE {present}
| STATS seen = MIN(@timestamp){fields} BY {groupby}, event.id
| EVAL slice = TO_LONG(seen) / {slice}
| STATS events = COUNT(*), first_seen = MIN(seen), last_seen = MAX(seen){fields} BY {groupby}, slice
| EVAL step = [{steps}]
| MV_EXPAND step
| EVAL window_end = slice + step, event_count = CASE(step == 0, events, 0){once}
| STATS value_count = SUM(events), event_count = SUM(event_count), first_seen = MIN(first_seen),"""
        """ last_seen = MAX(last_seen){fields} BY {groupby}, window_end
| STATS value_count = MAX(value_count), event_count = SUM(event_count), first_seen = MIN(first_seen),"""
        """ last_seen = MAX(last_seen){fields} BY {groupby}
| WHERE value_count >= {count}""",
    }

    def search_of_each(self, correlation: Correlation) -> str:
        """Write the search of the events, with a row for each rule that one matches."""
        searches = self.searches(correlation.rule)
        any_of = " OR ".join(f"({query})" for _, query, _ in searches)
        tags = ", ".join(f'CASE({query}, {quoted(name.replace(",", " ") + ",")}, "")' for name, query, _ in searches)
        return f'{any_of}\n| EVAL {_RULE} = SPLIT(CONCAT({tags}), ",")\n| MV_EXPAND {_RULE}\n| WHERE {_RULE} != ""'

    def sliding_variables(self, correlation: Correlation) -> dict[str, str]:
        """Add the slices, the condition that all fields have a value, and the evidence that is carried once a group."""
        slice_seconds = grain(correlation.window)
        evidence = map(self.escape_and_quote_field, correlation.evidence)
        variables = super().sliding_variables(correlation)
        name = self._name(correlation)
        if correlation.over_rules:
            variables["field"] = name = _RULE
        return variables | {
            "name": name,
            "slice": str(slice_seconds * 1000),
            "steps": ", ".join(str(step) for step in range(ceil(correlation.window / slice_seconds) + 1)),
            "present": " AND ".join(f'{self.escape_and_quote_field(name)} != ""' for name in correlation.keys),
            "once": "".join(f", {name} = CASE(step == 0, {name}, NULL)" for name in evidence),
        }

    def _name(self, correlation: Correlation) -> str:
        """Write the name of the column of what is counted: CloudTrail's for a value that lies in a text."""
        field = self.escape_and_quote_field(correlation.counted or "")
        names = cloudtrail_names(correlation.rule)
        return f"`{names[correlation.counted or '']}`" if "(" in field else field

    def slidable(self, rule: SigmaCorrelationRule, correlation_type: str) -> Correlation:
        """Return the view of a correlation whose group is fields.

        :raises SigmaFeatureNotSupportedByBackendError: for any other.
        """
        correlation = super().slidable(rule, correlation_type)
        for name in correlation.group:
            if "(" in name:
                field = cloudtrail_names(rule).get(name, name)
                raise SigmaFeatureNotSupportedByBackendError(
                    f"rule '{rule.title}': '{field}' is no field of Elastic's integration, but lies in a text; "
                    "it can't be grouped by",
                    source=rule.source,
                )
        return correlation


def grain(window: int) -> int:
    """Return the seconds that time is quantised to: a minute, a second for windows of less, more beyond an hour."""
    if window < _MINUTE:
        return 1
    return _MINUTE if window <= _HOUR else ceil(window / _HOUR) * _MINUTE


def quoted(text: str) -> str:
    """Write a text."""
    escapes: dict[str, str] = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}
    return '"' + "".join(escapes.get(char, char) for char in text) + '"'
