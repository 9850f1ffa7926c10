"""What `hunt` finds in the named scenarios, and in files that are not as they should be."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import duckdb
import pytest
from sigma.pipelines.keywatch._fields import cloudtrail
from sigma.pipelines.keywatch._pack import PACK

import oracle
from events import DENIED, HOUR, MINUTE, denied
from hostile import try_rules
from keywatch.conversion.convert import Conversion
from keywatch.errors import UserError
from keywatch.hunting import loading
from keywatch.hunting.hunt import Alert
from packs import DENIALS, denials, hunted, one_rule, written

RULES = oracle.load(PACK)
NAMES = {document["id"]: name for name, document in RULES.items()}


def hunt_events(tmp_path: Path, events: list[dict[str, Any]]) -> list[Alert]:
    path = tmp_path / "events.json"
    path.write_text(json.dumps({"Records": events}), encoding="utf-8")
    alerts, coverage = denials(path)
    assert not coverage.problems
    return alerts


def test_windows_that_do_not_overlap_are_alerts_of_their_own(tmp_path: Path) -> None:
    attacks = [denied(shift + MINUTE * i, i) for shift in (0, 5 * HOUR) for i in range(5)]
    first, second = hunt_events(tmp_path, attacks)
    assert (first.last_seen, second.first_seen) == ("2026-11-20T10:04:00Z", "2026-11-20T15:00:00Z")
    lasting = [denied(2 * MINUTE * i, i % 9) for i in range(60)]
    [one] = hunt_events(tmp_path, lasting)
    assert one.events == 60


def shapes(events: list[dict[str, Any]]) -> dict[str, bytes]:
    records = json.dumps({"Records": events}).encode()
    lines = b"\n".join(json.dumps(event).encode() for event in events)
    return {
        "records.json": records,
        "records.json.gz": gzip.compress(records),
        "array.json": json.dumps(events, indent=2).encode(),
        "lines.ndjson": lines,
        "lines.jsonl.gz": gzip.compress(lines + b"\n"),
        "files-joined.json": b"\n".join(json.dumps({"Records": [event]}).encode() for event in events),
    }


@pytest.mark.parametrize("name", list(shapes([])))
def test_every_shape_is_read(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "AWSLogs" / "111122223333" / "CloudTrail" / "us-east-1"
    folder.mkdir(parents=True)
    (folder / name).write_bytes(shapes([denied(60 * i, i) for i in range(5)])[name])
    alerts, coverage = denials(tmp_path)
    assert len(alerts) == 1
    assert (coverage.files, coverage.records, list(coverage.problems)) == (1, 5, [])


def test_a_broken_file_is_named_and_the_rest_is_hunted(tmp_path: Path) -> None:
    whole = gzip.compress(json.dumps({"Records": [denied(60 * i, i) for i in range(5)]}).encode())
    (tmp_path / "good.json.gz").write_bytes(whole)
    (tmp_path / "cut.json.gz").write_bytes(whole[:-20])
    (tmp_path / "text.json").write_text("this is not JSON")
    (tmp_path / "other.json").write_text('{"Version": "2012-10-17"}')
    (tmp_path / "number.json").write_text('{"Records": [7]}')
    (tmp_path / "empty.json").write_text("")
    (tmp_path / "half.ndjson").write_text(json.dumps(denied(0, 0)) + '\n{"eventName": \n')
    alerts, coverage = denials(tmp_path, tmp_path / "gone.json")
    assert len(alerts) == 1
    problems = sorted(str(problem).replace(f"{tmp_path}/", "") for problem in coverage.problems)
    assert [problem.split(": ")[0] for problem in problems] == [
        "cut.json.gz", "gone.json", "half.ndjson:2", "number.json", "other.json", "text.json",
    ]  # fmt: skip


def test_an_event_delivered_twice_counts_once(tmp_path: Path) -> None:
    events = [denied(60 * i, i) for i in range(5)]
    for name in ("a.json", "b.json"):
        (tmp_path / name).write_text(json.dumps({"Records": events}))
    [alert], coverage = denials(tmp_path)
    assert alert.events == 5
    assert coverage.duplicates == 5


def test_digest_files_are_passed_over(tmp_path: Path) -> None:
    folder = tmp_path / "CloudTrail-Digest"
    folder.mkdir()
    (folder / "111122223333_CloudTrail-Digest_us-east-1.json.gz").write_bytes(gzip.compress(b'{"logFiles": []}'))
    _, coverage = hunted(tmp_path)
    assert (coverage.passed, list(coverage.problems)) == ({"digest files": 1}, [])


def test_a_record_without_a_time_is_counted(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps([denied(0, 0, eventTime="yesterday")]))
    _, coverage = hunted(tmp_path)
    assert [str(problem) for problem in coverage.problems] == [
        f"{tmp_path}/a.json: a record whose eventTime is no time, or out of range; it was left out ('yesterday')"
    ]


def test_real_records(cloudtrail_samples: Path) -> None:
    alerts, coverage = hunted(cloudtrail_samples)
    assert not coverage.problems
    names = Counter(NAMES[alert.rule_id] for alert in alerts)
    assert names == {"aws_cloudtrail_bedrock_model_access_temporary_credentials": 3}


def test_hostile_rules(tmp_path: Path) -> None:
    """No text of a rule adds a statement or a column."""

    def is_one_query(_: Any, conversion: Conversion) -> None:
        [[query]] = conversion.queries.values()
        connection = duckdb.connect()
        [statement] = connection.extract_statements(query)
        assert statement.type == duckdb.StatementType.SELECT
        evidence = [name for name in cloudtrail()["evidence"] if name not in ("userIdentity.arn", "awsRegion")]
        texts = ", ".join(f'"{name}" TEXT' for name in ("userIdentity.arn", "awsRegion", *evidence))
        connection.execute(f'CREATE TABLE cloudtrail ("eventTime" TIMESTAMP, {texts})')
        columns = [column[0] for column in connection.execute(query).description]
        own = ["userIdentity.arn", "value_count", "awsRegion", "first_seen", "last_seen", "event_count", "outcomes"]
        assert columns == [*own, *evidence]

    try_rules("duckdb", ["sql"], tmp_path, is_one_query, examples=60)


@pytest.mark.parametrize("name", [{}, {"eventName": "CallThatNobodyMade"}])
def test_a_rule_that_duckdb_can_not_run_is_named_and_the_rest_is_hunted(name: dict[str, str], tmp_path: Path) -> None:
    path = written([one_rule({**name, "userAgent|re": "(?=a)aws"}, title="Odd", name="odd")], tmp_path)
    (tmp_path / "events.json").write_text(json.dumps([denied(60 * i, i) for i in range(5)]))
    alerts, coverage = hunted(tmp_path / "events.json", rules=[path, *map(Path, DENIALS[1::2])])
    assert [NAMES[alert.rule_id] for alert in alerts] == [DENIED]
    [problem] = coverage.problems
    assert str(problem).startswith(f"{path}: rule 'Odd': DuckDB can't run it: Invalid Input Error: ")


def test_too_little_memory_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "_MEMORY", "1MB")
    (tmp_path / "events.json").write_text(json.dumps([denied(i, i % 9, userAgent="x" * 1000) for i in range(5000)]))
    with pytest.raises(UserError, match=r"^DuckDB: Out of Memory Error: "):
        hunted(tmp_path / "events.json")
