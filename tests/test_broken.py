"""What is broken in a file costs itself, and nothing around it."""

from __future__ import annotations

import io
import json
import random
from pathlib import Path
from typing import Any

import pytest
from rows import read as read_rows

from events import denied
from keywatch.hunting import window
from keywatch.hunting.broken import Broken
from keywatch.hunting.columns import Columns
from keywatch.hunting.coverage import Coverage
from keywatch.hunting.documents import documents
from keywatch.hunting.reading import Reader
from keywatch.hunting.shapes import HEADINGS
from keywatch.hunting.sift import Sift
from shapes import SHAPES, compact

EVENTS = [denied(60 * i, i % 9) for i in range(20)]
TEXTS = [compact(event) for event in EVENTS]
READER = Reader(Sift(None, Columns(["eventName", "eventID"])))
IDS = [event["eventID"] for event in EVENTS]
#: Each takes a record's text, and breaks it.
FAULTS = {
    "a lone surrogate": lambda text: text.replace("aws-cli", "\\ud800"),
    "a lone surrogate at the end": lambda text: text.replace('aws-cli/2.15"', '\\ud800"'),
    "NaN": lambda text: text.replace("true", "NaN"),
    "nested deep": lambda text: text.replace("null", "[" * 50_000 + "]" * 50_000),
    "a bare word": lambda text: text.replace("true", "yes"),
    "a missing quote": lambda text: text.replace('"aws-cli', "aws-cli"),
    "a missing brace": lambda text: text[:-1],
    "cut off": lambda text: text[:200],
    "a brace too many": lambda text: text.replace("true", "true}"),
    "bad UTF-8": lambda text: text.replace("aws-cli", "\udcff"),
}
DAMAGE = [b'"', b"{", b"}", b"[", b"]", b"\\", b"\n", b"\xff", b"\x00"]
#: How the records stand: what is before, between and after them.
LAYOUTS = {
    "file": ('{"Records":[', ",", "]}"),
    "array": ("[", ",", "]"),
    "array, a record a line": ("[\n", ",\n", "\n]\n"),
    "lines": ("", "\n", "\n"),
    "one after another": ("", "", ""),
    "files in an array": ('[{"Records":[', "]},{" + '"Records":[', "]}]"),
}


def read(content: bytes, folder: Path) -> tuple[list[str | None], Coverage]:
    path, coverage = folder / "x", Coverage()
    path.write_bytes(content)
    column = READER.sift.columns.names.index("eventID")
    return [row[column] for row in read_rows(READER, path, coverage)], coverage


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_broken_record_costs_itself(fault: str, layout: str, tmp_path: Path) -> None:
    before, between, after = LAYOUTS[layout]
    texts = [FAULTS[fault](text) if number == 7 else text for number, text in enumerate(TEXTS)]
    content = (before + between.join(texts) + after).encode("utf-8", "surrogateescape")
    found, coverage = read(content, tmp_path)
    assert [one for one in found if one != IDS[7]] == IDS[:7] + IDS[8:]
    skimmed = (fault, layout) == ("bad UTF-8", "file")  # of a field that is not asked for
    assert skimmed or 1 <= len(coverage.problems) <= 6


def test_a_long_number_costs_its_record_at_most(tmp_path: Path) -> None:
    texts = [text.replace("true", "9" * 400) if number == 7 else text for number, text in enumerate(TEXTS)]
    found, _ = read(("[" + ",".join(texts) + "]").encode(), tmp_path)
    assert [one for one in found if one != IDS[7]] == IDS[:7] + IDS[8:]


def test_equal_problems_are_a_line_with_a_count_and_the_first_three(tmp_path: Path) -> None:
    (tmp_path / "x").write_text('{"ts":1}\n' * 5000)
    coverage = Coverage()
    read_rows(READER, tmp_path / "x", coverage)
    assert len(coverage.problems) == 5000
    assert [str(problem) for problem in coverage.problems] == [
        f"{tmp_path}/x:1: not a CloudTrail record, which is an object with eventName (it has ts) "
        f"(5000 times, also {tmp_path}/x:2, {tmp_path}/x:3)"
    ]


