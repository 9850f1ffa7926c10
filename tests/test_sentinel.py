"""Sentinel's rules: what Microsoft's parser and the formats' schemas say of them, and what an alert shows."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from sigma.backends.keywatch.sentinel import KeywatchSentinelBackend
from sigma.pipelines.keywatch._pack import PACK, guides

import oracle
from engines import sentinel
from events import ACCESS_LONG, DENIED, MALLORY, MINUTE, denied
from hostile import try_rules
from keywatch.conversion.convert import Conversion
from keywatch.conversion.rules import load_pack
from keywatch.conversion.settings import load_settings
from keywatch.conversion.targets import TARGETS
from keywatch.errors import UserError
from packs import attempted, converted, counting_names, one_rule, written

SCHEMA = json.loads((Path(__file__).parent / "engines" / "sentinel.schema.json").read_text())
UNSUPPORTED = sentinel.Sentinel.unsupported


def outputs(output_format: str, **choice: Any) -> dict[str, str]:
    """Return what each rule is written as."""
    return texts(converted("sentinel", output_format, without=UNSUPPORTED, **choice))


def texts(conversion: Conversion) -> dict[str, str]:
    finalize, output_format = conversion.backend.finalize, conversion.output_format
    return {name: finalize(queries, output_format) for name, queries in conversion.queries.items()}


def resources(arm: dict[str, str]) -> dict[str, dict[str, Any]]:
    """Return the one resource of each rule's template."""
    found = {}
    for name, text in arm.items():
        [found[name]] = json.loads(text)["resources"]
    return found


QUERIES, ARM = outputs("kql"), resources(outputs("arm"))
YAML = {name: yaml.load(text, yaml.CSafeLoader) for name, text in outputs("yaml").items()}


def problems(kind: str, rule: dict[str, Any], columns: dict[str, str]) -> list[str]:
    """Return what is wrong with a rule by its schema, and with what it says of its query's columns."""
    schema = SCHEMA | {"$ref": f"#/$defs/{kind}"}
    found = [f"{error.json_path}: {error.message}" for error in Draft202012Validator(schema).iter_errors(rule)]
    mapped = [field for entity in rule.get("entityMappings", ()) for field in entity.get("fieldMappings", ())]
    texts = json.dumps(rule.get("alertDetailsOverride", {}))
    named = [*(field["columnName"] for field in mapped), *re.findall(r"\{\{(.*?)\}\}", texts)]
    found += [f"no column {name}" for name in [*named, *rule["customDetails"].values()] if name not in columns]
    found += [f"{name} is no text" for name in named if columns.get(name) != "string"]
    grouping = rule["incidentConfiguration"]["groupingConfiguration"]
    return found + [
        f"no detail {name}" for name in grouping["groupByCustomDetails"] if name not in rule["customDetails"]
    ]


def with_bases(names: Iterable[str]) -> set[str]:
    """Return rules and those that only they count."""
    bases = {name: rule.get("correlation", {}).get("rules", ()) for name, rule in oracle.load(PACK).items()}
    named = set(names)
    others = {base for name, of_rule in bases.items() if name not in named for base in of_rule}
    return named | {base for name in named for base in bases[name]} - others


def test_what_sentinel_can_not_say_is_named() -> None:
    conversion = attempted("sentinel")
    assert {problem.path.stem for problem in conversion.problems if problem.path} == with_bases(UNSUPPORTED)
    assert {*guides()} == {*conversion.queries} | UNSUPPORTED
    said = " ".join(map(str, conversion.problems))
    assert "has nothing for field 'sessionCredentialFromConsole'" in said


def test_pysigma_collects_what_can_not_be_said() -> None:
    backend = KeywatchSentinelBackend(TARGETS["sentinel"].pipeline("kql", {}), collect_errors=True)
    text = backend.convert(load_pack([], [], load_settings(None)).collection, "kql")
    assert text.count("AWSCloudTrail\n") == len(QUERIES)
    assert {rule.name for rule, _ in backend.errors} == with_bases(UNSUPPORTED)


@pytest.mark.parametrize("name", QUERIES)
def test_rules_are_what_sentinel_takes(name: str, kusto: sentinel.Kusto) -> None:
    answer = kusto.ask(QUERIES[name])
    assert answer["problems"] == []
    for kind, rule in (("arm", ARM[name]["properties"]), ("yaml", YAML[name])):
        assert problems(kind, rule, answer["columns"]) == []
        assert rule["query"] == QUERIES[name].rstrip("\n")
    assert YAML[name]["id"] in ARM[name]["name"]
    assert ARM[name]["name"].startswith("[concat(parameters('workspace'), '/Microsoft.SecurityInsights/")


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("AWSCloudTrail | where EventNam == 'x'", "KS142"),
        ("AWSCloudTrail | where EventName =~ ReadOnly", "KS106"),
        ("AWSCloudTrail | where lowercase(EventName) == 'x'", "KS211"),
        ('AWSCloudTrail | where EventName == "\\q"', "KS001"),
        ("AWSCloudTrail; AWSCloudTrail", "not one query"),
    ],
)
def test_what_is_wrong_with_a_query_is_found(query: str, said: str, kusto: sentinel.Kusto) -> None:
    assert said in kusto.ask(query)["problems"][0]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["severty"], "High"),
        (["severity"], "Critical"),
        (["query"], ""),
        (["tactics"], ["Stealth"]),
        (["entityMappings", 0, "fieldMappings", 0, "identifier"], "Arn"),
        (["entityMappings", 0, "fieldMappings", 0, "columnName"], "SourceIpAddress"),
        (["customDetails", "Principal"], "Principals"),
        (["incidentConfiguration", "groupingConfiguration", "lookbackDuration"], "61m"),
        (["alertDetailsOverride", "alertDisplayNameFormat"], "{{UserName}}"),
    ],
)
def test_what_is_wrong_with_a_rule_is_found(path: list[Any], value: Any, kusto: sentinel.Kusto) -> None:
    columns = kusto.ask(QUERIES[DENIED])["columns"]
    for kind, rules in (("arm", {name: rule["properties"] for name, rule in ARM.items()}), ("yaml", YAML)):
        rule: dict[str, Any] = deepcopy(rules[DENIED])
        inside: Any = rule
        for key in path[:-1]:
            inside = inside[key]
        inside[path[-1]] = value
        assert problems(kind, rule, columns), kind


