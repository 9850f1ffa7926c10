"""The engines that the generated text runs on, behind one interface."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import cached_property
from typing import Any, ClassVar

from keywatch.conversion.convert import Conversion
from packs import converted


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
    #: Whether every rule is tried on every history; else those of which some event matches the conditions.
    thorough: ClassVar[bool] = False
    #: Whether a query costs so much that many histories are better asked about at once.
    at_once: ClassVar[bool] = False

    def slack(self, window: int) -> int:
        """Return how many seconds longer than its window a spread of events may be and still raise an alert."""
        return 0

    def rows(self, query: Any, events: list[dict[str, Any]]) -> Iterable[dict[str, Any]]:
        """Run a finished query over records; return its rows."""
        raise NotImplementedError

    @cached_property
    def pack(self) -> Conversion:
        """The pack, converted for this engine."""
        return self.converted()

    def converted(self, **choice: Any) -> Conversion:
        """Convert the rules that `packs.converted` takes for this engine."""
        return converted(self.target, self.output_format, without=self.unsupported, **choice)

    def alerts(self, conversion: Conversion, events: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
        """Return for each rule its alerts as rows."""
        return {name: list(self.rows(query, events)) for name, [query] in conversion.queries.items()}

    def alerts_each(
        self, conversion: Conversion, histories: Iterable[list[dict[str, Any]]]
    ) -> list[dict[str, list[dict[str, Any]]]]:
        """Return the alerts in each of several histories that know nothing of one another."""
        return [self.alerts(conversion, events) for events in histories]

    def found(self, conversion: Conversion, events: list[dict[str, Any]]) -> dict[str, list[str]]:
        """Return for each rule what its alerts name: the values of the group, or an event's ID."""
        return self.named(conversion, self.alerts(conversion, events))

    def found_each(
        self, conversion: Conversion, histories: Iterable[list[dict[str, Any]]]
    ) -> list[dict[str, list[str]]]:
        """Return what is found in each of several histories that know nothing of one another."""
        return [self.found(conversion, events) for events in histories]

    def named(self, conversion: Conversion, alerts: dict[str, list[dict[str, Any]]]) -> dict[str, list[str]]:
        """Return what alerts name."""
        return {name: [self._named(conversion.rules[name], row) for row in rows] for name, rows in alerts.items()}

    def _named(self, rule: Any, row: dict[str, Any]) -> str:
        columns = {_plain(column): value for column, value in row.items()}
        return " ".join(str(columns[_plain(field)]) for field in getattr(rule, "group_by", None) or [self.event])


def _plain(column: str) -> str:
    """Return a column's name without what targets add to a field's: a type, other joints, another case."""
    return "".join(filter(str.isalnum, column.removesuffix(".keyword").lower()))


def only(conversion: Conversion, *names: str) -> Conversion:
    """Return a conversion of some of its rules."""
    queries = {name: conversion.queries[name] for name in names}
    return replace(conversion, queries=queries, rules={name: conversion.rules[name] for name in names})


def value_of(record: dict[str, Any], path: str) -> Any:
    """Return what stands in a record at a dotted path; None if nothing does."""
    value: Any = record
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value
