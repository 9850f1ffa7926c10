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

from sigma.backends.keywatch._conditions import condition_over_rules
from sigma.backends.keywatch._correlation import COMBINATION, OUTCOMES, SUCCESS, Correlation, Rule
from sigma.backends.keywatch._sliding import SlidingWindowBackend, combination_of
from sigma.pipelines.keywatch._fields import cloudtrail_names

_MINUTE, _HOUR = 60, 3600
#: The column with the name of the rule that an event matches.
_RULE = "rule"
#: The column that groups all events, where a correlation has no group.
ALL_EVENTS = "all_events"

#: The most distinct values in a window; rules that match are counted as values of a column.
_VALUES = (
    """{search}
| WHERE {present}
| EVAL slice = TO_LONG(@timestamp) / {slice}, ended = {ended}
| STATS event_count = COUNT(*), first_seen = MIN(@timestamp), last_seen = MAX(@timestamp), {field} = VALUES({field}),"""
    """ slice = VALUES(CONCAT(TO_STRING(slice), " ", {field})){fields} BY {groupby}, ended{told}
| STATS value_count = MV_COUNT(VALUES({field})), event_count = SUM(event_count), first_seen = MIN(first_seen),"""
    """ last_seen = MAX(last_seen), slice = VALUES(slice){outcomes}{fields} BY {groupby}
| WHERE value_count >= {count}
| MV_EXPAND slice
| DISSECT slice "%{{slice}} %{{counted_value}}"
| EVAL step = [{steps}]
| MV_EXPAND step
| EVAL window_end = TO_LONG(slice) + step{once}
| STATS value_count = COUNT_DISTINCT(counted_value), {field} = VALUES(counted_value), event_count = MAX(event_count),"""
    """ first_seen = MIN(first_seen), last_seen = MAX(last_seen){outcomes}{fields} BY {groupby}, window_end
| STATS value_count = MAX(value_count), {field} = VALUES({field}), event_count = MAX(event_count),"""
    """ first_seen = MIN(first_seen), last_seen = MAX(last_seen){outcomes}{fields} BY {groupby}
| WHERE value_count >= {count}"""
)
#: The most events in a window, each counted once however often it was delivered.
_EVENTS = (
    """{search}
| WHERE {present}
| STATS seen = MIN(@timestamp){fields} BY {groupby}, event.id
| EVAL slice = TO_LONG(seen) / {slice}, ended = {ended}
| STATS events = COUNT(*), first_seen = MIN(seen), last_seen = MAX(seen){fields} BY {groupby}, slice, ended
| STATS event_count = SUM(events), first_seen = MIN(first_seen), last_seen = MAX(last_seen),"""
    """ slice = VALUES(CONCAT(TO_STRING(slice), " ", TO_STRING(events))){fields} BY {groupby}, ended{told}
| MV_EXPAND slice
| DISSECT slice "%{{slice}} %{{events}}"
| EVAL step = [{steps}]
| MV_EXPAND step
| EVAL window_end = TO_LONG(slice) + step, events = TO_LONG(events)
| EVAL event_count = CASE(step == 0, events, 0){once}
| STATS value_count = SUM(events), event_count = SUM(event_count), first_seen = MIN(first_seen),"""
    """ last_seen = MAX(last_seen){outcomes}{fields} BY {groupby}, window_end
| STATS value_count = MAX(value_count), event_count = SUM(event_count), first_seen = MIN(first_seen),"""
    """ last_seen = MAX(last_seen){outcomes}{fields} BY {groupby}
| WHERE value_count >= {count}"""
)
#: How many events of a group ended so, and from when to when.
_TOLD = """
| EVAL {outcomes} = CONCAT(ended, ": ", TO_STRING(event_count), " (", {first}, " to ", {last}, ")")"""
_MOMENT = """DATE_FORMAT("yyyy-MM-dd'T'HH:mm:ss'Z'", {time})"""


