"""Datadog's rules: what its own client and documentation say of them, Terraform's arguments, the signal's message."""

from __future__ import annotations

import inspect
import json
import re
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from datadog_api_client.configuration import Configuration
from datadog_api_client.exceptions import OpenApiException
from datadog_api_client.model_utils import ModelComposed, ModelNormal, ModelSimple, validate_and_convert_types
from datadog_api_client.v2.model.security_monitoring_standard_rule_create_payload import (
    SecurityMonitoringStandardRuleCreatePayload,
)
from sigma.backends.keywatch.datadog.part import WINDOWS
from sigma.backends.keywatch.datadog.rule import IN_DATADOG

from engines import datadog
from events import DENIED, DENIED_DESCRIBE, DENIED_SESSION, denied
from hostile import try_rules
from keywatch.conversion.convert import Conversion
from keywatch.errors import UserError
from packs import attempted, converted, one_rule, written

#: The resource's arguments as the provider's schema has them: read off PyPI's pulumi-datadog 5.17.0, generated from it.
ARGUMENTS = json.loads(
    (Path(__file__).parent / "engines" / "terraform" / "datadog_security_monitoring_rule.json").read_text()
)


def payloads(conversion: Conversion) -> dict[str, dict[str, Any]]:
    return {name: payload for name, [payload] in datadog.payloads_of(conversion).items()}


def resources(conversion: Conversion) -> dict[str, Any]:
    parts = [part for parts in conversion.queries.values() for part in parts]
    document = json.loads(conversion.backend.finalize(parts, "terraform"))
    assert document["terraform"] == {"required_providers": {"datadog": {"source": "DataDog/datadog"}}}
    found: dict[str, Any] = document["resource"].pop("datadog_security_monitoring_rule")
    return found


def problems(payload: dict[str, Any]) -> list[str]:
    """Return what is wrong with a rule by the client's model, and by what the documentation adds to it."""
    found = list(_unlike_the_model(payload, SecurityMonitoringStandardRuleCreatePayload, "rule"))
    if not found:
        try:
            kinds = (SecurityMonitoringStandardRuleCreatePayload,)
            model = validate_and_convert_types(payload, kinds, ["rule"], True, True, Configuration())
            found += ["the client can't parse it"] if model._unparsed else []
        except OpenApiException as error:
            found.append(str(error).splitlines()[0])
    return found or list(_undocumented(payload))


def _unlike_the_model(value: Any, kind: Any, where: str) -> Any:
    """Go through a rule and the client's classes: the client itself does not say what it does not know."""
    if isinstance(kind, list):
        for number, item in enumerate(value):
            yield from _unlike_the_model(item, kind[0], f"{where}[{number}]")
    elif issubclass(kind, ModelNormal):
        names = {there: here for here, there in kind.attribute_map.items()}
        parameters = list(inspect.signature(kind.__init__).parameters.values())[1:]
        required = [p.name for p in parameters if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD]
        yield from (f"{where}.{key}: unknown" for key in value if key not in names)
        yield from (f"{where}.{name}: missing" for name in required if kind.attribute_map[name] not in value)
        for key, item in value.items():
            if key in names:
                yield from _unlike_the_model(item, kind.openapi_types[names[key]][0], f"{where}.{key}")
    elif issubclass(kind, ModelSimple):
        if isinstance(value, bool) or value not in kind.allowed_values:
            yield f"{where}: {value!r} is none of {sorted(kind.allowed_values)}"
    elif not issubclass(kind, ModelComposed) and type(value) is not kind:
        yield f"{where}: {value!r} is no {kind.__name__}"


def _undocumented(payload: dict[str, Any]) -> Any:
    """Datadog's page "Create a Real-Time Rule" says that the server checks these."""
    options = payload["options"]
    if not options["evaluationWindow"] <= options["keepAlive"] <= options["maxSignalDuration"]:
        yield "evaluationWindow <= keepAlive <= maxSignalDuration does not hold"
    if not 1 <= len(payload["cases"]) <= 10:
        yield "a rule has 1 to 10 cases"
    names = [query["name"] for query in payload["queries"]]
    for query in payload["queries"]:
        if not re.fullmatch(r"[a-z][a-z0-9_]*", query["name"]) or names.count(query["name"]) > 1:
            yield f"name {query['name']}"
        if (query["aggregation"] == "cardinality") != bool(query["distinctFields"]):
            yield "distinctFields goes with cardinality"
    names += [step["name"] for step in options.get("sequenceDetectionOptions", {}).get("steps", [])]
    for case in payload["cases"]:
        part = r"\(*([a-z][a-z0-9_]*) (?:>=|>) \d+\)*"
        condition = str(case.get("condition"))
        used = re.findall(part, condition)
        if not re.fullmatch(rf"{part}(?: (?:&&|\|\|) {part})*", condition) or not set(used) <= set(names):
            yield f"condition {case.get('condition')}"


