"""Events one a line go through the sift as AWS's own files do, and nothing is lost by it."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rows import read

from events import DENIED, MINUTE, denied
from keywatch.conversion.rules import fields_used
from keywatch.hunting import reading, stretches, workers
from keywatch.hunting.columns import Columns
from keywatch.hunting.coverage import Coverage
from keywatch.hunting.forms import FORMS, form_of
from keywatch.hunting.needs import needs_of
from keywatch.hunting.reading import Reader
from keywatch.hunting.sift import Sift
from packs import DENIALS, converted, keywatch

Event = dict[str, Any]
RULES = list(converted("duckdb").rules.values())
COLUMNS = Columns(dict.fromkeys(["eventName", "eventTime", "eventID", *fields_used(RULES)]))
EVENTS = [denied(MINUTE * i, i % 9) for i in range(30)]
#: What no rule of the pack may match.
DULL = [denied(MINUTE * i, i % 9, name="Dull", source="dull.amazonaws.com", errorCode=None) for i in range(30)]
MIXED = [event for pair in zip(EVENTS, DULL, strict=True) for event in pair]


def lines(events: list[Event], end: str = "\n", **how: Any) -> bytes:
    return end.join(json.dumps(event, **how) for event in events).encode()


def ids(path: Path) -> tuple[list[str | None], Coverage]:
    """Return the IDs of the events that the rules may match, in their order."""
    coverage = Coverage()
    reader = Reader(Sift(needs_of(RULES), COLUMNS))
    rows = read(reader, path, coverage)
    return [row[COLUMNS.names.index("eventID")] for row in rows], coverage


WANTED = [event["eventID"] for event in EVENTS]
COMPACT: dict[str, Any] = {"separators": (",", ":")}


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("how", [{}, COMPACT], ids=["as Python writes it", "compact"])
@pytest.mark.parametrize("last", ["", "\n", "\r\n\n"])
def test_lines_are_known_by_their_form(end: str, how: dict[str, Any], last: str) -> None:
    known = form_of(lines(EVENTS, end, **how) + last.encode(), [])
    assert known == (FORMS[1] if end == "\n" else FORMS[2], len(EVENTS))


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data[:-5],  # cut
        lambda data: data.replace(b"\n", b"\n\n", 1),
        lambda data: data.replace(b"\n", b"\nnot JSON\n", 1),
        lambda data: b'{"Records":[]}\n' + data,
        lambda data: data.replace(b'"userIdentity"', b'"useridentity"', 3),
        lambda data: json.dumps(EVENTS[0], indent=1).encode() + b"\n" + data,
        lambda data: data.replace(b"us-east", b"\xff", 1),
        lambda data: data.replace(b'"awsRegion":', b'"awsRegion" ', 1),
        lambda data: data.replace(b'{"eventVersion"', b'{"x":{"eventVersion"', 1),
    ],
)
def test_what_is_not_a_record_a_line_is_parsed_whole(change: Callable[[bytes], bytes]) -> None:
    assert form_of(change(lines(EVENTS, **COMPACT)), []) is None


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("block", [None, 3000])
def test_the_events_of_lines_are_those_of_records(
    packed: bool, block: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if block is not None:
        monkeypatch.setattr(reading, "WHOLE", 1000)
        monkeypatch.setattr(reading, "_BLOCK", block)
    path = tmp_path / "events"
    data = lines(MIXED) + b"\n"
    path.write_bytes(gzip.compress(data) if packed else data)
    found, coverage = ids(path)
    assert found == WANTED
    assert (coverage.records, len(coverage.problems)) == (len(MIXED), 0)


@pytest.mark.parametrize("place", [0, 7, 29])
def test_what_is_broken_in_a_large_file_of_lines_is_named_with_its_line(
    place: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "WHOLE", 1000)
    monkeypatch.setattr(reading, "_BLOCK", 3000)
    path = tmp_path / "events"
    texts = lines(EVENTS).split(b"\n")
    texts.insert(place, b'{"eventVersion": broken}')
    path.write_bytes(b"\n".join(texts))
    found, coverage = ids(path)
    assert found == WANTED
    assert coverage.records == len(EVENTS)
    [problem] = coverage.problems
    assert (problem.path, problem.line) == (path, place + 1)


def test_a_large_file_of_lines_that_is_cut_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "WHOLE", 1000)
    monkeypatch.setattr(reading, "_BLOCK", 3000)
    path = tmp_path / "events.gz"
    path.write_bytes(gzip.compress(lines(EVENTS * 20), 0)[:-2000])
    _, coverage = ids(path)
    assert any("can't be read to its end" in str(problem) for problem in coverage.problems)


def test_a_hunt_through_lines_finds_what_it_finds_in_records(tmp_path: Path) -> None:
    records, flat = tmp_path / "records.json", tmp_path / "lines.json"
    records.write_text(json.dumps({"Records": EVENTS}))
    flat.write_bytes(lines(EVENTS))
    one, other = (
        keywatch("hunt", "--rule", DENIED, "--format", "ndjson", "--from", "2026-11-20T10:00", path)
        for path in (records, flat)
    )
    assert one.stdout == other.stdout
    assert one.stdout.count("\n") == 1


CUT = 5_000


@pytest.fixture
def cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have files cut that are large enough for a test."""
    monkeypatch.setattr(stretches, "_STRETCH", CUT)
    monkeypatch.setattr(stretches, "_NEAR", CUT)


