"""What only describes a rule stops none, whatever is written there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from keywatch.conversion.targets import TARGETS
from packs import attempted, keywatch, one_rule, written

#: Key → what Sigma does not allow there.
WRONG: list[tuple[str, Any]] = [
    ("author", ["Ann", "Bob"]),
    ("date", "24-1-1"),
    ("description", 7),
    ("falsepositives", [None, {"Rare": "admins"}]),
    ("fields", [7, None]),
    ("id", "not-a-uuid"),
    ("id", 7),
    ("level", "urgent"),
    ("license", ["MIT"]),
    ("modified", "2026-02-31"),
    ("references", [{"url": "x"}]),
    ("related", [{"id": "x", "type": "derived"}]),
    ("scope", 7),
    ("status", "in production"),
    ("tags", ["cloud"]),
    ("taxonomy", 7),
]


@pytest.mark.parametrize(("key", "value"), WRONG)
def test_a_rule_is_converted_without_what_is_wrong_in_its_head(key: str, value: Any, tmp_path: Path) -> None:
    rules = written([one_rule({"eventName": "Call"}, **{key: value})], tmp_path)
    result = keywatch("convert", "duckdb", "--rules", rules, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    [line] = [line for line in result.stderr.splitlines() if line.startswith("warning: ") and "evidence" not in line]
    assert line.startswith(f"warning: {rules}:1: rule 'One' is converted without what is wrong under '{key}': ")
    assert "'call'" in (tmp_path / "out" / "rules.sql").read_text()


@pytest.mark.parametrize("target", TARGETS)
def test_all_of_it_is_wrong_at_once(target: str, tmp_path: Path) -> None:
    rules = written([one_rule({"eventName": "Call"}, **dict(WRONG))], tmp_path)
    for output_format in TARGETS[target].formats:
        result = keywatch("convert", target, "--format", output_format, "--rules", rules, "--out", tmp_path / "out")
        assert result.exit_code == 0, result.output


@pytest.mark.filterwarnings("ignore")
def test_what_is_right_beside_it_stays(tmp_path: Path) -> None:
    head = {"tags": ["cloud", "attack.t1078"], "references": "https://example.org", "level": "high", "status": "new"}
    [rule] = attempted("duckdb", rules=[written([one_rule({"eventName": "Call"}, **head)], tmp_path)]).rules.values()
    assert [str(tag) for tag in rule.tags] == ["attack.t1078"]
    assert rule.references == ["https://example.org"]
    assert str(rule.level) == "high"


@pytest.mark.filterwarnings("ignore")
def test_a_rule_is_still_known_by_an_id_that_is_none(tmp_path: Path) -> None:
    base = one_rule({"eventName": "Call"}, id="base-1", status="new")
    del base["name"]
    counted = {"type": "event_count", "rules": ["base-1"], "group-by": ["userIdentity.arn"], "timespan": "5m"}
    several = {"title": "Many", "id": "many-1", "correlation": counted | {"condition": {"gte": 3}}}
    conversion = attempted("duckdb", rules=[written([base, several], tmp_path)])
    assert not conversion.problems
    assert [rule.title for rule in conversion.rules.values()] == ["Many"]


@pytest.mark.filterwarnings("ignore")
def test_documents_with_an_action_are_parsed_once(tmp_path: Path) -> None:
    rule = one_rule({"eventName": "One"}, title="Both", status="new")
    common = {key: rule[key] for key in ("title", "status", "logsource")} | {"action": "global"}
    first, second = ({"detection": {"a": {"eventName": name}, "condition": "a"}} for name in ("One", "Two"))
    conversion = attempted("duckdb", rules=[written([common, first, second], tmp_path)])
    assert not conversion.problems
    assert [("'one'" in query, "'two'" in query) for [query] in conversion.queries.values()] == [
        (True, False),
        (False, True),
    ]


@pytest.mark.parametrize(("condition", "refused"), [("a", False), ("a | count() by awsRegion > 5", True)])
def test_the_old_timeframe_alone_stops_no_rule(condition: str, refused: bool, tmp_path: Path) -> None:
    rule = one_rule({"eventName": "Call"})
    rule["detection"] |= {"timeframe": "5m", "condition": condition}
    problems = attempted("duckdb", rules=[written([rule], tmp_path)]).problems
    assert [("pipe syntax" in str(problem)) for problem in problems] == [True] * refused


def test_a_day_that_there_is_not_is_only_a_date(tmp_path: Path) -> None:
    rules = written([one_rule({"eventName": "Call"})], tmp_path)
    rules.write_text(rules.read_text(encoding="utf-8") + "date: 2026-13-45\n", encoding="utf-8")
    with pytest.warns(UserWarning, match="under 'date'"):
        assert not attempted("duckdb", rules=[rules]).problems


@pytest.mark.filterwarnings("ignore")
def test_rules_of_one_id_get_ids_of_their_own(tmp_path: Path) -> None:
    own = "5f0e4f0e-9c6b-4c0e-8f4e-0d4f5f6a7b8c"
    rules = [one_rule({"eventName": name}, name=name, id=own, title="Same") for name in ("One", "Two", "Three")]
    conversion = attempted("duckdb", rules=[written(rules, tmp_path)])
    ids = [str(rule.id) for rule in conversion.rules.values()]
    assert ids[0] == own
    assert len(set(ids)) == 3
    assert [str(problem).rsplit(" the rule in ", 1)[0].split(": ")[-1] for problem in conversion.problems] == [
        f"'{own}' is the id or name of"
    ] * 2


@pytest.mark.parametrize("nested", [{"policy": {"effect": "Allow"}}, [{"days": 1}], [["a"], "b"]])
def test_a_value_that_holds_others_is_refused_with_what_to_write(nested: Any, tmp_path: Path) -> None:
    rules = written([one_rule({"requestParameters": nested})], tmp_path)
    [problem] = attempted("duckdb", rules=[rules]).problems
    assert "field 'requestParameters': a value can't hold others; write the path to each as a field" in str(problem)


def test_the_case_of_a_log_source_is_ignored(tmp_path: Path) -> None:
    rule = one_rule({"eventName": "Call"}, logsource={"product": "AWS", "service": "CloudTrail"})
    assert not attempted("duckdb", rules=[written([rule], tmp_path)]).problems


@pytest.mark.parametrize(
    ("detection", "why"),
    [
        ({"a": {"eventName": "x"}, "condition": None}, "a condition must be a text"),
        ({"a": {"eventName": "x"}, "condition": ["a", 1]}, "a condition must be a text"),
        ({"a": {"eventName": "x"}, "condition": "a and 1 of b_*"}, "that are not there, so none meets it"),
        ({"a": {"eventName": "x"}, "condition": "all of b_*"}, "that are not there, so none meets it"),
        ({"a": {"eventName": "x"}, "condition": "a or not 1 of b_*"}, "that are not there, so every event meets it"),
        ({"a": {5: "x"}, "condition": "a"}, "field '5': the name of a field must be a text"),
        ({"a": {"eventname": "x"}, "condition": "a"}, "field 'eventname' is not known to .*did you mean 'eventName'"),
    ],
)
def test_a_refusal_says_what_is_wrong(detection: dict[str, Any], why: str, tmp_path: Path) -> None:
    rules = written([one_rule({}) | {"detection": detection}], tmp_path)
    [problem] = attempted("athena", rules=[rules]).problems
    assert re.search(why, str(problem))


def test_operators_may_be_in_capitals(tmp_path: Path) -> None:
    selections = {"a": {"eventName": "x"}, "b": {"awsRegion": "y"}, "NOT": {"eventSource": "z"}}
    written_so = ["a AND not b", "a OR b", "NOT and a"]
    found = []
    for conditions in (written_so, ["a and not b", "a or b", "NOT and a"]):
        rules = [
            one_rule({}) | {"title": condition, "name": None, "detection": selections | {"condition": condition}}
            for condition in conditions
        ]
        conversion = attempted("duckdb", rules=[written(rules, tmp_path)])
        assert not conversion.problems
        found.append(list(conversion.queries.values()))
    assert found[0] == found[1]


@pytest.mark.parametrize("condition", ["a and not 1 of filter_*", "a or 1 of b_*", "a and not all of filter_*"])
@pytest.mark.parametrize("target", TARGETS)
def test_what_asks_for_no_detection_is_left_out(target: str, condition: str, tmp_path: Path) -> None:
    rule = one_rule({"eventName": "x"})
    made = []
    for written_so in ("a", condition):
        rule["detection"]["condition"] = written_so
        conversion = attempted(target, rules=[written([rule], tmp_path)])
        assert not conversion.problems
        made.append(conversion.backend.artefacts(conversion.queries, conversion.output_format))
    assert made[0] == made[1]
