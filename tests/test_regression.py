"""The samples that `keywatch upstream` writes match their rules, by definition; and `keywatch regression` tells.

That every sample of the export passes is tested by the examples of `keywatch regression --help`, in test_person.py.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import date
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml
from sigma.pipelines.keywatch._pack import PACK, read_yaml

import oracle
from keywatch.conversion.upstream import upstream
from packs import keywatch, one_rule

RULES = oracle.load(PACK)
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
SINGLE = "aws_cloudtrail_bedrock_model_access_any_call_long_term_key"
COUNT = "correlation_aws_bedrock_invocation_multi_region_long_term_key"


IDENTIFIER = "00000000-0000-4000-8000-000000000000"
EVENT = {
    "eventTime": "2026-11-20T10:00:00Z",
    "eventID": "f12a2c9b-0000-4000-8000-000000000000",
    "eventSource": "iam.amazonaws.com",
    "eventName": "ListUsers",
    "awsRegion": "us-east-1",
    "userIdentity": {"type": "IAMUser", "arn": "arn:aws:iam::111122223333:user/ci"},
}


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export")
    upstream(folder)
    return folder


def described(folder: Path, name: str) -> tuple[Path, dict[str, Any], list[dict[str, Any]]]:
    """Return a rule's file, its info.yml and its events, all found as SigmaHQ's convention says."""
    [rule] = folder.glob(f"rules*/**/{name}.yml")
    info = folder / yaml.safe_load(rule.read_text())["regression_tests_path"]
    content = yaml.safe_load(info.read_text())
    [test] = content["regression_tests_info"]
    text = (folder / test["path"]).read_text()
    return rule, content, [json.loads(text)] if test["type"] == "json" else [*map(json.loads, text.splitlines())]


@pytest.mark.parametrize("name", RULES)
def test_a_sample_is_what_the_convention_says_and_raises_its_rule(name: str, export: Path) -> None:
    rule, info, events = described(export, name)
    folder = f"regression_data/{rule.relative_to(export).with_suffix('').as_posix()}"
    own = RULES[name]
    assert info["rule_metadata"] == [{"id": own["id"], "title": own["title"]}]
    assert UUID.fullmatch(info["id"])
    assert info["id"] != own["id"]
    assert isinstance(info["date"], date)
    assert {"description", "author"} < set(info)
    [test] = info["regression_tests_info"]
    assert test.keys() == {"name", "type", "provider", "match_count", "path"}
    assert test["path"] == f"{folder}/{own['id']}.json"
    assert test["type"] == ("json" if len(events) == 1 else "ndjson")
    assert (export / test["path"]).read_text().endswith("}\n")
    assert len({event["eventID"] for event in events}) == len(events)
    if "detection" in own:
        assert test["match_count"] == len(events)
        assert all(oracle.matches(own, event) for event in events)
    else:
        assert test["match_count"] == len(oracle.crossings(own, RULES, events)) == 1


def test_a_rule_is_the_packs_with_a_line_at_its_end(export: Path) -> None:
    for path in PACK.rglob("*.yml"):
        written = (export / path.relative_to(PACK)).read_text(encoding="utf-8")
        own = path.read_text(encoding="utf-8")
        assert written.startswith(own)
        assert re.fullmatch(r"regression_tests_path: regression_data/\S+/info\.yml\n", written.removeprefix(own))


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def tell(rule: Path) -> tuple[int, str]:
    """Run the samples of a rule; the rules that it refers to lie in the export's folder."""
    folders = [rule] if rule.parts[-5] == "rules" else [rule, rule.parents[4] / "rules"]
    done = keywatch("regression", *folders)
    [line] = [line for line in done.stdout.splitlines() if str(rule) in line.split(": ")[0]]
    return done.exit_code, line


def test_a_sample_that_does_not_match_fails(tmp_path: Path) -> None:
    """Of five events, four are still found, and of three Regions two."""
    upstream(tmp_path)
    for path in (tmp_path / "rules").rglob("*.yml"):  # their samples are not of interest here
        if path.stem != SINGLE:
            edit(path, "\nregression_tests_path", "\n# regression_tests_path")
    for name, mutation, found, wanted in (
        (COUNT, ("us-west-1", "us-east-1"), 0, 1),
        (SINGLE, ("GetUseCaseForModelAccess", "GetUseCase"), 4, 5),
    ):
        rule, info, _ = described(tmp_path, name)
        assert tell(rule) == (0, f"passed  {rule}")
        [test] = info["regression_tests_info"]
        edit(tmp_path / test["path"], *mutation)
        status, line = tell(rule)
        assert status == 1
        assert line.startswith(f"failed  {rule}: ")
        assert f": {found} found, " in line
        assert line.endswith(f"info.yml wants {wanted}")