def test_a_run_looks_back_and_holds_alerts_together_as_the_schedule_says() -> None:
    rule = ARM[DENIED]["properties"]
    assert (rule["queryFrequency"], rule["queryPeriod"]) == ("PT15M", "PT60M")
    assert rule["incidentConfiguration"]["groupingConfiguration"]["lookbackDuration"] == "PT61M"
    assert (YAML[DENIED]["queryFrequency"], YAML[DENIED]["queryPeriod"]) == ("15m", "60m")


@pytest.mark.parametrize(("timespan", "interval"), [("15d", "1h"), ("2d", "15m")])
def test_what_sentinel_does_not_look_back_to(timespan: str, interval: str, tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text(f"schedule: {{interval: {interval}}}\nrules:\n    {DENIED}: {{timespan: {timespan}}}\n")
    with pytest.raises(UserError, match="Sentinel looks back 14 days at most"):
        outputs("yaml", settings=path)


def test_a_long_description_is_cut_and_costs_no_rule(tmp_path: Path) -> None:
    rule = one_rule({"eventName": "ListUsers"}, description="d" * 6_000)
    [text] = texts(converted("sentinel", "yaml", rules=[written([rule], tmp_path)])).values()
    assert yaml.safe_load(text)["description"] == "d" * 4_999 + "…"


def test_an_alert_row_has_its_entities(kusto: sentinel.Kusto) -> None:
    [row] = sentinel.Sentinel(kusto).rows(QUERIES[DENIED], [denied(MINUTE * i, i) for i in range(6)])
    assert row["Principal"] == MALLORY
    assert row["IPAddress"] == "198.51.100.7"
    assert row["TimeGenerated"] == row["last_seen"] == "2026-11-20T10:05:00.000Z"


@pytest.mark.parametrize("fields", [[], ["awsRegion", "requestParameters.modelId"]])
def test_a_rule_that_shows_little_has_its_entities_too(
    fields: list[str], kusto: sentinel.Kusto, tmp_path: Path
) -> None:
    rule = one_rule({"eventName|startswith": "List"}, fields=fields)
    [resource] = resources(outputs("arm", rules=[written([rule], tmp_path)])).values()
    query = resource["properties"]["query"]
    answer = kusto.ask(query)
    assert answer["problems"] == []
    assert problems("arm", resource["properties"], answer["columns"]) == []
    rows = sentinel.Sentinel(kusto).rows(query, [denied(0, 0), denied(0, 0, arn=None)])
    assert [row["Principal"] for row in rows] == [MALLORY, rows[1]["AwsEventId"]]


def test_a_correlation_of_another_group_and_count(kusto: sentinel.Kusto, tmp_path: Path) -> None:
    documents = counting_names(["recipientAccountId", "sourceIPAddress"], "90s")
    [resource] = resources(outputs("arm", rules=[written(documents, tmp_path)])).values()
    query = resource["properties"]["query"]
    assert problems("arm", resource["properties"], kusto.ask(query)["columns"]) == []
    events = [denied(second, 0, name=name) for second, name in ((0, "ListA"), (90, "ListB"), (300, "ListC"))]
    [row] = sentinel.Sentinel(kusto).rows(query, events)
    assert (row["Principal"], row["EventName"]) == ("111122223333 198.51.100.7", ["ListA", "ListB", "ListC"])
    assert row["value_count"] == 2


def test_the_repositorys_form_says_what_arms_does() -> None:
    for name, rule in YAML.items():
        arm = ARM[name]["properties"]
        same = set(rule) & set(arm) - {"queryFrequency", "queryPeriod", "triggerOperator"}
        assert {key: rule[key] for key in same} == {key: arm[key] for key in same}
        assert (rule["name"], rule["relevantTechniques"]) == (arm["displayName"], arm["techniques"])
    assert YAML[ACCESS_LONG]["tactics"] == ["InitialAccess", "Persistence", "PrivilegeEscalation", "DefenseEvasion"]


def test_hostile_rules(kusto: sentinel.Kusto, tmp_path: Path) -> None:
    def is_taken(_: Any, arm: Conversion, repository: Conversion) -> None:
        [resource] = resources(texts(arm)).values()
        [text] = texts(repository).values()
        answer = kusto.ask(resource["properties"]["query"])
        assert answer["problems"] == []
        assert problems("arm", resource["properties"], answer["columns"]) == []
        assert problems("yaml", yaml.safe_load(text), answer["columns"]) == []
        for value in (resource["properties"]["displayName"], resource["properties"]["description"]):
            assert not (value.startswith("[") and value.endswith("]")) or value.startswith("[[")

    try_rules("sentinel", ["arm", "yaml"], tmp_path, is_taken, examples=60)