#: The same for rules: which match in a window, or when, as far as that matters, and whether that is what is asked for.
_MET = (
    """{search}
| WHERE {present}
| EVAL slice = TO_LONG(@timestamp) / {slice}
| STATS event_count = COUNT(*), first_seen = MIN(@timestamp), last_seen = MAX(@timestamp){fields}"""
    """ BY {groupby}, rule, slice
| EVAL step = [{steps}]
| MV_EXPAND step
| EVAL window_end = slice + step, event_count = CASE(step == 0, event_count, 0), seen = CASE(step == 0, rule, NULL)"""
    """{once}
| STATS {gathered}, event_count = SUM(event_count), first_seen = MIN(first_seen), last_seen = MAX(last_seen),"""
    """ rule = VALUES(seen){fields} BY {groupby}, window_end{stages}
| EVAL value_count = CASE({met}, {count}, 0)
| STATS value_count = MAX(value_count), event_count = SUM(event_count), first_seen = MIN(first_seen),"""
    """ last_seen = MAX(last_seen), rule = VALUES(rule){fields} BY {groupby}
| WHERE value_count >= {count}"""
)
#: The next rule of a chain: of its slices in a window, those that do not end before the chain so far, and how early the
#: chain can be when it comes to the first of them.
_NEXT = (
    """
| MV_EXPAND times_{number}
| DISSECT times_{number} "%{{earliest}} %{{latest}}"
| EVAL reached = CASE(TO_LONG(latest) >= reached, GREATEST(TO_LONG(earliest), reached), NULL)
| STATS reached = MIN(reached){later}, event_count = MAX(event_count), first_seen = MIN(first_seen),"""
    """ last_seen = MAX(last_seen), rule = VALUES(rule){fields} BY {groupby}, window_end"""
)


