"""Cases as a person reads them: who, from where, with which key, what was called, what failed and what worked."""

from __future__ import annotations

import csv
import json
import os
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from events import ACCESS_LONG, HOUR, MALLORY, MINUTE, REGIONS, TRENT, access, denied
from packs import SEED, counting_names, keywatch, one_rule, written

Event = dict[str, Any]
GOLDEN = Path(__file__).parent / "golden" / "hunt"
EVENTS = [
    *(denied(MINUTE * i, i % 6, userAgent=f"agent/{i % 2}") for i in range(12)),
    *(access(HOUR + MINUTE * i, 3, arn=TRENT) for i in range(3)),
    access(HOUR, 3, arn=TRENT, errorCode="AccessDenied"),
]


def saved(events: list[Event], folder: Path) -> Path:
    path = folder / "events.json"
    path.write_text(json.dumps({"Records": events}), encoding="utf-8")
    return path


def facts(block: str) -> dict[str, str]:
    """Return the facts of a case by their labels; a line that goes on has no label."""
    found: dict[str, str] = {"title": block.splitlines()[0]}
    label = "title"
    for line in block.splitlines()[1:]:
        if line[2:13].strip():
            label = line[2:13].strip()
        found[label] = f"{found.get(label, '')} {line[13:]}".strip()
    return found


def shown(stdout: str) -> list[dict[str, str]]:
    return [facts(block) for block in stdout.strip().split("\n\n")]


def test_a_case_of_a_correlation_says_all_that_it_is_decided_by(tmp_path: Path) -> None:
    case, _ = shown(keywatch("hunt", *SEED, saved(EVENTS, tmp_path), COLUMNS="200").stdout)
    assert case == {
        "title": "medium  AWS Enumeration Denied in Multiple Regions with Long-Term Key",
        "seen": "2026-11-20T10:00:00Z to 2026-11-20T10:11:00Z",
        "counted": f"6 in one window: {', '.join(sorted(REGIONS[:6]))}",
        "principal": MALLORY,
        "account": EVENTS[0]["recipientAccountId"],
        "key": EVENTS[0]["userIdentity"]["accessKeyId"],
        "address": EVENTS[0]["sourceIPAddress"],
        "user agent": "agent/0, agent/1",
        "called": f"{EVENTS[0]['eventSource']}: {EVENTS[0]['eventName']} (12)",
        "in": ", ".join(sorted(REGIONS[:6])),
        "failed": f"12 of 12 calls: {EVENTS[0]['errorCode']} (12)",
        "worked": "0",
    }


