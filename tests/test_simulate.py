"""What `keywatch simulate` writes: files as AWS delivers them, everyday calls, and attacks that a hunt finds."""

from __future__ import annotations

import gzip
import json
import re
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from math import ceil
from pathlib import Path
from typing import Any

import pytest
from sigma.pipelines.keywatch._pack import read_yaml

from events import HOUR
from keywatch.hunting import simulate as module
from keywatch.hunting.simulate import START, Planted, simulate
from packs import keywatch

Event = dict[str, Any]
SCRIPT = read_yaml(Path(module.__file__).with_suffix(".yml"))
_PATH = re.compile(
    r"AWSLogs/(\d{12})/CloudTrail/([\w-]+)/(\d{4})/(\d\d)/(\d\d)/\1_CloudTrail_\2_(\3\4\5T\d{4}Z)_\w+\.json\.gz"
)


def records(path: Path) -> list[Event]:
    found: list[Event] = json.loads(gzip.decompress(path.read_bytes()))["Records"]
    return found


def time_of(event: Event) -> datetime:
    return datetime.fromisoformat(event["eventTime"])


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("days", [1, 8])
def test_files_are_as_aws_delivers_them(days: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_IN_FILE", 4)
    files = [path for path, _ in simulate(tmp_path, 2000, days, 3)]
    assert sorted(files) == sorted(path for path in tmp_path.rglob("*") if path.is_file())
    everyday, identifiers, sizes = 0, [], set()
    for path in files:
        parts = _PATH.fullmatch(path.relative_to(tmp_path).as_posix())
        assert parts
        account, region, *_, delivered = parts.groups()
        begin = datetime.strptime(delivered, "%Y%m%dT%H%MZ").replace(tzinfo=UTC)
        events = records(path)
        for event in events:
            assert (event["recipientAccountId"], event["awsRegion"]) == (account, region)
            assert begin <= time_of(event) < begin + timedelta(minutes=15)
            assert START <= time_of(event) < START + timedelta(days=days)
            identifiers.append(event["eventID"])
        if not path.name.endswith("_attack.json.gz"):
            everyday += len(events)
            sizes.add(len(events))
    assert everyday == 2000
    assert max(sizes) == 4
    assert len(set(identifiers)) == len(identifiers)
    assert all(re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-a[0-9a-f]{3}-[0-9a-f]{12}", i) for i in identifiers)


@pytest.mark.parametrize("days", [1, 7, 8, 20])
def test_each_attack_is_planted_once_a_week_across_an_hours_edge(days: int, tmp_path: Path) -> None:
    attacks: dict[tuple[str, str], list[Event]] = defaultdict(list)
    planted: list[Planted] = []
    for path, begun in simulate(tmp_path, 1, days, 5):
        planted += begun
        if path.name.endswith("_attack.json.gz"):
            for event in records(path):
                attacks[event["userIdentity"]["arn"], event["eventName"]].append(event)
    weeks = ceil(days / 7)
    for attack in SCRIPT["attacks"]:
        begun_in = [(plant.start - START).days // 7 for plant in planted if plant.name == attack["name"]]
        assert sorted(begun_in) == list(range(weeks))
    assert len(planted) == weeks * len(SCRIPT["attacks"])
    found = {(plant.principal, plant.name): 0 for plant in planted}
    assert found.keys() == attacks.keys()
    for plant in planted:
        [attack] = [attack for attack in SCRIPT["attacks"] if attack["name"] == plant.name]
        first = found[plant.principal, plant.name]
        found[plant.principal, plant.name] += plant.regions
        events = sorted(attacks[plant.principal, plant.name], key=time_of)[first : first + plant.regions]
        assert plant.regions == attack["regions"] == len({event["awsRegion"] for event in events})
        assert time_of(events[0]) == plant.start
        assert (time_of(events[-1]) - plant.start).total_seconds() == attack["seconds"]
        if attack["seconds"] < HOUR:
            assert (plant.start.hour + 1) % 24 == time_of(events[-1]).hour
        assert {event["eventSource"] for event in events} == {attack["source"]}
        assert {event.get("errorCode") for event in events} == {attack.get("error")}
        assert {event["userIdentity"].get("accessKeyId", "")[:4] for event in events} == {attack.get("key", "")}
    assert found == {who: len(events) for who, events in attacks.items()}


def test_everyday_calls_are_those_of_the_script_and_mostly_where_it_works(tmp_path: Path) -> None:
    events = [
        event for path, _ in simulate(tmp_path, 3000, 1, 1) for event in records(path) if "attack" not in path.name
    ]
    calls = {(call["source"], call["name"]): call for call in SCRIPT["calls"]}
    seen: dict[tuple[str, str], int] = defaultdict(int)
    regions: dict[str, int] = defaultdict(int)
    for event in events:
        call = calls[event["eventSource"], event["eventName"]]
        seen[event["eventSource"], event["eventName"]] += 1
        regions[event["awsRegion"]] += 1
        assert event.get("errorCode") == call.get("error")
        assert ("errorMessage" in event) == ("error" in call)
        assert event["readOnly"] is not call.get("write", False)
        assert event.get("sessionCredentialFromConsole") == ("true" if call.get("console") else None)
        assert event["userAgent"] in SCRIPT["agents"]
        assert event["requestParameters"] == call["request"]
        who = event["userIdentity"]
        assert who["accessKeyId"].startswith("AKIA" if who["type"] == "IAMUser" else "ASIA")
        if call.get("console"):
            assert who["sessionContext"]["attributes"]["mfaAuthenticated"] == "true"
        assert who["arn"].endswith((f"-{event['awsRegion']}", "-all"))
    # Within five standard deviations of what the weights say.
    shares: list[tuple[dict[Any, int], dict[Any, int]]] = [
        (seen, {key: call["weight"] for key, call in calls.items()}),
        (regions, SCRIPT["regions"]),
    ]
    for counts, weights in shares:
        for key, weight in weights.items():
            share = weight / sum(weights.values())
            assert abs(counts[key] - 3000 * share) <= 5 * (3000 * share * (1 - share)) ** 0.5 + 1


def test_the_same_seed_writes_the_same_bytes(tmp_path: Path) -> None:
    for name, seed in (("a", 7), ("b", 7), ("c", 8)):
        assert list(simulate(tmp_path / name, 300, 2, seed))
    assert contents(tmp_path / "a") == contents(tmp_path / "b") != contents(tmp_path / "c")


def test_simulated_attacks_are_found_and_nothing_else(tmp_path: Path) -> None:
    done = keywatch("simulate", tmp_path, "--events", "3000", "--days", "8", "--seed", "7")
    assert done.exit_code == 0
    lines = [re.fullmatch(r"(\S+Z) (\S+): (\w+), (\d+) Regions", line) for line in done.stdout.splitlines()]
    planted = [line.groups() for line in lines if line]
    assert len(planted) == len(lines) == 24
    assert done.stderr == f"3000 everyday calls in {len(contents(tmp_path))} files.\n"
    hunted = keywatch("hunt", tmp_path, "--format", "ndjson")
    alerts = [json.loads(line) for line in hunted.stdout.splitlines()]
    # An attack can be found by two rules, such as within half an hour and within a day.
    found = {
        (alert["first_seen"], alert["group"].get("userIdentity.arn") or who, str(alert["count"]))
        for alert in alerts
        if "eventID" not in alert["group"]
        for who in alert["evidence"].get("userIdentity.arn", [""])
    }
    assert found == {(start, who, regions) for start, who, _, regions in planted}


def test_a_folder_that_can_not_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = keywatch("simulate", tmp_path / "file" / "trail", "--events", "1")
    assert done.exit_code == 2
    assert re.fullmatch(rf"{tmp_path}/file/\S+: can't be written: Not a directory\n", done.stderr)


@pytest.mark.parametrize("name", ["mine.txt", ".hidden"])
def test_a_folder_that_holds_something_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("mine")
    done = keywatch("simulate", tmp_path, "--events", "1")
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr == f"{tmp_path}: is not an empty folder; name one that is, or a new one\n"
    assert [path.name for path in tmp_path.iterdir()] == [name]
    (tmp_path / name).unlink()
    assert keywatch("simulate", tmp_path, "--events", "1").exit_code == 0
    file = tmp_path / "file"
    file.write_text("")
    assert "is not an empty folder" in keywatch("simulate", file).stderr