class ESQLSliding(SlidingWindowBackend):
    """The method `sliding` in ES|QL."""

    why_no_inner: ClassVar[str] = "ES|QL counts by slices of time, and no row of an event is left to complete it"
    aliased: ClassVar[bool] = True
    ungrouped: ClassVar[bool] = True
    combined: ClassVar[bool] = True
    evidence: ClassVar[str] = ", {field} = VALUES({field})"
    outcomes: ClassVar[str] = evidence.format(field=OUTCOMES)
    sliding: ClassVar[dict[str, str]] = {
        "value_count": _VALUES,
        "temporal": _VALUES,
        "temporal_extended": _MET,
        "temporal_ordered": _MET,
        "event_count": _EVENTS,
    }

    def search_of_each(self, correlation: Correlation) -> str:
        """Write the search of the events, with a row for each rule that one matches."""
        searches = self.searches(correlation.rule)
        any_of = " OR ".join(f"({query})" for _, query, _ in searches)
        tags = ", ".join(f'CASE({query}, {quoted(name.replace(",", " ") + ",")}, "")' for name, query, _ in searches)
        search = f'{any_of}\n| EVAL {_RULE} = SPLIT(CONCAT({tags}), ",")\n| MV_EXPAND {_RULE}\n| WHERE {_RULE} != ""'
        for alias in dict.fromkeys(alias for *_, aliases in searches for alias in aliases):
            values = ", ".join(
                f"{_is(rule)}, {self.escape_and_quote_field(aliases[alias])}"
                for rule, _, aliases in searches
                if alias in aliases
            )
            search += f"\n| EVAL {self.escape_and_quote_field(alias)} = CASE({values}, NULL)"
        return search

    def sliding_search(self, correlation: Correlation) -> str:
        """Write the search of the events, with columns for what they are grouped by and what is counted."""
        search = super().sliding_search(correlation)
        if not correlation.group:
            search += f'\n| EVAL {ALL_EVENTS} = "all events"'
        for field in correlation.keys:
            if (name := self.column(correlation.rule, field)) != (written := self.escape_and_quote_field(field)):
                search += f"\n| EVAL {name} = {written}"
        if correlation.parts:
            parts = [self.column(correlation.rule, field) for field in correlation.parts]
            pieces = combination_of(parts, "TO_STRING(LENGTH({part}))")
            search += f"\n| EVAL {COMBINATION} = CONCAT({', '.join(pieces)})"
        return search

    def column(self, rule: Rule, field: str) -> str:
        """Write the name of a column."""
        return f"`{name_of(rule, field)}`" if "(" in field else self.escape_and_quote_field(field)

    def sliding_variables(self, correlation: Correlation) -> dict[str, str]:
        """Add the slices, the condition that all fields have a value, and the evidence that is carried once a group.

        Where rules have to match, add what tells which did.
        """
        slice_seconds = grain(correlation.window)
        shown = [*map(self.escape_and_quote_field, correlation.evidence), *([OUTCOMES] * tells_outcomes(correlation))]
        variables = super().sliding_variables(correlation)
        variables["groupby"] = variables["groupby"] or ALL_EVENTS
        if correlation.over_rules:
            variables |= {"field": _RULE, "count": str(correlation.enough)}
            variables |= self._met(correlation, variables)
        present = " AND ".join(f'{self.column(correlation.rule, name)} != ""' for name in correlation.keys)
        variables |= self._told(correlation)
        return variables | {
            "slice": str(slice_seconds * 1000),
            "steps": ", ".join(str(step) for step in range(ceil(correlation.window / slice_seconds) + 1)),
            "present": present or "true",
            "once": "".join(f", {name} = CASE(step == 0, {name}, NULL)" for name in shown),
        }

    def _told(self, correlation: Correlation) -> dict[str, str]:
        """Return what events are told apart by, and what says of each how many there are and when."""
        if correlation.outcome is None or not tells_outcomes(correlation):
            return {"ended": '""', "told": ""}
        region, error = map(self.escape_and_quote_field, correlation.outcome)
        first, last = (_MOMENT.format(time=time) for time in ("first_seen", "last_seen"))
        return {
            "ended": f'CONCAT(COALESCE({region}, "-"), " ", COALESCE({error}, {quoted(SUCCESS)}))',
            "told": _TOLD.format(outcomes=OUTCOMES, first=first, last=last),
        }

    def _met(self, correlation: Correlation, variables: dict[str, str]) -> dict[str, str]:
        """Return what is gathered of the rules in a window, the stages that follow, and what is met at the end."""
        rules = correlation.rules
        if correlation.type != "temporal_ordered":
            met = [f"seen_{number} == 1" for number in range(len(rules))]
            return {
                "gathered": ", ".join(
                    f"seen_{number} = MAX(CASE({_is(rule)}, 1, 0))" for number, rule in enumerate(rules)
                ),
                "stages": "",
                "met": condition_over_rules(correlation, met) or "",
            }
        times = {
            f"times_{number}": f'VALUES(CASE({_is(rule)}, CONCAT(TO_STRING(TO_LONG(first_seen)), " ", '
            "TO_STRING(TO_LONG(last_seen))), NULL))"
            for number, rule in enumerate(rules[1:-1])
        }
        gathered = {
            "reached": f"MIN(CASE({_is(rules[0])}, TO_LONG(first_seen), NULL))",
            **times,
            "ended": f"MAX(CASE({_is(rules[-1])}, TO_LONG(last_seen), NULL))",
        }
        stages = ""
        for number in range(len(times)):
            later = "".join(f", {other} = VALUES({other})" for other in list(times)[number + 1 :])
            stages += _NEXT.format(**variables | {"number": number, "later": f"{later}, ended = MAX(ended)"})
        written = ", ".join(f"{name} = {value}" for name, value in gathered.items())
        return {"gathered": written, "stages": stages, "met": "ended >= reached"}


def group_names(correlation: Correlation) -> list[str]:
    """Return the names of the columns that tell one group from another."""
    return [name_of(correlation.rule, field) for field in correlation.group] or [ALL_EVENTS]


def name_of(rule: Rule, field: str) -> str:
    """Return the name that a value has in a row: the field's, or CloudTrail's for what is only a part of a text."""
    return cloudtrail_names(rule)[field] if "(" in field else field


def tells_outcomes(correlation: Correlation) -> bool:
    """Tell whether an alert says how its events ended; not where its rows are told apart by when rules match."""
    return correlation.outcome is not None and ESQLSliding.sliding[correlation.kind] is not _MET


def _is(rule: str) -> str:
    """Write that an event is there because a rule matches it."""
    return f"{_RULE} == {quoted(rule.replace(',', ' '))}"


def grain(window: int) -> int:
    """Return the seconds that time is quantised to: a minute, a second for windows of less, more beyond an hour."""
    if window < _MINUTE:
        return 1
    return _MINUTE if window <= _HOUR else ceil(window / _HOUR) * _MINUTE


def quoted(text: str) -> str:
    """Write a text."""
    escapes: dict[str, str] = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}
    return '"' + "".join(escapes.get(char, char) for char in text) + '"'
