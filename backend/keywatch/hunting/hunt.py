"""Run the rules of the pack over CloudTrail files, on DuckDB, through the same conversion as any other target."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import chain
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow as pa
from sigma.backends.keywatch._correlation import Correlation, Rule, id_of
from sigma.pipelines.keywatch._fields import ELEMENTS

from keywatch.conversion.convert import Conversion
from keywatch.conversion.rules import fields_used
from keywatch.errors import UserError
from keywatch.hunting.columns import Columns
from keywatch.hunting.records import Coverage, Selection, find_files, reading
from keywatch.hunting.sift import needs_of

if TYPE_CHECKING:
    import duckdb

_ROWS = 20_000
#: What DuckDB may take; beyond it, it writes to a temporary folder.
_MEMORY = "400MB"
Progress = Callable[[int, int], None]
_ALWAYS = ("eventName", "eventTime", "eventID", "recipientAccountId", "awsRegion")
#: What was read, with its time as a time, and which of it is wanted.
_TIMED = 'FROM (SELECT * REPLACE (TRY_CAST("eventTime" AS TIMESTAMP) AS "eventTime") FROM chunk)'
_WANTED = """
    ("eventTime" IS NULL OR (
        ($start IS NULL OR "eventTime" >= $start) AND ($end IS NULL OR "eventTime" < $end)
    ))
    AND (len($accounts) = 0 OR list_contains($accounts, "recipientAccountId"))
    AND (len($regions) = 0 OR list_contains($regions, "awsRegion"))
"""


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
) -> list[Alert]:
    """Hunt through files and folders.

    :param conversion: the rules, converted for the target duckdb.
    :param paths: files, folders, `-` for standard input, `s3://bucket/prefix`.
    :param coverage: is filled while files are read, so that an interrupted hunt can say how far it came.
    :param progress: is called with the number of files read and of all, while they are read.
    :return: the alerts by first time seen.
    """
    with loaded(conversion, paths, selection, coverage, progress) as connection:
        return alerts_in(connection, conversion, coverage)


@contextmanager
def loaded(
    conversion: Conversion, paths: Iterable[str], selection: Selection, coverage: Coverage, progress: Progress | None
) -> Iterator[duckdb.DuckDBPyConnection]:
    """Read what the rules of a conversion may match into the table `cloudtrail`: a column a field, as text."""
    rules = list(conversion.rules.values())
    columns = Columns(dict.fromkeys([*_ALWAYS, *fields_used(rules)]))
    files = find_files(paths, selection, coverage)
    with ExitStack() as stack:
        folder = stack.enter_context(TemporaryDirectory(prefix="keywatch-"))
        with reading(files, needs_of(rules), columns) as tables:
            connection = stack.enter_context(_connected(folder))  # while the first files are read
            _load(connection, tables, columns.names, selection, coverage, progress, len(files))
        _deduplicate(connection, coverage)
        yield connection


@contextmanager
def _connected(folder: str) -> Iterator[duckdb.DuckDBPyConnection]:
    import duckdb

    connection = duckdb.connect(":memory:", config={"memory_limit": _MEMORY, "temp_directory": folder})
    try:
        connection.execute("SET enable_external_access = false")
        yield connection
    except duckdb.Error as error:
        raise UserError(f"DuckDB: {str(error).splitlines()[0]}") from error
    finally:
        connection.close()


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


def _load(
    connection: duckdb.DuckDBPyConnection,
    tables: Iterable[tuple[pa.Table, Coverage]],
    columns: Sequence[str],
    selection: Selection,
    coverage: Coverage,
    progress: Progress | None,
    files: int,
) -> None:
    """Make the table `cloudtrail` of the events that are wanted, and have a time."""
    empty = pa.table([pa.array([], pa.string()) for _ in columns], names=columns)
    connection.register("chunk", empty)
    connection.execute(f"CREATE TABLE cloudtrail AS {_TIMED}")
    waiting = empty
    for table, part in chain(tables, [(empty, Coverage())]):
        coverage.add(part)
        if progress is not None:
            progress(coverage.files, files)
        waiting = pa.concat_tables([waiting, table])
        if len(waiting) > _ROWS or table is empty:  # few large inserts are faster than many small ones
            connection.register("chunk", waiting)
            connection.execute(f"INSERT INTO cloudtrail {_TIMED} WHERE {_WANTED}", asdict(selection))
            waiting = empty
    timeless = _delete(connection, '"eventTime" IS NULL')
    if timeless:
        coverage.problems.append(UserError(f"{timeless} records have no eventTime that is a time; they were left out"))


def _deduplicate(connection: duckdb.DuckDBPyConnection, coverage: Coverage) -> None:
    """Keep an event that came over two trails once."""
    coverage.duplicates = _delete(
        connection,
        """rowid IN (
            SELECT rowid FROM cloudtrail WHERE "eventID" IS NOT NULL
            QUALIFY row_number() OVER (PARTITION BY "eventID" ORDER BY rowid) > 1
        )""",
    )


def _delete(connection: duckdb.DuckDBPyConnection, condition: str) -> int:
    """Delete rows of the table `cloudtrail`; return how many."""
    deleted = connection.execute(f"DELETE FROM cloudtrail WHERE {condition}").fetchone()  # noqa: S608
    assert deleted is not None
    return int(deleted[0])


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