@pytest.mark.parametrize(
    ("file", "change", "outcome"),
    [
        (
            "info",
            ("type: json", "type: evtx"),
            "untried .*a sample of type 'evtx' is not read; json, ndjson, jsonl are",
        ),
        ("info", ("title: One", "title: Two"), "untried .*rule_metadata: title is 'Two', that of .* is 'One'"),
        ("info", ("match_count: 1", "match_count: 0"), "untried .*match_count: 0 is less than the minimum of 1"),
        ("info", ("regression_tests_info", "tests"), "untried .*'regression_tests_info' is a required property"),
        ("info", ("0.json", "1.json"), "untried .*'one/00000000-0000-4000-8000-000000000001.json' is not there"),
        ("info", (f"path: one/{IDENTIFIER}", "path: one/other"), "failed .*called as its rule's id"),
        ("rule", ("one/info.yml", "two/info.yml"), "untried .*'two/info.yml' is not there"),
        ("rule", ("service: cloudtrail", "service: guardduty"), "untried .*it is for another log source"),
        ("rule", ("title: One", "title: [One"), "untried .*not YAML"),
        ("sample", ('"ListUsers"', "ListUsers"), "untried .*one/0"),
    ],
)
def test_what_can_not_be_tried_is_named(file: str, change: tuple[str, str], outcome: str, tmp_path: Path) -> None:
    rule = one_rule({"eventName": "ListUsers"}, id=IDENTIFIER) | {"regression_tests_path": "one/info.yml"}
    info = {
        "id": "00000000-0000-4000-8000-00000000000f",
        "description": "N/A",
        "date": date(2026, 11, 26),
        "author": "A",
        "rule_metadata": [{"id": IDENTIFIER, "title": "One"}],
        "regression_tests_info": [{"type": "json", "match_count": 1, "path": f"one/{IDENTIFIER}.json"}],
    }
    files = {
        "rule": (tmp_path / "rule.yml", yaml.safe_dump(rule)),
        "info": (tmp_path / "one" / "info.yml", yaml.safe_dump(info, sort_keys=False)),
        "sample": (tmp_path / "one" / f"{IDENTIFIER}.json", json.dumps(EVENT)),
    }
    (tmp_path / "one").mkdir()
    for path, text in files.values():
        path.write_text(text)
    (tmp_path / "one" / "other.json").write_text(json.dumps(EVENT))
    assert keywatch("regression", tmp_path / "rule.yml").exit_code == 0
    edit(files[file][0], *change)
    done = keywatch("regression", tmp_path / "rule.yml")
    assert done.exit_code == (1 if outcome.startswith("failed") else 2)
    assert re.match(outcome, done.stdout)


def related() -> Iterator[tuple[int, dict[str, Any]]]:
    for pull in read_yaml(PACK / "related.yaml"):
        yield from ((pull["pull"], theirs) for theirs in pull["rules"])


@pytest.mark.parametrize("theirs", [theirs for _, theirs in related()], ids=lambda theirs: theirs["id"][:8])
def test_what_is_said_of_rules_that_others_have_proposed(theirs: dict[str, Any]) -> None:
    """Over all combinations of the values that their rules and ours tell apart."""
    names = sorted({name for rule in (theirs, *RULES.values()) for name in _values(rule, "eventName")})
    events = [
        {"eventSource": source, "eventName": name, "userIdentity": {"type": kind, "accessKeyId": key}} | error | console
        for source, name, kind, key, error, console in product(
            ("bedrock.amazonaws.com", "iam.amazonaws.com"),
            names,
            ("IAMUser", "AssumedRole"),
            ("AKIAX", "ASIAX", "ACCAX"),
            ({}, {"errorCode": "ValidationException"}),
            ({}, {"sessionCredentialFromConsole": "true"}),
        )
    ]
    wanted = {number for number, event in enumerate(events) if oracle.matches(theirs, event)}
    assert wanted
    for name, rule in RULES.items():
        if "detection" in rule:
            found = {number for number in wanted if oracle.matches(rule, events[number])}
            relation = theirs["relations"].get(name, {"relation": "adds"})["relation"]
            assert (found == wanted) == (relation == "same"), name
            assert found or relation != "replaces", name


def _values(rule: dict[str, Any], field: str) -> set[str]:
    selections = [selection for selection in rule.get("detection", {}).values() if isinstance(selection, dict)]
    found = [selection.get(field, []) for selection in selections]
    return {one for values in found for one in (values if isinstance(values, list) else [values])}


def test_the_request_says_how_rules_relate_and_has_the_events_that_were_asked_for(tmp_path: Path) -> None:
    text = upstream(tmp_path)[-1].read_text(encoding="utf-8")
    events = [json.loads(block) for block in re.findall(r"```json\n(.*?)\n```", text, re.DOTALL)]
    for pull, theirs in related():
        assert f"**How this relates to #{pull}**" in text
        assert any(oracle.matches(theirs, event) for event in events)
        for name, ours in theirs["relations"].items():
            assert re.search(rf"^\| {RULES[name]['title']} \| \*\*.*{theirs['id'][:8]}", text, re.MULTILINE)
            assert ours["relation"] in ("same", "replaces", "adds")
    named = {name for pull, theirs in related() if pull == 5903 for name in _values(theirs, "eventName")}
    with_key = [event for event in events if event["userIdentity"].get("accessKeyId", "").startswith("AKIA")]
    assert named <= {event["eventName"] for event in with_key}
