"""Whatever shape CloudTrail was got in, the alerts are the same."""

from __future__ import annotations

import gzip
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rows import read, row

from events import denied, histories
from keywatch.hunting import unpacking
from keywatch.hunting.columns import REQUIRED, Columns
from keywatch.hunting.coverage import Coverage
from keywatch.hunting.finding import find_files
from keywatch.hunting.reading import Reader
from keywatch.hunting.selection import Selection
from keywatch.hunting.shapes import SHAPES as TABLE
from keywatch.hunting.sift import Sift
from packs import denials as run
from shapes import SHAPES, WRAPPINGS, compact, lines, table

Event = dict[str, Any]
EVENTS = [denied(60 * i, i) for i in range(5)]
NAMES = [
    "eventName",
    "eventTime",
    "eventSource",
    "awsRegion",
    "eventID",
    "userIdentity.arn",
    "userIdentity.accessKeyId",
]


def whole(history: list[Event]) -> list[Event]:
    """Return the events that have what CloudTrail writes into every record, and objects where it writes them."""
    return [
        event
        for event in history
        if all(isinstance(event.get(name), str) for name in REQUIRED[:3]) and isinstance(event["userIdentity"], dict)
    ]


@pytest.mark.parametrize("name", SHAPES)
def test_each_shape_is_read(name: str, tmp_path: Path) -> None:
    path = tmp_path / "got"
    path.write_bytes(SHAPES[name](EVENTS))
    [alert], coverage = run(path)
    assert (alert.count, alert.events) == (5, 5)
    assert (coverage.files, coverage.records, list(map(str, coverage.problems))) == (1, 5, [])


def _packed(content: bytes) -> int:
    return 1 + _packed(gzip.decompress(content)) if content.startswith(unpacking.GZIP) else 0


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(history=histories(), data=st.data())
def test_shapes_nested_and_mixed_in_a_folder_give_the_same_rows(history: list[Event], data: st.DataObject) -> None:
    """What DuckDB gets is the same, and with it the alerts."""
    events = whole(history)
    reader, coverage = Reader(Sift(None, Columns(NAMES))), Coverage()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(events)), max_size=3)))
    with TemporaryDirectory() as name:
        for number, (start, stop) in enumerate(zip([0, *cuts], [*cuts, len(events)], strict=True)):
            content = SHAPES[data.draw(st.sampled_from(list(SHAPES)))](events[start:stop])
            # No more is unpacked than three times, one in the other, of which a shape may be two.
            wrappings = st.lists(st.sampled_from(list(WRAPPINGS)), max_size=3)
            for wrapping in data.draw(wrappings.filter(lambda names: names.count("packed") < 2)):
                if b"\0" in content and wrapping not in ("packed", "base64"):
                    continue  # of UTF-16 without a mark, as no service would
                if wrapping == "packed" and _packed(content) == unpacking._NESTED:
                    continue  # files are unpacked so often, and no more
                with suppress(UnicodeDecodeError):  # of what is packed or UTF-16 already, nor of these
                    content = WRAPPINGS[wrapping](content)
            Path(name, str(number)).write_bytes(content)
        files = find_files([name], Selection(), coverage)
        found = [row for file in files for row in read(reader, file, coverage)]
    assert not list(map(str, coverage.problems))
    assert found == [row(reader.sift.columns, event) for event in events]
    assert coverage.records == len(events)


@pytest.mark.parametrize("empty", [b"", b" ", b"\n \t\r\n\n", b"[]"])
def test_a_record_of_a_stream_may_hold_nothing(empty: bytes, tmp_path: Path) -> None:
    (tmp_path / "got").write_bytes(WRAPPINGS["base64"](empty))
    alerts, coverage = run(tmp_path / "got")
    assert (alerts, list(map(str, coverage.problems))) == ([], [])