def test_alerts_of_single_events_of_a_principal_are_one_case_and_ndjson_has_each(tmp_path: Path) -> None:
    path = saved([*EVENTS, access(2 * HOUR, 1)], tmp_path)
    cases = [case for case in shown(keywatch("hunt", *SEED, path, COLUMNS="200").stdout) if "alerts" in case]
    assert [(case["alerts"], case["principal"]) for case in cases] == [("4", TRENT), ("1", MALLORY)]
    assert cases[0]["seen"] == "2026-11-20T11:00:00Z to 2026-11-20T11:02:00Z"
    assert (cases[0]["failed"], cases[0]["worked"]) == ("1 of 4 calls: AccessDenied (1)", "3")
    alerts = [json.loads(line) for line in keywatch("hunt", *SEED, "--format", "ndjson", path).stdout.splitlines()]
    assert [alert["first_seen"] for alert in alerts] == sorted(alert["first_seen"] for alert in alerts)
    assert len(alerts) == 1 + 4 + 1


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_golden(columns: int, tmp_path: Path) -> None:
    text = keywatch("hunt", *SEED, saved(EVENTS, tmp_path), COLUMNS=str(columns)).stdout
    assert max(map(len, text.splitlines())) <= columns
    path = GOLDEN / f"{columns}.txt"
    if os.environ.get("KEYWATCH_WRITE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


def test_narrow_terminals_lose_nothing(tmp_path: Path) -> None:
    path = saved(EVENTS, tmp_path)
    wide, narrow = (keywatch("hunt", *SEED, path, COLUMNS=columns).stdout for columns in ("300", "45"))
    assert "".join(wide.split()) == "".join(narrow.split())


def test_of_many_values_the_others_are_counted(tmp_path: Path) -> None:
    events = [access(MINUTE * i, 0, sourceIPAddress=f"192.0.2.{i:03}") for i in range(14)]
    [case] = shown(keywatch("hunt", *SEED, saved(events, tmp_path), COLUMNS="400").stdout)
    assert case["address"] == ", ".join(f"192.0.2.{i:03}" for i in range(10)) + " and 4 more"


def test_a_principal_without_an_arn_is_named_by_what_there_is(tmp_path: Path) -> None:
    events = [
        access(0, 0, userIdentity={"type": "AWSService", "invokedBy": "config.amazonaws.com"}),
        access(1, 0, userIdentity={"type": "AWSAccount", "principalId": "AIDAEXAMPLE"}),
        access(2, 0, userIdentity={"type": "Unknown"}),
    ]
    rules = written([one_rule({"eventName": events[0]["eventName"]}, level="low")], tmp_path)
    cases = shown(keywatch("hunt", "--rules", rules, saved(events, tmp_path)).stdout)
    assert [case["principal"] for case in cases] == ["config.amazonaws.com", "AIDAEXAMPLE", "Unknown"]


def test_what_is_behind_a_correlation_are_its_own_events(tmp_path: Path) -> None:
    """Those of its group, its rule and its windows, each once: not those of others, and not those between alerts."""
    rules = written(counting_names(["userIdentity.arn", "awsRegion"], "10m"), tmp_path)
    events = [
        denied(0, 0, name="ListUsers"),
        denied(MINUTE, 0, name="ListRoles", errorCode=None),
        denied(MINUTE, 0, name="GetUser"),  # the rule is about List* only
        denied(MINUTE, 1, name="ListKeys"),
        denied(MINUTE, 0, name="ListKeys", arn=TRENT),
        denied(HOUR, 0, name="ListKeys"),
    ]
    [case] = shown(keywatch("hunt", "--rules", rules, saved(events, tmp_path), COLUMNS="200").stdout)
    assert case["called"] == "lambda.amazonaws.com: ListRoles (1), lambda.amazonaws.com: ListUsers (1)"
    assert (case["failed"], case["worked"]) == (f"1 of 2 calls: {events[0]['errorCode']} (1)", "1")


def test_events_are_the_raw_records_by_alert(tmp_path: Path) -> None:
    events = [event | {"unknown": {"kept": ["as", 1, None]}} for event in EVENTS]
    evidence = tmp_path / "evidence.ndjson"
    stdout = keywatch("hunt", *SEED, "--format", "ndjson", "--events", evidence, saved(events, tmp_path)).stdout
    alerts = [json.loads(line) for line in stdout.splitlines()]
    lines = [json.loads(line) for line in evidence.read_text().splitlines()]
    assert [line["alert"] for line in lines] == sorted(line["alert"] for line in lines)
    for number, alert in enumerate(alerts, 1):
        behind = [line["event"] for line in lines if line["alert"] == number]
        assert len(behind) == alert["events"]
        assert all(event in events for event in behind)
        assert {line["rule_id"] for line in lines if line["alert"] == number} == {alert["rule_id"]}
        assert min(event["eventTime"] for event in behind) == alert["first_seen"]
    again = keywatch("hunt", *SEED, "--format", "ndjson", evidence)  # what was written can be hunted through
    assert again.stdout == stdout


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
def test_events_are_kept_whatever_way_they_were_read(separators: tuple[str, str], tmp_path: Path) -> None:
    records = [json.dumps(event, separators=separators) for event in EVENTS]
    path, evidence = tmp_path / "events.json", tmp_path / "evidence.ndjson"
    path.write_text('{"Records":[' + ",".join(records) + "]}", encoding="utf-8")
    regex = written([one_rule({"eventName|re": ".*"})], tmp_path)
    for rules in (SEED, ["--rules", regex]):
        assert keywatch("hunt", *rules, "--quiet", "--events", evidence, path).exit_code == 0
        behind = [json.loads(line)["event"] for line in evidence.read_text().splitlines()]
        assert sorted(event["eventID"] for event in behind) == sorted(event["eventID"] for event in EVENTS)
        assert all(event in EVENTS for event in behind)


@pytest.mark.parametrize(
    ("name", "begins"),
    [
        ("a.ndjson", '{"rule_id":'), ("a.JSONL", '{"rule_id":'), ("a.csv", "rule_id,title,"),
        ("a.txt", "medium  AWS"), ("a.html", "<!doctype html>"),
    ],
)  # fmt: skip
def test_the_suffix_says_the_format(name: str, begins: str, tmp_path: Path) -> None:
    out = tmp_path / "new folder" / name
    result = keywatch("hunt", *SEED, "--out", out, "--quiet", saved(EVENTS, tmp_path))
    assert (result.exit_code, result.output) == (0, "")
    assert out.read_text().startswith(begins)


def test_a_suffix_that_says_nothing_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    result = keywatch("hunt", "--out", tmp_path / "a.pdf", tmp_path / "gone")
    assert result.exit_code == 2
    assert result.output.count("\n") == 1
    assert "--format" in result.output
    named = keywatch("hunt", *SEED, "--format", "csv", "--out", tmp_path / "a.pdf", saved(EVENTS, tmp_path))
    assert named.exit_code == 0
    assert len(list(csv.DictReader(StringIO((tmp_path / "a.pdf").read_text())))) == 5


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    out = tmp_path / "alerts.ndjson"
    out.write_text("before")
    assert keywatch("hunt", "--rule", "nosuch", "--out", out, saved(EVENTS, tmp_path)).exit_code == 2
    assert out.read_text() == "before"
    full = keywatch("hunt", *SEED, "--format", "csv", "--out", "/dev/full", saved(EVENTS, tmp_path))
    assert (full.exit_code, full.stdout) == (2, "")
    assert full.stderr == "/dev/full: can't be written: No space left on device\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["alerts.ndjson", "events.json"]


def test_levels_and_rules_are_chosen(tmp_path: Path) -> None:
    path = saved(EVENTS, tmp_path)

    def titles(*options: str) -> set[str]:
        result = keywatch("hunt", "--format", "ndjson", *options, path)
        assert result.exit_code == 0, result.output
        return {json.loads(line)["level"] for line in result.stdout.splitlines()}

    everything = titles()
    assert {"medium"} <= everything
    assert titles("--min-level", "high") == everything & {"high", "critical"}
    assert titles("--min-level", "medium") == everything & {"medium", "high", "critical"}
    assert titles("--rule", ACCESS_LONG) == {"medium"}
    by_title = keywatch(
        "hunt", "--format", "ndjson", "--rule", "aws bedrock model access api called with long-term key", path
    )
    assert len(by_title.stdout.splitlines()) == 4


def test_a_choice_that_leaves_no_rule_is_said(tmp_path: Path) -> None:
    result = keywatch("hunt", "--rule", ACCESS_LONG, "--min-level", "critical", saved(EVENTS, tmp_path))
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("no rule is left: ")


def test_quiet_says_what_went_wrong_only(tmp_path: Path) -> None:
    path = saved(EVENTS, tmp_path)
    assert keywatch("hunt", "--quiet", path).stderr == ""
    gone = keywatch("hunt", "--quiet", path, tmp_path / "gone.json")
    assert gone.exit_code == 2
    assert gone.stderr == f"{tmp_path}/gone.json: can't be read: No such file or directory\n"
