"""From files to the table `cloudtrail` in DuckDB: the events that rules may match, each once, with its time."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from keywatch.conversion.convert import Conversion
from keywatch.conversion.rules import fields_used
from keywatch.ending import cleaning
from keywatch.errors import UserError
from keywatch.hunting.columns import RAW, Columns
from keywatch.hunting.coverage import Coverage
from keywatch.hunting.finding import find_files
from keywatch.hunting.needs import needs_of
from keywatch.hunting.reading import UNPACK_LIMIT
from keywatch.hunting.rows import table_of
from keywatch.hunting.selection import Selection
from keywatch.hunting.workers import Part, reading
from keywatch.words import counted

if TYPE_CHECKING:
    import duckdb

Progress = Callable[[int, int], None]
#: Rows that are inserted at a time. Of few, DuckDB copies each several times; many take memory.
_ROWS = 40_000
#: What DuckDB may take while files are read, by processes that need memory too, and after that. Beyond it, it writes to
#: a temporary folder.
_MEMORY_READING, _MEMORY = "64MB", "300MB"
_PREFIX, _LOCK = "keywatch-", "in-use"
#: What a selection, duplicates, and a person who looks at an alert ask for, whatever the rules do.
_ALWAYS = (
    "eventName", "eventTime", "eventID", "eventSource", "recipientAccountId", "awsRegion", "errorCode", "errorMessage",
    "sourceIPAddress", "userAgent", "userIdentity.type", "userIdentity.arn", "userIdentity.principalId",
    "userIdentity.invokedBy", "userIdentity.accessKeyId",
)  # fmt: skip
#: Which of what was read is wanted.
_WANTED = """
    ($start IS NULL OR "eventTime" >= $start) AND ($end IS NULL OR "eventTime" < $end)
    AND (len($accounts) = 0 OR list_contains($accounts, "recipientAccountId"))
    AND (len($regions) = 0 OR list_contains($regions, "awsRegion"))
"""
#: What makes an event the same that came before. An ID that stands on different events is none, such as a mask
#: (REDACTED), nor is one without any digit from 1 to 9 (empty, zeros, xxxx).
_SAME = """
    WITH several AS (
        SELECT "eventID" FROM cloudtrail GROUP BY "eventID" HAVING count(*) > 1
    ), identified AS (
        SELECT cloudtrail.rowid, "eventID", ("eventTime", "eventName", "awsRegion", "recipientAccountId") AS event
        FROM cloudtrail JOIN several USING ("eventID") WHERE regexp_matches("eventID", '[1-9]')
    ), ids AS (
        SELECT "eventID" FROM identified GROUP BY "eventID" HAVING min(event) = max(event)
    )
    SELECT rowid FROM identified JOIN ids USING ("eventID")
    QUALIFY row_number() OVER (PARTITION BY "eventID" ORDER BY rowid) > 1