def test_each_entry_of_the_table_is_used_by_a_shape_of_the_tests() -> None:
    content = b"".join(shape(EVENTS) for shape in SHAPES.values()) + WRAPPINGS["base64"](b"x")
    for shape in TABLE:
        keys = [path.split(".")[0].encode() for path in shape.at]
        assert any(b'"%b"' % key in content for key in keys) or shape.name in {
            "CloudTrail Lake's event", "Datadog logs",
        }  # fmt: skip


@pytest.mark.parametrize("missing", REQUIRED[1:])
@pytest.mark.parametrize("shape", ["AWS", "lines", "EventBridge", "lookup-events"])
def test_an_export_that_no_rule_can_match_is_named(missing: str, shape: str, tmp_path: Path) -> None:
    events = [{("x_" + key if key == missing else key): value for key, value in event.items()} for event in EVENTS]
    if missing == "eventSource" and shape == "lookup-events":
        return  # EventSource is what the fixture takes from it
    (tmp_path / "a.json").write_bytes(SHAPES[shape](events))
    alerts, coverage = run(tmp_path / "a.json")
    assert f"a record without {missing}: " in str(next(iter(coverage.problems)))
    assert len(coverage.problems) == 5
    assert alerts == [] or missing == "eventSource"  # which this rule does not ask for


def test_athena_structs_are_named(tmp_path: Path) -> None:
    names = ["eventversion", "useridentity", "eventtime", "eventsource", "eventname", "awsregion"]
    identity = "{type=IAMUser, arn=arn:aws:iam::1:user/x}"
    (tmp_path / "a.csv").write_bytes(table(names, [["1", identity, "2026-11-10T10:00:00Z", "s", "n", "r"]]))
    _, coverage = run(tmp_path / "a.csv")
    [problem] = coverage.problems
    assert "cast it to JSON" in str(problem)


@pytest.mark.parametrize(
    ("document", "kind"),
    [
        ({"digestS3Object": "x", "logFiles": []}, "digest files"),
        ({"Records": [{"eventVersion": "1", "insightDetails": {"state": "Start"}}]}, "Insight events"),
        ([{"eventCategory": "Aggregated", "summary": {}}], "aggregated events"),
        ({"messageType": "CONTROL_MESSAGE", "logEvents": [{"message": "CWL CONTROL MESSAGE"}]},
         "control messages of CloudWatch Logs"),
        ({"fileVersion": "1.0", "configurationItems": []}, "AWS Config files"),
    ],
)  # fmt: skip
def test_what_is_known_to_be_something_else_is_counted(document: Any, kind: str, tmp_path: Path) -> None:
    (tmp_path / "x").write_text(compact(document))
    _, coverage = run(tmp_path)
    assert (dict(coverage.passed), list(coverage.problems)) == ({kind: 1}, [])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"Version":"2012-10-17"}', "not a CloudTrail record, which is an object with eventName"),
        (b'{"s3Bucket":"b","s3ObjectKey":["k"]}', "a notice that files were delivered"),
        (b'{"Records":[{"eventSource":"aws:s3","eventName":"ObjectCreated:Put","awsRegion":"r","userIdentity":{},'
         b'"s3":{"object":{"key":"k"}}}]}', "an S3 event notification"),
        (b'{"event":{"action":"x"},"aws":{"cloudtrail":{}}}', "documents with event.original"),
        (b'{"class_uid":6003,"api":{}}', "an OCSF event"),
        (b"just some text\nand more\n", "not understood: it holds no JSON"),
        (b"\x00\x01\x02\x03binary", "not understood: it holds no JSON"),
        (b"PK\x03\x04rest", "a zip archive: unpack it first"),
        (b"[" * 60 + b"1" + b"]" * 60, "something in something else, over and over"),
    ],
)  # fmt: skip
def test_what_is_not_understood_is_named(content: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(content)
    (tmp_path / "y").write_bytes(lines(EVENTS))
    alerts, coverage = run(tmp_path)
    assert len(alerts) == 1
    [problem] = map(str, coverage.problems)
    assert problem.startswith(f"{tmp_path}/x: ")
    assert said in problem
