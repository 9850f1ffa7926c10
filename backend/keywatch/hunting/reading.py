"""Read the rows that some rule may match out of a file."""

from __future__ import annotations

import io
from collections.abc import Generator, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import stringzilla as sz

from keywatch.errors import UserError
from keywatch.hunting.broken import ENDLESS, NO_DOCUMENT, Broken, Passed, Strange
from keywatch.hunting.columns import NO_JSON, REQUIRED, Columns, Values, text
from keywatch.hunting.coverage import Coverage
from keywatch.hunting.documents import documents
from keywatch.hunting.finding import STDIN, anywhere, opened
from keywatch.hunting.forms import BEGINNING
from keywatch.hunting.ocsf import MARK, Inverse
from keywatch.hunting.rows import Rows
from keywatch.hunting.selection import Selection, There
from keywatch.hunting.shapes import HEADINGS, lacking, records
from keywatch.hunting.sift import Sift
from keywatch.hunting.times import read_time
from keywatch.hunting.unpacking import UNREADABLE, Unpacked, reason, rest, unpacked

#: The most that a file has, packed or not, which is taken whole. The files that AWS delivers are far smaller.
WHOLE = 64 * 2**20
#: What is read of a file at first; nearly all are smaller.
_FIRST = 2**18
#: What a Parquet file begins with.
_PARQUET = b"PAR1"
#: What is taken at a time of a larger file that has a record a line.
_BLOCK = 8 * 2**20
#: How far a packed file is unpacked, in bytes, if nothing else is said.
UNPACK_LIMIT = 4 * 10**9
_SELECTED = Columns(["recipientAccountId", "awsRegion", "eventTime"])
#: What stands where in files that are something else: what it is, and whether it can have no CloudTrail in it.
_MAGIC = (
    (0, b"PK\x03\x04", "a zip archive: unpack it first", False),
    (0, b"\x28\xb5\x2f\xfd", "packed with zstd: unpack it first", False),
    (0, b"BZh", "packed with bzip2: unpack it first", False),
    (0, b"\xfd7zXZ", "packed with xz: unpack it first", False),
    (0, b"PARE", "an encrypted Parquet file: decrypt it first", False),
    (0, b"ORC", "an ORC file: export JSON", False),
    (0, b"Obj\x01", "an Avro file: export JSON", False),
    (257, b"ustar", "a tar archive: unpack it first", False),
    (0, b"SQLite format 3", "an SQLite database: export JSON", False),
    (0, b"Permission Check Successful", "test files of CloudWatch Logs", True),
    (0, b"\x89PNG", "images", True),
    (0, b"\xff\xd8\xff", "images", True),
    (0, b"GIF8", "images", True),
    (0, b"%PDF-", "PDF files", True),
    (0, b"\x00\x00\x00\x01Bud1", "settings of the Finder (.DS_Store)", True),
)


