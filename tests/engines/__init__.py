"""The engines that the generated text runs on, behind one interface."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime, timedelta
from functools import cache, cached_property
from typing import Any, ClassVar

from sigma.pipelines.keywatch._fields import cloudtrail_names

from keywatch.conversion.convert import Conversion
from packs import converted, only

Event = dict[str, Any]
Row = dict[str, Any]
Alerts = dict[str, list[Row]]
#: Columns that hold a time of an alert's; the first that is there counts.
_TIMES = ("first_seen", "time")
#: How far apart histories lie that are asked about at once: further than any of them is long, and than any window.
_APART = timedelta(days=10)
#: What an event is known by; and who is behind it, which rules group by. Of one history only, no alert is about two.
_ID = "eventID"
_OWN = ("userIdentity.arn", "userIdentity.accessKeyId", "userIdentity.sessionContext.sessionIssuer.arn")
#: A value that is one history's own, with the history's number behind it.
_MARKED = re.compile(r"(.*) in (\d+)", re.DOTALL)


class Engine:
    """Runs what was converted for a target over CloudTrail records."""

    name: str
    target: ClassVar[str]
    output_format: ClassVar[str | None] = None
    #: Column of the principal, and the one that tells one alert of a single event from another.
    principal: ClassVar[str] = "userIdentity.arn"
    event: ClassVar[str] = "eventID"
    #: Columns of what is counted, and of evidence.
    region: ClassVar[str] = "awsRegion"
    agent: ClassVar[str] = "userAgent"
    #: Rules of the pack that the target can't express.
    unsupported: ClassVar[frozenset[str]] = frozenset()
    #: Whether Sigma's values are compared with regard to case.
    cased: ClassVar[bool] = False
    #: Whether an alert is about a window, however long the time that is asked about, and not about all of that time:
    #: an alert without a group then tells by its time which of many histories it is about.
    by_window: ClassVar[bool] = False

    def slack(self, window: int) -> int:
        """Return how many seconds longer than its window a spread of events may be and still raise an alert."""
        return 0

    def rows(self, query: Any, events: list[Event]) -> Iterable[Row]:
        """Run a finished query over records; return its rows."""
        raise NotImplementedError

    @cached_property
    def pack(self) -> Conversion:
        """The pack, converted for this engine."""
        return self.converted()

    def converted(self, **choice: Any) -> Conversion:
        """Convert the rules that `packs.converted` takes for this engine."""
        return converted(self.target, self.output_format, without=self.unsupported, **choice)

    def alerts(self, conversion: Conversion, events: list[Event]) -> Alerts:
        """Return for each rule its alerts as rows."""
        return {name: list(self.rows(query, events)) for name, [query] in conversion.queries.items()}

    def alerts_each(self, conversion: Conversion, histories: list[list[Event]]) -> list[Alerts]:
        """Return the alerts in each of several histories that know nothing of one another, asked about at once.

        A rule whose alerts name nothing that is one history's own is asked about each, where an alert is no window's.
        """
        alerts: list[Alerts] = [{name: [] for name in conversion.queries} for _ in histories]
        apart = laid_apart(histories)
        if self.by_window:
            begin = min((time_of(event) for events in histories for event in events), default=0)
            for name, rows in self.alerts(conversion, [event for events in apart for event in events]).items():
                for row in rows:
                    column = next(column for column in _TIMES if row.get(column) is not None)
                    number = int((seconds(row[column]) - begin) // _APART.total_seconds())
                    alerts[number][name].append(_unmarked(row))
            return alerts
        names = [name for name, rule in conversion.rules.items() if _names_its_own(rule)]
        own = [_marked(event, number, _OWN) for number, events in enumerate(apart) for event in events]
        for name, rows in self.alerts(only(conversion, *names), own).items():
            for row in rows:
                alerts[_history_of(row)][name].append(_unmarked(row))
        if rest := [name for name in conversion.queries if name not in names]:
            everything = [event for events in apart for event in events]
            for number, events in enumerate(apart):
                for name, rows in self.alerts_among(only(conversion, *rest), events, everything).items():
                    alerts[number][name] = [*map(_unmarked, rows)]
        return alerts

    def alerts_among(self, conversion: Conversion, events: list[Event], everything: list[Event]) -> Alerts:
        """Return the alerts in one of several histories that are too far apart to have a window in common."""
        return self.alerts(conversion, events)

    def found(self, conversion: Conversion, events: list[Event]) -> dict[str, list[str]]:
        """Return for each rule what its alerts name: the values of the group, or an event's ID."""
        return self.named(conversion, self.alerts(conversion, events))

    def found_each(self, conversion: Conversion, histories: list[list[Event]]) -> list[dict[str, list[str]]]:
        """Return what is found in each of several histories, as `alerts_each` does."""
        return [self.named(conversion, alerts) for alerts in self.alerts_each(conversion, histories)]

    def named(self, conversion: Conversion, alerts: Alerts) -> dict[str, list[str]]:
        """Return what alerts name."""
        return {name: [self._named(conversion.rules[name], row) for row in rows] for name, rows in alerts.items()}

    def _named(self, rule: Any, row: Row) -> str:
        columns = {_plain(column): value for column, value in row.items()}
        if not (fields := getattr(rule, "group_by", None)):
            return str(columns[_plain(self.event)])
        return " ".join(str(columns[_plain(field)]) for field in fields)