@pytest.mark.parametrize("size", [1, 7, 100])
@pytest.mark.parametrize(
    "name", ["AWS", "lines", "one after another, indented", "Splunk, CSV", "lookup-events, as text"]
)
def test_it_does_not_matter_how_much_is_read_at_a_time(name: str, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    content = SHAPES[name](EVENTS[:3])
    wanted = list(documents(io.BytesIO(content).read, HEADINGS))
    stream = io.BytesIO(content)
    assert list(documents(lambda _: stream.read(size), HEADINGS)) == wanted


@pytest.mark.parametrize("name", ["AWS", "AWS, indented", "array", "array of files", "lookup-events", "lines"])
def test_a_list_larger_than_can_be_held_is_opened(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(window, "LARGEST", 3000)
    monkeypatch.setattr(window, "_READ", 1000)
    monkeypatch.setattr(Sift, "survivors", lambda *_: None)
    found, coverage = read(SHAPES[name](EVENTS), tmp_path)
    assert found == IDS
    assert not list(map(str, coverage.problems))


def test_one_thing_that_is_too_large_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(window, "LARGEST", 3000)
    monkeypatch.setattr(window, "_READ", 1000)
    large = compact(denied(0, 0, userAgent="x" * 9000))
    found, coverage = read("\n\n".join([*TEXTS[:3], large]).encode(), tmp_path)
    assert found == IDS[:3]
    assert any("in one piece" in str(problem) for problem in coverage.problems)


@pytest.mark.parametrize("seed", range(40))
def test_nothing_that_is_damaged_raises_or_takes_long(seed: int, tmp_path: Path) -> None:
    source = random.Random(seed)
    content = bytearray(SHAPES[source.choice(list(SHAPES))](EVENTS[:4]))
    for _ in range(source.randrange(1, 6)):
        place = source.randrange(len(content))
        change: Any = source.choice([b"", *DAMAGE, content[place : place + 50]])
        content[place : place + source.randrange(3)] = change
    read(bytes(content), tmp_path)


@pytest.mark.parametrize(
    "flood",
    [b"[" * 300_000, b'{"a":' * 100_000, b'{"a":NaN}\n' * 30_000, b'{"a":"x\n' * 30_000, b'{"a":NaN}' * 30_000,
     b'{"eventVersion":' * 30_000, b'"' * 300_001, b"x " * 300_000, b"x\n" * 100_000, b"}" * 300_000, b"[1," * 100_000],
    ids=lambda flood: flood[:8].decode(),
)  # fmt: skip
def test_a_flood_of_broken_things_takes_a_time_that_grows_with_it(flood: bytes) -> None:
    found = [document for _, document in documents(io.BytesIO(flood).read, HEADINGS)]
    assert any(isinstance(document, Broken) for document in found) or flood == b"}" * 300_000
    assert json.dumps(len(found))


def oddly(events: list[dict[str, Any]]) -> str:
    """Write records whose objects end as deep as the records begin."""
    return ",\n".join("{" + compact(event)[1:].replace("}", "\n}") for event in events)


def indented(between: str, indent: int | str) -> str:
    return between.join(json.dumps(event, indent=indent) for event in EVENTS)


@pytest.mark.parametrize(
    ("text", "known"),
    [
        *(("[" + indented(",\n", indent) + "]", True) for indent in (1, 4, "\t")),
        *((json.dumps({"Records": EVENTS}, indent=indent), True) for indent in (1, 4, "\t")),
        *((indented("\n", indent), True) for indent in (1, 4, "\t")),
        ("[" + indented(",\n", 0) + "]", False),
        (f"[\n{oddly(EVENTS)}\n]", False),
        (f"{oddly(EVENTS)}\n", False),
    ],
)
def test_indented_records_are_cut_by_their_indents_where_these_say_so(
    text: str, known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(window, "LARGEST", 3000)
    monkeypatch.setattr(window, "_READ", 5000)
    sizes, document_size = list[int | None](), window.Window.document_size

    def noted(self: window.Window, limit: int | None = None) -> int | None:
        sizes.append(document_size(self, limit))
        return sizes[-1]

    monkeypatch.setattr(window.Window, "document_size", noted)
    found = [document for _, document in documents(io.BytesIO(text.encode()).read, HEADINGS)]
    assert [event for event in found if "eventID" in event] == EVENTS
    assert (len(sizes) < len(EVENTS) / 2) == known
