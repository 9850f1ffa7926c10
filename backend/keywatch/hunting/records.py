"""Read CloudTrail records from files, folders, standard input and S3, in whatever shape they were left."""

from __future__ import annotations

import ctypes
import gc
import os
import re
import signal
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import cache, lru_cache
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, cast

import msgspec
import pyarrow as pa
from isal import igzip, igzip_lib

from keywatch.errors import UserError
from keywatch.hunting.columns import NO_JSON, Columns, Row
from keywatch.hunting.sift import Needs, Sift

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

STDIN = "-"
_GZIP = b"\x1f\x8b"
_SUFFIXES = (".json", ".jsonl", ".ndjson", ".json.gz", ".jsonl.gz", ".ndjson.gz")
#: Where `aws s3 sync` leaves a trail's files, or an Organization's; the date is that of delivery.
_DELIVERED = re.compile(r"AWSLogs/(?:o-\w+/)?(\d{12})/CloudTrail/([\w-]+)/(\d{4})/(\d\d)/(\d\d)(?:/|$)")
_BROKEN: Any = (OSError, EOFError, igzip_lib.IsalError)
#: Files that one worker reads at a time.
_CHUNK = 64
#: Bytes from which a file of lines is read line by line. CloudTrail's own files are far smaller.
_LARGE = 8 * 2**20
#: Parameters of mallopt(3), as malloc.h numbers them, and the bytes to keep; glibc takes no more for the first of them.
_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD, _KEPT = -3, -1, 32 * 2**20


@dataclass
class Coverage:
    """What was read, and what could not be."""

    files: int = 0
    records: int = 0
    digests: int = 0
    pruned: int = 0
    duplicates: int = 0
    #: Days of delivery, where the paths tell.
    days: set[date] = field(default_factory=set)
    problems: list[UserError] = field(default_factory=list)

    def note_day(self, delivery: Delivery | None) -> None:
        """Note the day of a file that is read."""
        if delivery is not None:
            self.days.add(delivery.day)

    def add(self, other: Coverage) -> None:
        """Add what a worker read."""
        self.files += other.files
        self.records += other.records
        self.problems += other.problems


class Delivery(NamedTuple):
    """Where and when AWS delivered a file."""

    account: str
    region: str
    day: date

    @classmethod
    def of(cls, path: str) -> Delivery | None:
        """Return what a file's path tells; None if it tells nothing."""
        return _delivery(path.rpartition("/")[0])


@lru_cache
def _delivery(folder: str) -> Delivery | None:
    match = _DELIVERED.search(folder)
    if match is None:
        return None
    account, region, *day = match.groups()
    try:
        return Delivery(account, region, date(*map(int, day)))
    except ValueError:
        return None


@dataclass(frozen=True)
class Selection:
    """Which events are wanted. Times are UTC, without saying so; `end` is not included."""

    start: datetime | None = None
    end: datetime | None = None
    accounts: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()

    def may_hold(self, delivery: Delivery | None) -> bool:
        """Tell whether a file can hold wanted events, by where AWS delivered it; None is not known."""
        if delivery is None:
            return True
        account, region, day = delivery
        return (
            (not self.accounts or account in self.accounts)
            and (not self.regions or region in self.regions)
            and (self.start is None or day >= self.start.date())
            # Delivery comes after the event, and across midnight that is the next day.
            and (self.end is None or day <= (self.end - timedelta(seconds=1)).date() + timedelta(days=1))
        )


def find_files(paths: Iterable[str], selection: Selection, coverage: Coverage) -> list[str]:
    """List the files to read: those named, and in folders all that look like JSON, digest files left out.

    A path that does not exist, or a folder without any such file, becomes a problem of the coverage.
    :param paths: files, folders, `-` for standard input, `s3://bucket/prefix`.
    """
    files: list[str] = []
    for path in paths:
        try:
            found = _listed(path)
        except OSError as error:
            coverage.problems.append(UserError(f"can't be listed: {_reason(error)}", Path(path)))
            continue
        if found is None:
            files.append(path)  # one that is not there is named when it is opened
            coverage.note_day(Delivery.of(path))
            continue
        logs = [file for file in found if "CloudTrail-Digest" not in file]
        coverage.digests += len(found) - len(logs)
        if not found:
            coverage.problems.append(UserError(f"holds no file that ends in {', '.join(_SUFFIXES)}", Path(path)))
        for file in logs:
            delivery = Delivery.of(file)
            if selection.may_hold(delivery):
                files.append(file)
                coverage.note_day(delivery)
            else:
                coverage.pruned += 1
    return files


@contextmanager
def reading(
    files: Sequence[str], needs: Sequence[Needs] | None, columns: Columns
) -> Iterator[Iterator[tuple[pa.Table, Coverage]]]:
    """Read files, in several processes where there are many; give a table and what it covers for each few of them.

    :param needs: what each rule needs; None if all records are wanted.
    :param columns: the fields that the table has, as text; one is eventName.
    :raises UserError: if a process was killed.
    """
    chunks = [files[start : start + _CHUNK] for start in range(0, len(files), _CHUNK)]
    workers = min(len(chunks), os.cpu_count() or 1)
    if workers < 2:  # noqa: PLR2004
        sift = Sift(needs, columns)
        yield (_read_table(chunk, sift) for chunk in chunks)
        return
    with ProcessPoolExecutor(workers, initializer=_begin, initargs=(needs, columns.names)) as pool:
        try:
            yield pool.map(_read_chunk, chunks)
        except BrokenProcessPool as error:
            raise UserError("a process that read files was killed; was there too little memory?") from error
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def read_rows(file: str, sift: Sift, coverage: Coverage) -> Iterator[Row]:
    """Yield the records of a file: `{"Records": […]}` as AWS delivers it, an array, one event, or one a line.

    Records that the sift passes over are counted. What can't be read becomes a problem of the coverage;
    nothing else of the file is lost by it.
    """
    try:
        content = _content(file)
    except _BROKEN as error:
        coverage.problems.append(UserError(f"can't be read: {_reason(error)}", Path(file)))
        return
    coverage.files += 1
    if isinstance(content, bytes) and (sifted := sift.survivors(content)) is not None:
        survivors, total = sifted
        coverage.records += total
        yield from survivors
        return
    try:
        for line, document in _documents(content, file, coverage):
            for record in _records(document):
                if not isinstance(record, dict) or "eventName" not in record:
                    problem = "not a CloudTrail record: an object with eventName is wanted"
                    coverage.problems.append(UserError(problem, Path(file), line))
                else:
                    coverage.records += 1
                    row = sift.columns.row(record)
                    if sift.may_match(row):
                        yield row
    except _BROKEN as error:  # of a large file, further on
        coverage.problems.append(UserError(f"can't be read to its end: {_reason(error)}", Path(file)))