@pytest.mark.usefixtures("cut")
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_large_file_of_lines_is_cut_between_two_records(end: str, tmp_path: Path) -> None:
    path = tmp_path / "events"
    path.write_bytes(data := lines(MIXED, end))
    found = stretches.stretches(str(path))
    pieces = [data[one.start : one.stop] for one in found]
    assert len(pieces) > len(data) / CUT / 2
    assert b"".join(pieces) == data
    assert [json.loads(line) for piece in pieces for line in piece.splitlines()] == MIXED


@pytest.mark.usefixtures("cut")
@pytest.mark.parametrize(
    "document",
    [
        json.dumps(MIXED, indent=1),
        json.dumps({"Records": MIXED}).replace(', {"eventVersion"', ',\n{"eventVersion"'),
        json.dumps({"eventVersion": "1.11", "of": MIXED}).replace(', {"eventVersion"', ',\n{"eventVersion"'),
        json.dumps(MIXED[0] | {"x": "y" * 2 * CUT}),
    ],
)
def test_no_file_is_cut_within_a_document(document: str, tmp_path: Path) -> None:
    path = tmp_path / "events"
    path.write_text(document)
    assert len(stretches.stretches(str(path))) <= 1
    path.write_bytes(lines(MIXED) + b"\n" + document.encode())
    pieces = [path.read_bytes()[one.start : one.stop] for one in stretches.stretches(str(path))]
    assert not pieces or pieces[-1].endswith(document.encode())


@pytest.mark.usefixtures("cut")
def test_a_file_that_is_cut_is_read_as_one_that_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = lines(MIXED * 3).split(b"\n")
    places = [5, 70, 71, 160]
    for place in places:
        texts.insert(place, b'{"eventVersion": broken}')
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(b"\n".join(texts))
    command = ["hunt", *DENIALS, "--format", "ndjson", str(tmp_path)]
    assert len(stretches.stretches(str(tmp_path / "a"))) > len(places)
    some = keywatch(*command)
    monkeypatch.undo()
    whole = keywatch(*command)
    assert not stretches.stretches(str(tmp_path / "a"))
    assert (some.stdout, some.stderr, some.exit_code) == (whole.stdout, whole.stderr, whole.exit_code)
    assert some.stdout
    assert all(f"{name}:{place + 1}" in some.stderr for name in ("a", "b") for place in places)


def test_rows_that_wait_in_a_file_are_those_that_wait_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(2 * workers._CHUNK):
        (tmp_path / f"{number}.json").write_bytes(lines([denied(MINUTE * i, (number + i) % 9) for i in range(9)]))
    command = ["hunt", *DENIALS, "--format", "ndjson", str(tmp_path)]
    memory = keywatch(*command)
    made, kept = list[str](), workers._kept
    monkeypatch.setattr(workers, "_ROWS", 10)
    monkeypatch.setattr(workers, "_HELD", 20)

    def noted(path: str) -> Iterator[workers.Part]:
        made.append(path)
        return kept(path)

    monkeypatch.setattr(workers, "_kept", noted)
    file = keywatch(*command)
    assert made
    assert not any(Path(path).exists() for path in made)
    assert (file.stdout, file.stderr, file.exit_code) == (memory.stdout, memory.stderr, memory.exit_code)
    assert file.stdout