"""


@contextmanager
def loaded(
    conversion: Conversion,
    paths: Iterable[str],
    selection: Selection,
    coverage: Coverage,
    progress: Progress | None,
    limit: int = UNPACK_LIMIT,
    *,
    raw: bool = False,
) -> Iterator[duckdb.DuckDBPyConnection]:
    """Read what the rules of a conversion may match into the table `cloudtrail`: a column a field, as text.

    :param limit: the bytes up to which a file is unpacked.
    :param raw: whether the table has the whole record too, in the column RAW.
    :raises UserError: if DuckDB fails, or there is no folder for temporary files.
    """
    columns = columns_of(conversion, raw=raw)
    files = find_files(paths, selection, coverage)
    with ExitStack() as stack:
        folder = stack.enter_context(temporary_folder())
        with reading(files, needs_of(conversion.rules.values()), columns, selection, limit, folder) as parts:
            connection = stack.enter_context(connected(folder, columns))  # while the first files are read
            load(connection, parts, columns, selection, coverage, progress, len(files))
        _say_what_was_there(selection, coverage)
        finish(connection, coverage)
        yield connection


def columns_of(conversion: Conversion, *, raw: bool = False) -> Columns:
    """Return the columns of the table `cloudtrail` for the rules of a conversion."""
    return Columns(dict.fromkeys([*_ALWAYS, *fields_used(conversion.rules.values()), *([RAW] if raw else [])]))


def finish(connection: duckdb.DuckDBPyConnection, coverage: Coverage) -> None:
    """Make the table ready for the rules: each event stands in it once."""
    connection.execute(f"SET memory_limit = '{_MEMORY}'")
    coverage.duplicates = _delete_duplicates(connection)


@contextmanager
def temporary_folder() -> Iterator[str]:
    """Make a folder that is gone when the program ends, or is killed and started again."""
    with ExitStack() as stack:
        try:
            _remove_left_folders()
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix=_PREFIX, ignore_cleanup_errors=True))
            _lock(stack.enter_context(Path(folder, _LOCK).open("w")).fileno())
        except OSError as error:
            raise UserError(f"no folder for temporary files: {error.strerror}; TMPDIR can name one") from error
        stack.enter_context(cleaning(lambda: shutil.rmtree(folder, ignore_errors=True)))
        yield folder


def _remove_left_folders() -> None:
    """Remove the folders of programs that were killed: our own, with a lock that nobody holds."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with suppress(OSError):
            status = folder.lstat()
            if stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid():
                with (folder / _LOCK).open("r+") as lock:
                    _lock(lock.fileno())
                    shutil.rmtree(folder, ignore_errors=True)


def _lock(descriptor: int) -> None:
    """Lock a file until this process ends.

    :raises OSError: if another holds it, or this system has no such locks.
    """
    try:
        import fcntl
    except ImportError as error:
        raise OSError(0, "no locks") from error
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


@contextmanager
def connected(folder: str, columns: Columns) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a database with the table `cloudtrail`, still empty.

    :param folder: for what does not fit into memory.
    :raises UserError: for whatever DuckDB can't do while the block is not left.
    """
    import duckdb

    pa.set_memory_pool(pa.system_memory_pool())  # which gives back what is freed; Arrow's own keeps as much again
    connection = duckdb.connect(":memory:", config={"memory_limit": _MEMORY_READING, "temp_directory": folder})
    try:
        connection.execute("SET enable_external_access = false")
        connection.register("chunk", table_of([], columns, Coverage()))
        connection.execute("CREATE TABLE cloudtrail AS FROM chunk")
        yield connection
    except duckdb.Error as error:
        raise UserError(f"DuckDB: {str(error).splitlines()[0]}") from error
    finally:
        connection.close()


def load(
    connection: duckdb.DuckDBPyConnection,
    parts: Iterable[Part],
    columns: Columns,
    selection: Selection,
    coverage: Coverage,
    progress: Progress | None = None,
    files: int = 0,
) -> None:
    """Put the events that are wanted into the table `cloudtrail`.

    :param progress: is called with the number of files read and of all.
    """
    waiting, end = list[pa.Table](), table_of([], columns, coverage)
    for table, part in chain(parts, [(end, Coverage())]):
        coverage.add(part)
        if progress is not None:
            progress(coverage.files, files)
        waiting.append(table)
        if table is end or sum(map(len, waiting)) >= _ROWS:
            connection.register("chunk", pa.concat_tables(waiting))
            waiting = []
            connection.execute(f"INSERT INTO cloudtrail FROM chunk WHERE {_WANTED}", asdict(selection))
            connection.unregister("chunk")  # and what it holds is freed


def _say_what_was_there(selection: Selection, coverage: Coverage) -> None:
    """Note it as a problem if a selection leaves nothing of what there was."""
    there = coverage.there
    if there is not None and not there.wanted and (coverage.records or coverage.pruned):
        what = counted(coverage.records, "record") if coverage.records else counted(coverage.pruned, "file")
        coverage.problems.append(UserError(f"{selection} leaves nothing of {what}; there were {there}"))


def _delete_duplicates(connection: duckdb.DuckDBPyConnection) -> int:
    """Keep an event that came over two trails once; return how many there were more."""
    deleted = connection.execute(f"DELETE FROM cloudtrail WHERE rowid IN ({_SAME})").fetchone()  # noqa: S608
    assert deleted is not None
    return int(deleted[0])