_sift: Sift


def _begin(needs: Sequence[Needs] | None, names: Sequence[str]) -> None:
    global _sift  # noqa: PLW0603
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # end without a word: this process' parent says what was covered
    gc.disable()  # rows are freed without it, and it would look through them again and again
    keep_freed_memory()
    _sift = Sift(needs, Columns(names))


def keep_freed_memory() -> None:
    """Have glibc keep the memory of one file for the next: what Linux takes back, it clears again page by page.

    That can take as long as to decompress. Other C libraries have no such setting.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _KEPT)
        mallopt(_M_TRIM_THRESHOLD, 2 * _KEPT)


def _read_chunk(files: Sequence[str]) -> tuple[pa.Table, Coverage]:
    return _read_table(files, _sift)


def _read_table(files: Sequence[str], sift: Sift) -> tuple[pa.Table, Coverage]:
    coverage = Coverage()
    rows = [row for file in files for row in read_rows(file, sift, coverage)]
    columns = zip(*rows, strict=True) if rows else [()] * len(sift.columns.names)
    return pa.table([pa.array(column, pa.string()) for column in columns], names=sift.columns.names), coverage


def _listed(path: str) -> list[str] | None:
    """Return the files of a folder that look like JSON, in order; None for what is no folder."""
    if path.startswith("s3://"):
        from pyarrow.fs import FileSelector, FileType

        system, inside = _s3(path)
        if system.get_file_info(inside).type == FileType.File:
            return None
        found = system.get_file_info(FileSelector(inside, recursive=True))
        return sorted(f"s3://{info.path}" for info in found if info.is_file and info.path.endswith(_SUFFIXES))
    if not Path(path).is_dir():
        return None
    return sorted(
        os.path.join(folder, name)  # noqa: PTH118  # Path takes a while for a million files
        for folder, _, names in os.walk(path, onerror=_raise)
        for name in names
        if name.endswith(_SUFFIXES)
    )


def _raise(error: OSError) -> None:
    raise error


def _content(file: str) -> bytes | BinaryIO:
    """Return a file's bytes, decompressed; of a large one, a stream."""
    if file == STDIN:
        return _decompressed(sys.stdin.buffer.read())
    if file.startswith("s3://"):
        system, inside = _s3(file)
        with system.open_input_stream(inside, compression=None) as stream:
            return _decompressed(stream.read())
    with open(file, "rb") as stream:  # noqa: PTH123  # Path takes a while for a million files
        if os.fstat(stream.fileno()).st_size < _LARGE:
            return _decompressed(stream.read())
        zipped = stream.read(2) == _GZIP
    return cast(BinaryIO, igzip.open(file) if zipped else Path(file).open("rb"))


def _decompressed(content: bytes) -> bytes:
    return igzip.decompress(content) if content.startswith(_GZIP) else content


def _s3(uri: str) -> tuple[FileSystem, str]:
    bucket, _, inside = uri.removeprefix("s3://").partition("/")
    return _s3_system(), f"{bucket}/{inside}".rstrip("/")


@cache
def _s3_system() -> FileSystem:
    """Connect to S3 with the credentials, Region and endpoint that the AWS SDKs take from the environment."""
    from pyarrow.fs import S3FileSystem

    return S3FileSystem(endpoint_override=os.environ.get("AWS_ENDPOINT_URL"))


def _documents(content: bytes | BinaryIO, file: str, coverage: Coverage) -> Iterator[tuple[int | None, Any]]:
    if not isinstance(content, bytes):
        with content as stream:
            first = stream.readline()
            if _parses(first):
                yield from _lines(chain([first], stream), file, coverage)
                return
            content = first + stream.read()
    if not content.strip():
        return
    try:
        yield None, msgspec.json.decode(content)
        return
    except NO_JSON as error:
        whole = error
    lines = content.splitlines()
    if len(lines) == 1 or not lines[0].rstrip().endswith((b"}", b"]")):
        coverage.problems.append(UserError(f"not JSON: {whole}", Path(file)))
        return
    yield from _lines(lines, file, coverage)


def _parses(line: bytes) -> bool:
    try:
        msgspec.json.decode(line)
    except NO_JSON:
        return False
    return True


def _lines(lines: Iterable[bytes], file: str, coverage: Coverage) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(lines, 1):
        try:
            if line.strip():
                yield number, msgspec.json.decode(line)
        except NO_JSON as error:
            coverage.problems.append(UserError(f"not JSON: {error}", Path(file), number))


def _records(document: Any) -> list[Any]:
    if isinstance(document, dict) and isinstance(document.get("Records"), list):
        return document["Records"]  # type: ignore[no-any-return]
    return document if isinstance(document, list) else [document]


def _reason(error: Exception) -> str:
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)
