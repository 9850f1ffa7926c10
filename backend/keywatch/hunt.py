"""Run the rules of the pack over CloudTrail files, on DuckDB, through the same conversion as any other target."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import chain, islice
from pathlib import Path
from typing import Any

import duckdb
import orjson
import pyarrow as pa
from sigma.backends.keywatch._sliding import Rule, counted_field
from sigma.correlations import SigmaCorrelationRule

from keywatch.convert import Conversion
from keywatch.errors import UserError
from keywatch.records import Coverage, find_files, read_records
from keywatch.rules import fields_used

_BATCH = 50_000


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


def hunt(
    conversion: Conversion, paths: Iterable[Path], progress: Callable[[list[Path]], Iterable[Path]] = iter
) -> tuple[list[Alert], Coverage]:
    """Hunt through files and folders.

    :param conversion: the rules, converted for the target duckdb.
    :param progress: wraps the list of files; it may show how far the hunt is.
    :return: the alerts by first time seen, and what was read.
    """
    coverage = Coverage()
    columns = list(dict.fromkeys(["eventTime", "eventID", *fields_used(conversion.rules.values())]))
    connection = duckdb.connect(":memory:", config={"enable_external_access": "false"})
    try:
        records = chain.from_iterable(read_records(path, coverage) for path in progress(find_files(paths, coverage)))
        _load(connection, records, columns, coverage)
        alerts = [alert for name in conversion.queries for alert in _alerts(connection, conversion, name)]
    finally:
        connection.close()
    return sorted(alerts, key=lambda alert: (alert.first_seen, alert.title, str(alert.group))), coverage


def to_ndjson(alert: Alert) -> str:
    """Return an alert as one line of JSON."""
    return orjson.dumps(asdict(alert)).decode()


def _load(
    connection: duckdb.DuckDBPyConnection, records: Iterator[dict[str, Any]], columns: list[str], coverage: Coverage
) -> None:
    """Fill the table `cloudtrail`: a column a field, as text. An event that came over two trails is kept once."""
    paths = [tuple(name.split(".")) for name in columns]
    schema = pa.schema([(name, pa.string()) for name in columns])
    connection.register("batch", schema.empty_table())
    connection.execute("CREATE TABLE delivered AS SELECT * FROM batch")
    while part := list(islice(records, _BATCH)):
        table = pa.table([pa.array([_text(record, path) for record in part], pa.string()) for path in paths], schema)
        connection.register("batch", table)
        connection.execute("INSERT INTO delivered SELECT * FROM batch")
    connection.execute("""
        CREATE TABLE cloudtrail AS
        SELECT * REPLACE (TRY_CAST("eventTime" AS TIMESTAMP) AS "eventTime") FROM delivered
        WHERE TRY_CAST("eventTime" AS TIMESTAMP) IS NOT NULL
        QUALIFY "eventID" IS NULL OR row_number() OVER (PARTITION BY "eventID") = 1
    """)
    timeless = _one(connection, 'SELECT count(*) FROM delivered WHERE TRY_CAST("eventTime" AS TIMESTAMP) IS NULL')
    coverage.duplicates = coverage.records - timeless - _one(connection, "SELECT count(*) FROM cloudtrail")
    if timeless:
        coverage.problems.append(UserError(f"{timeless} records have no eventTime that is a time; they were left out"))
    connection.execute("DROP TABLE delivered")


def _one(connection: duckdb.DuckDBPyConnection, query: str) -> int:
    row = connection.execute(query).fetchone()
    assert row is not None
    return int(row[0])


def _text(record: Any, path: tuple[str, ...]) -> str | None:
    for key in path:
        record = record.get(key) if isinstance(record, dict) else None
    if record is None or isinstance(record, str):
        return record
    return orjson.dumps(record).decode()


def _alerts(connection: duckdb.DuckDBPyConnection, conversion: Conversion, name: str) -> Iterator[Alert]:
    rule = conversion.rules[name]
    for query in conversion.queries[name]:
        result = connection.execute(query)
        columns = [column[0] for column in result.description or ()]
        for values in result.fetchall():
            yield _alert(rule, dict(zip(columns, values, strict=True)))


def _alert(rule: Rule, row: dict[str, Any]) -> Alert:
    if isinstance(rule, SigmaCorrelationRule):
        group_by, counted = rule.group_by or [], counted_field(rule)
        count, events = row["value_count"], row["event_count"]
        values, seen = row[counted], (row["first_seen"], row["last_seen"])
    else:
        group_by, counted, count, events, values = ["eventID"], "", 1, 1, []
        seen = (row["eventTime"], row["eventTime"])
    return Alert(
        rule_id=str(rule.id),
        title=rule.title,
        level=rule.level.name.lower() if rule.level else "",
        group={name: row[name] for name in group_by},
        count=count,
        values=values,
        first_seen=_iso(seen[0]),
        last_seen=_iso(seen[1]),
        events=events,
        evidence={
            name: row[name] if isinstance(row[name], list) else [row[name]] if row[name] else []
            for name in rule.fields
            if name not in group_by and name != counted
        },
    )


def _iso(time: datetime) -> str:
    return time.replace(tzinfo=UTC).isoformat().replace("+00:00", "Z")
