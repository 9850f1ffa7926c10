"""The engines that the generated text runs on, behind one interface."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from functools import cache, cached_property
from typing import Any, ClassVar

from keywatch.conversion.convert import Conversion
from packs import converted

Event = dict[str, Any]
Row = dict[str, Any]
Alerts = dict[str, list[Row]]
#: Tells whether a rule, by its name, is to be asked about in a history.
Asked = Callable[[str, list[Event]], bool]
#: Columns that hold a time of an alert's; the first that is there counts.
_TIMES = ("first_seen", "time")
#: How far apart histories lie that are asked about at once: further than any of them is long, and than any window.
_APART = timedelta(days=10)
#: Stands there between an event's ID and the number of its history, since an ID is that of one event.
_IN = " in "


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
    #: many histories are then asked about at once, one after the other, too far apart to have a window in common.
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

    def alerts_each(self, conversion: Conversion, histories: list[list[Event]], asked: Asked) -> list[Alerts]:
        """Return the alerts in each of several histories that know nothing of one another.

        :param asked: tells whether it is worth a query to ask for a rule's alerts in a history, where that costs one.
        """
        if not self.by_window:
            return [self.alerts(conversion, events) for events in histories]
        apart = laid_apart(histories)
        begin = min((time_of(event) for events in histories for event in events), default=0)
        alerts: list[Alerts] = [{name: [] for name in conversion.queries} for _ in histories]
        for name, rows in self.alerts(conversion, [event for events in apart for event in events]).items():
            for row in rows:
                column = next(column for column in _TIMES if row.get(column) is not None)
                alerts[int((seconds(row[column]) - begin) // _APART.total_seconds())][name].append(row)
        return alerts

    def found(self, conversion: Conversion, events: list[Event]) -> dict[str, list[str]]:
        """Return for each rule what its alerts name: the values of the group, or an event's ID."""
        return self.named(conversion, self.alerts(conversion, events))

    def found_each(
        self, conversion: Conversion, histories: list[list[Event]], asked: Asked
    ) -> list[dict[str, list[str]]]:
        """Return what is found in each of several histories, as `alerts_each` does."""
        return [self.named(conversion, alerts) for alerts in self.alerts_each(conversion, histories, asked)]

    def named(self, conversion: Conversion, alerts: Alerts) -> dict[str, list[str]]:
        """Return what alerts name."""
        return {name: [self._named(conversion.rules[name], row) for row in rows] for name, rows in alerts.items()}

    def _named(self, rule: Any, row: Row) -> str:
        columns = {_plain(column): value for column, value in row.items()}
        if not (fields := getattr(rule, "group_by", None)):
            return str(columns[_plain(self.event)]).partition(_IN)[0]
        return " ".join(str(columns[_plain(field)]) for field in fields)


class Indexed(Engine):
    """An engine that keeps what is loaded, and is asked about a range of time in it."""

    _loaded: list[Event] | None = None

    def load(self, events: list[Event]) -> None:
        """Load events, unless they are those that were loaded last."""
        if self._loaded != events:
            self.store(events)
            self._loaded = list(events)

    def store(self, events: list[Event]) -> None:
        """Replace what is there by these events."""
        raise NotImplementedError

    def over(self, query: Any, events: list[Event]) -> list[Row]:
        """Run a query over the time from the first to the last of some events that are loaded."""
        raise NotImplementedError

    def rows(self, query: Any, events: list[Event]) -> list[Row]:
        """Load the events and run a query."""
        self.load(events)
        return self.over(query, events) if events else []

    def alerts_each(self, conversion: Conversion, histories: list[list[Event]], asked: Asked) -> list[Alerts]:
        """Load all histories, one after the other, and ask about the time of each."""
        apart = laid_apart(histories)
        self.load([event for events in apart for event in events])
        return [
            {
                name: self.over(query, events) if events and asked(name, history) else []
                for name, [query] in conversion.queries.items()
            }
            for history, events in zip(histories, apart, strict=True)
        ]


@cache
def _plain(column: str) -> str:
    """Return a column's name without what targets add to a field's: a type, other joints, another case."""
    return "".join(filter(str.isalnum, column.removesuffix(".keyword").lower()))


def laid_apart(histories: list[list[Event]]) -> list[list[Event]]:
    """Return histories one after the other, so far apart that none has a window in common with another."""
    times = sorted(time_of(event) for events in histories for event in events)
    assert not times or times[-1] - times[0] < _APART.total_seconds() / 2
    return [[_moved(event, number) for event in events] for number, events in enumerate(histories)]


def _moved(event: Event, number: int) -> Event:
    time = datetime.fromisoformat(event["eventTime"]) + _APART * number
    return event | {"eventTime": time.strftime("%Y-%m-%dT%H:%M:%SZ"), "eventID": f"{event['eventID']}{_IN}{number}"}


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
