"""The sift never drops a record that a rule matches, however its JSON is spelt."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rows import Row, read, row
from sigma.pipelines.keywatch._pack import PACK

import oracle
from events import ASIA, denied, histories, invoked
from hostile import MODIFIERS, TEXTS, near, value_rule
from keywatch.conversion.rules import fields_used, load_pack
from keywatch.conversion.settings import load_settings
from keywatch.hunting.columns import Columns
from keywatch.hunting.coverage import Coverage
from keywatch.hunting.needs import named, needs_of
from keywatch.hunting.reading import Reader
from keywatch.hunting.sift import Sift
from packs import one_rule, written

Event = dict[str, Any]
RULES = oracle.load(PACK)


def sift_of(*paths: Path) -> Sift:
    pack = load_pack(list(paths), [], load_settings(None))
    assert not pack.problems
    rules = pack.in_order()
    columns = dict.fromkeys(["eventName", "eventTime", "awsRegion", *fields_used(rules)])
    return Sift(needs_of(rules), Columns(columns))


SIFT = sift_of()


def spelt(value: Any, source: random.Random, *, spaces: bool) -> str:
    """Write JSON in one of its many ways: any character escaped, spaces anywhere, keys after the first in any order."""

    def gap() -> str:
        return source.choice(["", "", " ", "\n\t"]) if spaces else ""

    if isinstance(value, dict):
        keys = list(value)
        rest = keys[1:] if keys[:1] == ["eventVersion"] else keys
        source.shuffle(rest)
        pairs = [
            f"{_text(key, source)}{gap()}:{gap()}{spelt(value[key], source, spaces=spaces)}"
            for key in [*keys[: len(keys) - len(rest)], *rest]
        ]
        return "{" + f"{gap()},{gap()}".join(pairs) + gap() + "}"
    if isinstance(value, list):
        return "[" + f"{gap()},".join(spelt(item, source, spaces=spaces) for item in value) + "]"
    return _text(value, source) if isinstance(value, str) else json.dumps(value)


def _text(text: str, source: random.Random) -> str:
    if text == "eventVersion" or source.random() < 0.7:
        return json.dumps(text, ensure_ascii=source.random() < 0.5)
    units = json.dumps(text)[1:-1]
    if source.random() < 0.5:
        return '"' + units.replace("/", "\\/") + '"'
    position = source.randrange(len(text) + 1)
    escaped = "".join(f"\\u{ord(char):04x}" for char in text[position : position + 1] if ord(char) < 0x10000)
    return json.dumps(text[:position])[:-1] + escaped + json.dumps(text[position + bool(escaped) :])[1:]


def kept(sift: Sift, records: list[str], folder: Path) -> list[Row]:
    """Return what is read of a file of records that are spelt already."""
    path = folder / "records.json"
    path.write_text('{"Records":[' + ",".join(records) + "]}", encoding="utf-8")
    coverage = Coverage()
    found = read(Reader(sift), path, coverage)
    # CloudTrail writes a Region into every record; some of these have none.
    assert all("a record without awsRegion: " in str(problem) for problem in coverage.problems)
    assert coverage.records == len(records)
    return found


def rows(sift: Sift, *events: Event) -> list[Row]:
    return [row(sift.columns, event) for event in events]


def plain(*events: Event) -> list[str]:
    return [msgspec.json.encode(event).decode() for event in events]


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(events=histories(), seed=st.integers(), spaces=st.booleans())
def test_every_record_that_a_rule_matches_is_kept(events: list[Event], seed: int, spaces: bool, tmp_path: Path) -> None:
    source = random.Random(seed)
    found = kept(SIFT, [spelt(event, source, spaces=spaces) for event in events], tmp_path)
    wanted = [event for event in events if any(oracle.matches(r, event) for r in RULES.values() if "detection" in r)]
    assert all(row in found for row in rows(SIFT, *wanted))


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(value=TEXTS, modifier=st.sampled_from(MODIFIERS), seed=st.integers())
def test_every_record_that_a_hostile_value_matches_is_kept(
    value: str, modifier: str, seed: int, tmp_path: Path
) -> None:
    document = value_rule(value, modifier)
    source = random.Random(seed)
    events = [denied(0, 0, userAgent=text) for text in near(value)]
    sift = sift_of(written([document], tmp_path))
    found = kept(sift, [spelt(event, source, spaces=False) for event in events], tmp_path)
    wanted = [event for event in events if oracle.matches(document, event)]
    assert all(row in found for row in rows(sift, *wanted))


def test_what_no_rule_can_match_is_passed_over(tmp_path: Path) -> None:
    events = [
        denied(0, 0, errorCode=None),
        denied(1, 0, key=ASIA),
        denied(2, 0, name="PutObject"),
        denied(3, 0),
    ]
    assert kept(SIFT, plain(*events), tmp_path) == rows(SIFT, events[3])


@pytest.mark.parametrize(
    "parameters",
    [
        {"eventVersion": "1"},
        {"x": [{"eventVersion": "1", "eventName": "no record"}, {"eventVersion": "2", "eventName": "nor this"}]},
        {"x": [{"a": 1}, {"eventVersion": "1", "eventName": "no record"}]},
        {"text": '{"eventVersion":"1"}, {"eventVersion":"2"}'},
    ],
)
def test_the_beginning_of_a_record_inside_a_record(parameters: Event, tmp_path: Path) -> None:
    # Something to look for stands on both sides.
    events = [denied(i, 0, userAgent="AccessDenied", requestParameters=parameters) for i in range(3)]
    assert kept(SIFT, plain(*events), tmp_path) == rows(SIFT, *events)


def test_a_beginning_inside_a_record_that_no_rule_can_match_is_not_counted(tmp_path: Path) -> None:
    event = denied(0, 0, errorCode=None, requestParameters={"x": {"eventVersion": "1"}})
    kept(SIFT, plain(event) * 3, tmp_path)


def test_a_value_that_reads_like_the_beginning_of_a_record(tmp_path: Path) -> None:
    events = [denied(0, 0, userAgent=text) for text in ("x", "eventVersion/1", "y")]
    sift = sift_of(written([value_rule("eventVersion", "|startswith")], tmp_path))
    assert rows(sift, events[1])[0] in kept(sift, plain(*events), tmp_path)


@pytest.mark.parametrize("source", ["bedroc\u212a.amazonaws.com", "bedrock.amazonaws.com"])
def test_letters_that_are_others_in_lower_case(source: str, tmp_path: Path) -> None:
    event = invoked(0, 0, source=source)
    assert kept(SIFT, plain(event), tmp_path) == rows(SIFT, event)


def test_a_rule_without_a_pattern_turns_the_sift_off(tmp_path: Path) -> None:
    document = value_rule("^aws", "|re")
    document["detection"]["condition"] = "value"
    sift = sift_of(written([document], tmp_path))
    events = [invoked(0, 0, userAgent="x"), denied(0, 0)]
    assert kept(sift, plain(*events), tmp_path) == rows(sift, *events)


def test_a_value_without_quotes(tmp_path: Path) -> None:
    document = value_rule("x", "")
    document["detection"] = {"value": {"managementEvent": "true", "readOnly": "fal*"}, "condition": "value"}
    events = [denied(0, 0, readOnly=False), denied(1, 0)]
    sift = sift_of(written([document], tmp_path))
    assert kept(sift, plain(*events), tmp_path) == rows(sift, events[0])


def test_a_list_is_compared_as_json_without_spaces(tmp_path: Path) -> None:
    sift = sift_of(written([value_rule("[100,200", "|startswith")], tmp_path))
    event = denied(0, 0, userAgent=[100, 200, 300])
    assert kept(sift, [json.dumps(event)], tmp_path) == rows(sift, event)


def test_what_is_cut_out_of_a_list_is_no_record(tmp_path: Path) -> None:
    document = value_rule("needle", "|contains")
    document["detection"]["condition"] = "value"  # so that nothing else is looked for
    sift = sift_of(written([document], tmp_path))
    event = denied(0, 0, userAgent=[{"a": 1}, {"eventVersion": "1", "b": "needle"}, {"eventVersion": "2"}])
    assert kept(sift, plain(event), tmp_path) == rows(sift, event)


@pytest.mark.parametrize(
    ("detection", "names", "is_tried"),
    [
        ({"eventName": "GetObject"}, ["PutObject", "GETOBJECT"], True),
        ({"eventName": "GetObject"}, ["PutObject", "GetObjectAcl"], True),  # it begins so: DuckDB looks closer
        ({"eventName": "GetObject"}, ["PutObject"], False),
        ({"eventName": "GetObject"}, [], False),
        ({"eventName": ["GetObject", "PutObject"]}, ["PutObject"], True),
        ({"eventName|contains": "Object", "eventName|startswith": "Get"}, ["PutObject", "GetItem"], False),
        ({"eventName|contains": "Object", "eventName|startswith": "Get"}, ["PutObject", "GetObject"], True),
        ({"eventName": "InvokeModel"}, ["Invo\u212aeModel"], True),  # the Kelvin sign is a k in lower case
        ({"eventName": "GetObject", "eventSource": "s3.amazonaws.com"}, ["PutObject"], False),
        ({"eventSource": "s3.amazonaws.com"}, ["PutObject"], True),
        ({"eventName|endswith": "*"}, ["PutObject"], True),
    ],
)
def test_a_rule_is_tried_where_an_event_has_a_name_that_it_needs(
    detection: Event, names: list[str], is_tried: bool, tmp_path: Path
) -> None:
    pack = load_pack([written([one_rule(detection)], tmp_path)], [], load_settings(None))
    assert named(names)(needs_of(pack.in_order())) is is_tried