class Kept:
    """Where events stay that are loaded."""

    _loaded: list[Event] | None = None

    def load(self, events: Iterable[Event]) -> None:
        """Load events; if those that are there are the first of them, what is new."""
        events = list(events)
        if self._loaded is None or events[: len(self._loaded)] != self._loaded:
            self.clear()
            self._loaded = []
        if new := events[len(self._loaded) :]:
            self.add(new)
        self._loaded = events

    def clear(self) -> None:
        """Take away what is there; then nothing is."""
        raise NotImplementedError

    def add(self, events: list[Event]) -> None:
        """Add events."""
        raise NotImplementedError


class Indexed(Engine):
    """An engine that is asked about a range of time in what is loaded."""

    #: What holds the events.
    kept: Kept

    def over(self, query: Any, events: list[Event]) -> list[Row]:
        """Run a query over the time from the first to the last of some events that are loaded."""
        raise NotImplementedError

    def rows(self, query: Any, events: list[Event]) -> list[Row]:
        """Load the events and run a query."""
        self.kept.load(events)
        return self.over(query, events) if events else []

    def alerts_among(self, conversion: Conversion, events: list[Event], everything: list[Event]) -> Alerts:
        """Load all histories, and ask about the time of one."""
        self.kept.load(everything)
        return {name: self.over(query, events) if events else [] for name, [query] in conversion.queries.items()}


@cache
def _plain(column: str) -> str:
    """Return a column's name without what targets add to a field's: a type, other joints, another case."""
    return "".join(filter(str.isalnum, column.removesuffix(".keyword").lower()))


def _names_its_own(rule: Any) -> bool:
    """Tell whether a rule's alerts name what can be one history's own: an event, or a principal."""
    names = cloudtrail_names(rule)
    return any(names.get(field, field) in (_ID, *_OWN) for field in getattr(rule, "group_by", [_ID]) or [])


def _history_of(row: Row) -> int:
    """Return the number of the history that an alert is about, by the names in it."""
    [number] = {int(mark[2]) for value in row.values() if (mark := _MARKED.fullmatch(str(value)))}
    return number


def _unmarked(row: Row) -> Row:
    """Return a row as it is of its history alone."""
    marks = {name: mark for name, value in row.items() if (mark := _MARKED.fullmatch(str(value)))}
    return row | {name: mark[1] for name, mark in marks.items()}


def laid_apart(histories: list[list[Event]]) -> list[list[Event]]:
    """Return histories one after the other, so far apart that none has a window in common with another."""
    times = sorted(time_of(event) for events in histories for event in events)
    assert not times or times[-1] - times[0] < _APART.total_seconds() / 2
    return [[_moved(event, number) for event in events] for number, events in enumerate(histories)]


def _moved(event: Event, number: int) -> Event:
    time = datetime.fromisoformat(event["eventTime"]) + _APART * number
    moved: Event = _marked(event, number, (_ID,))
    return moved | {"eventTime": time.strftime("%Y-%m-%dT%H:%M:%SZ")}


def _marked(value: Any, number: int, paths: Iterable[str], path: str = "") -> Any:
    """Return an event with the number of its history behind what stands at some paths."""
    if isinstance(value, dict):
        return {name: _marked(inside, number, paths, f"{path}.{name}".lstrip(".")) for name, inside in value.items()}
    return f"{value} in {number}" if value and path in paths else value


def time_of(event: Event) -> float:
    """Return the Unix time of an event."""
    return seconds(event["eventTime"])


def seconds(value: Any) -> float:
    """Return the Unix time that an engine writes as a number, as a text or as a time."""
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    return float(value.timestamp() if isinstance(value, datetime) else value)


def value_of(record: Event, path: str) -> Any:
    """Return what stands in a record at a dotted path; None if nothing does."""
    value: Any = record
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value