def unlike_terraform(value: Any, schema: dict[str, Any], where: str) -> Any:
    """Go through a resource and the provider's arguments."""
    yield from (f"{where}.{key}: unknown" for key in value if key not in schema)
    yield from (f"{where}.{key}: missing" for key, entry in schema.items() if entry["required"] and key not in value)
    for key, item in value.items():
        entry, place = schema.get(key), f"{where}.{key}"
        if entry and "block" in entry:
            for number, block in enumerate(item if isinstance(item, list) else [item]):
                yield from unlike_terraform(block, entry["block"], f"{place}[{number}]")
        elif entry:
            for scalar in item if entry["list"] else [item]:
                if type(scalar).__name__ != entry["type"]:
                    yield f"{place}: {scalar!r} is no {entry['type']}"
                elif str(scalar) not in entry.get("values", [str(scalar)]):
                    yield f"{place}: {scalar!r} is none of {entry['values']}"
                elif isinstance(scalar, str) and re.search(r"(?<![$])\$(\$\$)*\{|(?<!%)%(%%)*\{", scalar):
                    yield f"{place}: a template that is not escaped"


PAYLOADS = payloads(converted("datadog"))


@pytest.mark.parametrize("name", PAYLOADS)
def test_datadogs_client_takes_it(name: str) -> None:
    assert problems(PAYLOADS[name]) == []


def wrong(path: list[Any], value: Any) -> dict[str, Any]:
    payload: dict[str, Any] = deepcopy(PAYLOADS["denied_enumeration_multi_region"])
    *outer, last = path
    inside: Any = payload
    for key in outer:
        inside = inside[key]
    if value is None:
        del inside[last]
    else:
        inside[last] = value
    return payload


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["isEnabld"], True),
        (["message"], None),
        (["name"], 7),
        (["options", "evaluationWindow"], 1234),
        (["options", "evaluation_window"], 1800),
        (["options", "keepAlive"], 60),
        (["queries", 0, "agregation"], "count"),
        (["queries", 0, "aggregation"], "counts"),
        (["queries", 0, "distinctFields"], []),
        (["cases", 0, "condition"], "z > 1"),
        (["cases", 0, "condition"], None),
        (["cases", 0, "status"], "urgent"),
    ],
)
def test_what_is_wrong_is_found(path: list[Any], value: Any) -> None:
    assert len(problems(wrong(path, value))) == 1


def test_one_rule_a_detection_with_a_case_for_each_kind_of_credential() -> None:
    cases = {name: [(case["status"], case["condition"]) for case in p["cases"]] for name, p in PAYLOADS.items()}
    assert cases == {
        "bedrock_api_key_user": [("high", "a > 0"), ("high", "b > 0")],
        "bedrock_invocation_logging": [("medium", "a > 0"), ("low", "b > 0")],
        "bedrock_invocation_many_regions_in_a_day": [("medium", "a >= 4")],
        "bedrock_invocation_multi_region": [("high", "a >= 3"), ("high", "b >= 2"), ("high", "c >= 3")],
        "bedrock_invocation_multi_region_role": [("medium", "a >= 3")],
        "bedrock_invocation_multi_region_session": [("medium", "a >= 3")],
        "bedrock_invocation_volume": [("medium", "a >= 500")],
        "bedrock_many_models": [("medium", "a >= 6")],
        "bedrock_model_access": [("medium", "a > 0"), ("medium", "b > 0"), ("low", "c > 0")],
        "bedrock_model_access_multi_region": [("high", "a >= 3"), ("medium", "b >= 3")],
        "bedrock_model_catalogue_multi_region": [("medium", "a >= 3")],
        "bedrock_provisioned_throughput": [("medium", "a > 0")],
        "correlation_aws_bedrock_catalogue_then_invocation_long_term_key": [("medium", "step_b > 0")],
        "correlation_aws_bedrock_catalogue_then_invocation_temporary_credentials": [("low", "step_b > 0")],
        "denied_enumeration_many_regions_in_a_day": [("low", "a >= 4")],
        "denied_enumeration_multi_region": [("medium", "a >= 5"), ("medium", "b >= 5"), ("medium", "c >= 5")],
        "key_checker": [("high", "a > 0")],
    }
    for query in PAYLOADS["denied_enumeration_multi_region"]["queries"]:
        assert (query["distinctFields"], query["groupByFields"]) == (["@awsRegion"], ["@userIdentity.arn"])


