"""Run the rules of the pack over CloudTrail files, on DuckDB, through the same conversion as any other target."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
from sigma.backends.keywatch._correlation import Correlation, Rule, id_of
from sigma.pipelines.keywatch._fields import ELEMENTS

from keywatch.conversion.convert import Conversion
from keywatch.errors import UserError
from keywatch.hunting.coverage import Coverage
from keywatch.hunting.loading import Progress, loaded
from keywatch.hunting.reading import UNPACK_LIMIT
from keywatch.hunting.selection import Selection

if TYPE_CHECKING:
    import duckdb


@dataclass(frozen=True)
class Alert:
    """One alert of a hunt. Overlapping windows of one group are one alert."""

    rule_id: str
    title: str
    level: str
    group: dict[str, str | None]
    count: int
    values: list[str]
    first_seen: str
    last_seen: str
    events: int
    evidence: dict[str, list[str]]

    @property
    def principals(self) -> list[str]:
        """Who the alert is about: the ARNs of its events, or its group where that has them."""
        return self.evidence.get("userIdentity.arn") or [" ".join(map(str, self.group.values()))]


def hunt(
    conversion: Conversion,
    paths: Iterable[str],
    selection: Selection,
    coverage: Coverage,
    progress: Progress | None = None,
    limit: int = UNPACK_LIMIT,
) -> list[Alert]:
    """Hunt through files and folders.

    :param conversion: the rules, converted for the target duckdb.
    :param paths: files, folders, `-` for standard input, `s3://bucket/prefix`.
    :param coverage: is filled while files are read, so that an interrupted hunt can say how far it came.
    :param progress: is called with the number of files read and of all, while they are read.
    :param limit: the bytes up to which a file is unpacked.
    :return: the alerts by first time seen.
    """
    with loaded(conversion, paths, selection, coverage, progress, limit) as connection:
        return alerts_in(connection, conversion, coverage)


def alerts_in(connection: duckdb.DuckDBPyConnection, conversion: Conversion, coverage: Coverage) -> list[Alert]:
    """Run the rules over the table `cloudtrail`; return the alerts by first time seen.

    A rule that DuckDB can't run, such as one with a regular expression of another dialect, becomes a problem.
    """
    import duckdb

    alerts: list[Alert] = []
    for name, rule in conversion.rules.items():
        try:
            alerts += _alerts(connection, conversion, name)
        except duckdb.Error as error:
            reason = str(error).splitlines()[0]
            path = rule.source.path if rule.source else None
            coverage.problems.append(UserError(f"rule '{rule.title}': DuckDB can't run it: {reason}", path))
    return sorted(alerts, key=lambda alert: (alert.first_seen, alert.title, str(alert.group)))


def to_ndjson(alert: Alert) -> str:
    """Return an alert as one line of JSON."""
    return msgspec.json.encode(alert).decode()


def _alerts(connection: duckdb.DuckDBPyConnection, conversion: Conversion, name: str) -> Iterator[Alert]:
    rule = conversion.rules[name]
    for query in conversion.queries[name]:
        result = connection.execute(query)
        columns = [column[0] for column in result.description or ()]
        for values in result.fetchall():
            yield _alert(rule, dict(zip(columns, values, strict=True)))


def _alert(rule: Rule, row: dict[str, Any]) -> Alert:
    correlation = Correlation.of(rule)
    shown = rule.fields if correlation is None else correlation.evidence
    group: tuple[str, ...] = ("eventID",)
    keys = group
    values: list[str] = []
    count = events = 1
    if correlation is not None:
        group, keys = correlation.group, correlation.keys
        count, events = row["value_count"], row["event_count"]
        values = row[correlation.counted] if correlation.counted else []
    return Alert(
        rule_id=id_of(rule),
        title=rule.title,
        level=rule.level.name.lower() if rule.level else "",
        group={name: row[name] for name in group},
        count=count,
        values=values,
        first_seen=_iso(row["first_seen"] if correlation else row["eventTime"]),
        last_seen=_iso(row["last_seen"] if correlation else row["eventTime"]),
        events=events,
        evidence={
            name: row[name] if isinstance(row[name], list) else [row[name]] if row[name] else []
            for name in (name.removeprefix(ELEMENTS) for name in shown)
            if name not in keys
        },
    )


def _iso(time: datetime) -> str:
    return time.replace(tzinfo=UTC).isoformat().replace("+00:00", "Z")