class Reader:
    """Reads files for a set of rules."""

    def __init__(self, sift: Sift, selection: Selection | None = None, limit: int = UNPACK_LIMIT) -> None:
        """Take what the rules need.

        :param selection: the events that are wanted; they are only looked for here, not chosen.
        :param limit: the bytes up to which a file is unpacked.
        """
        self.sift, self.selection, self.limit = sift, selection or Selection(), limit
        #: Whether an event was seen that is wanted: from then on, none is looked for.
        self._seen = not self.selection

    @cached_property
    def _inverse(self) -> Inverse:
        return Inverse([*self.sift.columns.names, *_SELECTED.names, *REQUIRED, "userIdentity.type"])

    def rows(self, file: str, coverage: Coverage, stretch: range | None = None) -> Iterator[Rows]:
        """Yield the records of a file, in whatever shape they are there, as far as some rule may match them.

        Records that the sift passes over are counted. What can't be read becomes a problem of the coverage;
        nothing else of the file is lost by it.
        :param stretch: the bytes of the file that are read, if not all are; lines are counted from its start.
        """
        try:
            with opened(file) as stream:
                if stretch is not None:
                    stream.seek(stretch.start)
                    content = stream.read(len(stretch))
                    coverage.files += stretch.start == 0
                    coverage.lines += sz.count(content, b"\n")
                    yield from self._rows(file, content, io.BytesIO(), coverage, whole=True)
                    return
                start = stream.read(_FIRST)
                if start.startswith(_PARQUET):
                    coverage.files += 1
                    yield from self._parquet(file, anywhere(file, WHOLE, start, stream), coverage)
                    return
                whole = len(start) < WHOLE
                while whole and (more := stream.read(1)):
                    start += more + stream.read(len(start))
                    whole = len(start) < WHOLE and not start.startswith(BEGINNING)  # lines are taken in blocks
                coverage.files += 1
                yield from self._rows(file, start, stream, coverage, whole=whole)
        except UNREADABLE as error:
            coverage.problems.append(UserError(f"can't be read: {reason(error)}", _path(file)))

    def _rows(
        self, file: str, start: bytes, stream: io.BufferedIOBase, coverage: Coverage, *, whole: bool
    ) -> Iterator[Rows]:
        content = unpacked(start, min(WHOLE, self.limit)) if whole else None
        sifted = None if content is None else self._sifted(content, coverage)
        if sifted is not None:
            values, total = sifted
            coverage.records += total
            yield Rows(values, _path(file))
            return
        if (content or start).startswith(_PARQUET):
            yield from self._parquet(file, io.BytesIO(content or start), coverage)
            return
        for place, magic, what, quietly in _MAGIC:
            if (content or start).startswith(magic, place):
                if quietly:
                    coverage.passed[what] += 1
                else:
                    coverage.problems.append(UserError(f"not read: it is {what}", _path(file)))
                return
        text = Unpacked(rest(start, stream), self.limit)
        if content is None:
            text, line = yield from self._blocks(file, text, coverage)
        else:
            line = 1
        yield from self._documents(file, text, coverage, line)

    def _blocks(self, file: str, text: Unpacked, coverage: Coverage) -> Generator[Rows, None, tuple[Unpacked, int]]:
        """Yield the rows of a large file of lines, block by block, as far as it is as the sift takes it.

        :return: the text from there on, and the line in which it begins.
        """
        line, data = 1, b""
        while True:
            while len(data) < _BLOCK and (more := text.read(_BLOCK)):
                data += more
            size = data.rfind(b"\n") + 1 if len(data) >= _BLOCK else len(data)
            sifted = self._sifted(data[:size], coverage) if size else None
            if sifted is None:
                text.unread(data)
                return text, line
            values, total = sifted
            coverage.records += total
            yield Rows(values, _path(file), line)
            line, data = line + total, data[size:]

    def _sifted(self, content: bytes, coverage: Coverage) -> tuple[Values, int] | None:
        """Return what the records of a file that is as AWS writes it have, and their number; None if it is not so."""
        sifted = self.sift.survivors(content)
        if sifted is not None and not self._seen:
            try:
                self._look(self.sift.decoded(content, _SELECTED), coverage)
            except NO_JSON:
                return None
        return sifted

    def _documents(self, file: str, text: Unpacked, coverage: Coverage, first: int = 1) -> Iterator[Rows]:
        """Yield the rows of what is not as AWS writes it.

        :param first: the line in which the text begins.
        """
        path, strays, understood = _path(file), list[int](), False
        for at, document in documents(text.read, HEADINGS):
            line = at if at is None else at + first - 1
            if isinstance(document, Broken):
                if document == NO_DOCUMENT and line is not None:
                    strays.append(line)
                elif document != ENDLESS or not text.problem:  # else it only follows from that
                    _count(coverage, Strange(*document), path, line)
                continue
            for found in records(document):
                understood = understood or not isinstance(found, Strange)
                if isinstance(found, Passed | Strange):
                    _count(coverage, found, path, line)
                    continue
                _count(coverage, None, path, line)
                yield self._row(found, path, line, coverage)
        if strays and not understood and first == 1 and not text.problem:
            coverage.problems.append(UserError("not understood: it holds no JSON, and no table of CloudTrail", path))
        elif strays:
            coverage.problems.append(UserError(NO_DOCUMENT.reason, path, strays[0]), count=len(strays))
        if text.problem:
            coverage.problems.append(UserError(text.problem, path))

    def _parquet(self, file: str, source: Any, coverage: Coverage) -> Iterator[Rows]:
        """Yield the rows of a Parquet file of Security Lake's."""
        from keywatch.hunting.parquet import UNREAD, Parquet, said

        path = _path(file)
        try:
            parquet = Parquet(source, self.sift, self._inverse)
            for events, counts in parquet.batches(self.limit, lambda: not self._seen):
                for what, count in counts.items():
                    _count(coverage, what, path, None, count)
                for event in events:
                    yield self._row(event, path, None, coverage)
        except UNREAD as error:
            coverage.problems.append(UserError(said(error), path))

    def _row(self, record: dict[str, Any], path: Path, line: int | None, coverage: Coverage) -> Rows:
        """Return a record as a row, or as none if no rule can match it; note what it lacks."""
        columns, raw = self.sift.columns, record
        if lacking(record):
            record = self._inverse.record(record) if MARK in record else columns.respelt(record)
            if missing := lacking(record):
                what = f"a record without {', '.join(missing)}: rules that ask for it can't match; export all fields"
                coverage.problems.append(UserError(what, path, line))
        identity = record.get("userIdentity")
        if isinstance(identity, str) and identity and not identity.lstrip().startswith('{"'):
            what = "a record whose userIdentity is text and no JSON (Athena writes {type=…}): cast it to JSON"
            coverage.problems.append(UserError(what, path, line))
        if not self._seen:
            self._look([record], coverage)
        return Rows(self.sift.sifted([record], [raw]), path, line)

    def _look(self, records: Sequence[Any], coverage: Coverage) -> None:
        """Look whether there are events that are wanted."""
        coverage.there = coverage.there or There(self.selection)
        for account, region, written in zip(*_SELECTED.values(records), strict=True):
            try:
                time = None if written is None else read_time(str(text(written)))
            except ValueError:
                time = None
            coverage.there.note(text(account), text(region), time)
        self._seen = coverage.there.wanted


def _count(coverage: Coverage, what: Passed | Strange | None, path: Path, line: int | None, count: int = 1) -> None:
    """Note records, or what is none."""
    if what is None:
        coverage.records += count
    elif isinstance(what, Passed):
        coverage.passed[what.kind] += count
    else:
        said = f"{what.reason} ({what.detail})" if what.detail else what.reason
        coverage.problems.append(UserError(said, path, line), what.reason, count)


def _path(file: str) -> Path:
    return Path("standard input" if file == STDIN else file)