def with_timespans(folder: Path, **timespans: str) -> Path:
    path = folder / "settings.yaml"
    path.write_text("\n".join(["rules:", *(f"    {name}: {{timespan: {span}}}" for name, span in timespans.items())]))
    return path


def test_rules_of_a_detection_with_different_windows_are_rules_of_their_own(tmp_path: Path) -> None:
    apart = payloads(converted("datadog", settings=with_timespans(tmp_path, **{DENIED: "1h"})))
    assert len(apart) == len(PAYLOADS) + 1
    windows = [p["options"]["evaluationWindow"] for name, p in apart.items() if "denied_enumeration_multi" in name]
    assert windows == [1800, 3600]
    every = dict.fromkeys([DENIED, DENIED_DESCRIBE, DENIED_SESSION], "1h")
    together = payloads(converted("datadog", settings=with_timespans(tmp_path, **every)))
    assert list(together) == list(PAYLOADS)


def test_a_window_that_datadog_does_not_have(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        converted("datadog", settings=with_timespans(tmp_path, **{DENIED: "45m"}))
    assert str(error.value).endswith(f"choose from (seconds): {', '.join(map(str, WINDOWS[1:]))}")
    assert str(error.value).startswith("/")


def test_the_message_has_the_guide_in_datadogs_variables() -> None:
    message = PAYLOADS["bedrock_invocation_multi_region"]["message"]
    assert "Principal {{@userIdentity.arn}} ({{@userIdentity.type}})" in message
    assert "client {{@http.useragent}}" in message
    thresholds = "; ".join(f"{number} or more distinct awsRegion within 30m" for number in (3, 2, 3))
    assert f"Set here: {thresholds}." in message
    # Where the triage texts of Datadog's own rules lead.
    assert "Cloud SIEM - User Investigation shows what else {{@userIdentity.arn}} did" in message
    assert "Cloud SIEM - IP Investigation what else came from {{@network.client.ip}}" in message
    assert "suppression list" in message
    assert not any("@" in re.sub(r"\{\{@[\w.]+\}\}", "", payload["message"]) for payload in PAYLOADS.values())


def test_terraform_has_the_same_rules() -> None:
    found = resources(converted("datadog"))
    assert list(found) == list(PAYLOADS)
    for name, resource in found.items():
        assert list(unlike_terraform(resource, ARGUMENTS, name)) == []
        assert [block["query"] for block in resource["query"]] == [q["query"] for q in PAYLOADS[name]["queries"]]


@pytest.mark.parametrize("key", ["querys", "isEnabled", "message"])
def test_what_is_wrong_for_terraform_is_found(key: str) -> None:
    resource = deepcopy(resources(converted("datadog"))["bedrock_model_access"])
    resource[key] = "${x}"
    assert len(list(unlike_terraform(resource, ARGUMENTS, "x"))) == 1


def test_values_that_begin_like_an_operator(datadog_search: datadog.Datadog, tmp_path: Path) -> None:
    values = ["NOTIFY*", "ORACLE*", "ANDROID*", "aws*"]
    events = [denied(0, 0, userAgent=text) for text in ("NOTIFY/1", "ORACLE/1", "ANDROID/1", "aws/1", "other")]
    conversion = converted("datadog", rules=[written([one_rule({"userAgent": values})], tmp_path)])
    [found] = datadog_search.found(conversion, events).values()
    assert found == [event["eventID"] for event in events[:4]]


@pytest.mark.parametrize(("part", "refused"), [('"state":"Open"', True), ('"port":', True), ('"Open"', False)])
def test_a_key_and_its_value_in_the_text_of_an_object_are_refused(part: str, refused: bool, tmp_path: Path) -> None:
    """Datadog has each value by itself, so that such a text would never be found."""
    conversion = attempted("datadog", rules=[written([one_rule({"requestParameters|contains": part})], tmp_path)])
    assert ["match the path as a field" in str(problem) for problem in conversion.problems] == [True] * refused


def test_hostile_rules(tmp_path: Path) -> None:
    def is_taken(_: Any, conversion: Conversion) -> None:
        [payload] = payloads(conversion).values()
        assert problems(payload) == []
        message = payload["message"].replace(IN_DATADOG[1], "")  # the variables of which are ours
        texts = [payload["name"], message, *(case["name"] for case in payload["cases"])]
        assert not any(sign in text for text in texts for sign in ("{{", "}}", "@"))
        [resource] = resources(conversion).values()
        assert list(unlike_terraform(resource, ARGUMENTS, "x")) == []

    try_rules("datadog", ["rule"], tmp_path, is_taken, examples=60)
