"""The rules keep SigmaHQ's conventions and say what is true of AWS today."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import zipfile
from gzip import decompress as gunzip
from importlib import resources
from pathlib import Path
from string import Formatter
from typing import Any

import pytest
import sigma.backends.keywatch
import yaml
from click.testing import CliRunner
from sigma.data import mitre_attack, mitre_d3fend
from sigma.pipelines.keywatch._pack import PACK, guides, read_yaml
from sigma.validators.sigmahq.data import data_filename, data_taxonomy, data_windows_eventid, data_windows_provider

import oracle
from conftest import absent
from events import Scenario, scenarios

RULES = oracle.load(PACK)
ACCESS_APIS = read_yaml(PACK / "bedrock_model_access_apis.yaml")
KINDS = ["long_term_key", "user_session", "temporary_credentials"]
KINDS_OF_INVOCATION = [
    "call_user_session",
    "invocation_api_key",
    "invocation_long_term_key",
    "invocation_temporary_credentials",
]
#: What a correlation may group by, so that a group is one who calls.
GROUPS = [
    ["userIdentity.arn"],
    ["userIdentity.accessKeyId"],
    ["userIdentity.sessionContext.sessionIssuer.arn", "sourceIPAddress"],
]
PATHS = sorted(PACK.rglob("*.yml"))
#: The questions that a triage guide must answer.
QUESTIONS = [
    "Who is it?",
    "From where?",
    "Which key?",
    "When was the key made?",
    "What else did this principal and this address do?",
    "What succeeded and what failed?",
    "Is it automation?",
    "What to do if it is an attack",
    "How to suppress a legitimate principal",
]


def test_folder_holds_yaml_only() -> None:
    assert {path.suffix for path in PACK.rglob("*") if path.is_file()} == {".yml", ".yaml"}


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_file(path: Path) -> None:
    [rule] = yaml.safe_load_all(path.read_text(encoding="utf-8"))
    assert rule["name"] == path.stem
    assert next(iter(rule)) == "title"
    assert "\n---" not in path.read_text(encoding="utf-8")
    assert rule["description"].startswith("Detects ")
    assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", rule["id"])
    if "correlation" in rule:
        assert path.parent == PACK / "rules-correlations/cloud/aws/cloudtrail"
        assert path.name.startswith("correlation_aws_")
        says = rule["correlation"]
        assert says["type"] in ("value_count", "event_count", "temporal_ordered")
        if says["type"] == "value_count":
            assert says["condition"]["field"] in ("awsRegion", "requestParameters.modelId")
        assert says.get("condition", {}).get("gte", len(says["rules"])) >= 2
        assert rule["correlation"]["group-by"] in GROUPS
    else:
        assert path.parent == PACK / "rules/cloud/aws/cloudtrail"
        assert path.name.startswith("aws_cloudtrail_")
        assert rule["logsource"] == {"product": "aws", "service": "cloudtrail"}


def test_ids_are_unique() -> None:
    ids = [rule["id"] for rule in RULES.values()]
    assert len(ids) == len(set(ids)) == len(PATHS)


def validators_data(folder: Path) -> None:
    """Give the validators what they would download: ATT&CK's names, in the shape of MITRE's, and nothing on Windows."""
    names = json.loads(resources.files(sigma.backends.keywatch).joinpath("attack_19.json").read_text(encoding="utf-8"))

    def reference(identifier: str) -> list[dict[str, str]]:
        return [{"source_name": "mitre-attack", "external_id": identifier}]

    objects: list[dict[str, Any]] = [
        {"type": "x-mitre-tactic", "x_mitre_shortname": tag, "external_references": reference(tactic["id"])}
        for tag, tactic in names["tactics"].items()
    ]
    objects += [
        {
            "type": "attack-pattern",
            "name": technique["name"],
            "external_references": reference(identifier),
            "kill_chain_phases": [{"kill_chain_name": "mitre-attack", "phase_name": t} for t in technique["tactics"]],
        }
        for identifier, technique in names["techniques"].items()
    ]
    for module, content in (
        (mitre_attack, {"objects": objects}),
        (mitre_d3fend, {"@graph": []}),
        (data_filename, {}),
        (data_taxonomy, {"taxonomy": {"aws": {"logsource": {"product": "aws", "service": "cloudtrail"}}}}),
        (data_windows_eventid, {}),
        (data_windows_provider, {}),
    ):
        path = folder / f"{module.__name__}.json"
        path.write_text(json.dumps(content))
        module.set_cache_dir(str(folder / module.__name__))
        module.set_url(str(path))


def test_sigma_check_with_sigmahq_validators(tmp_path: Path) -> None:
    from sigma.cli.check import check

    validators_data(tmp_path)
    config = tmp_path / "conf.yml"
    # The validators that SigmaHQ leaves out of its own check (tests/sigma_cli_conf.yml).
    left_out = [
        "tlptag", "tlpv1_tag", "sigmahq_fieldname_cast", "sigmahq_filename_prefix", "sigmahq_logsource_unknown",
        "sigmahq_ofselection_condition", "sigmahq_sysmon_missing_eventid",
    ]  # fmt: skip
    config.write_text(yaml.safe_dump({"validators": ["all", *(f"-{name}" for name in left_out)]}))
    arguments = ["--fail-on-error", "--fail-on-issues", "--validation-config", str(config), str(PACK)]
    result = CliRunner().invoke(check, arguments)
    assert result.exit_code == 0, result.output
    assert "Found 0 errors, 0 condition errors and 0 issues" in result.output


@pytest.fixture(scope="session")
def newest_operations(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Return the operations of all Bedrock services in the newest botocore of the package index."""
    folder = tmp_path_factory.mktemp("botocore")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "botocore"]
    done = subprocess.run([*command, "--dest", str(folder)], check=False, capture_output=True, text=True)
    if done.returncode:
        absent(f"no package index that has botocore: {done.stderr.strip().splitlines()[-1]}")
    [path] = folder.glob("botocore-*.whl")
    with zipfile.ZipFile(path) as wheel:
        models = [
            name for name in wheel.namelist() if re.match(r"botocore/data/bedrock[^/]*/.*/service-2\.json\.gz", name)
        ]
        found = {operation for name in models for operation in json.loads(gunzip(wheel.read(name)))["operations"]}
    assert "InvokeModel" in found
    return found


def test_model_access_apis_are_what_the_newest_botocore_says(newest_operations: set[str]) -> None:
    public = {name for name, api in ACCESS_APIS.items() if api["status"] == "public"}
    assert public == set(ACCESS_APIS) & newest_operations, "an API's status changed: correct the list, rules and guides"
    speaks_of_access = re.compile("Access|Entitle|Agreement|Enrol|UseCase")
    unknown = set(filter(speaks_of_access.search, newest_operations)) - set(ACCESS_APIS)
    assert not unknown, "new operations: decide in the list whether they are write, read or other"


def test_model_access_rules_have_the_calls_of_the_list() -> None:
    kinds = {
        kind: sorted(name for name, api in ACCESS_APIS.items() if api["kind"] in kind)
        for kind in ("write", "write read")
    }
    rules = {name: rule for name, rule in RULES.items() if name.startswith("aws_cloudtrail_bedrock_model_access_")}
    assert len(rules) == 5
    for name, rule in rules.items():
        assert (
            rule["detection"]["selection_call"]["eventName"] == kinds["write read" if "any_call" in name else "write"]
        )


def test_rules_of_invocations_have_the_same_calls() -> None:
    selections = ("selection_call_bedrock", "selection_call_inference", "filter_main_service_event")
    rules = [rule for name, rule in RULES.items() if "bedrock_invocation_" in name or "bedrock_call_" in name]
    invoking = [rule["detection"] for rule in rules if "InvokeModel" in str(rule.get("detection"))]
    assert len(invoking) == 6
    assert len({json.dumps([detection[name] for name in selections]) for detection in invoking}) == 1


@pytest.mark.parametrize("scenario", list(scenarios()), ids=lambda scenario: scenario.name)
def test_a_call_is_of_one_kind_of_credential(scenario: Scenario) -> None:
    """What one kind's rule counts, no other kind's counts: one call does not raise two alerts of one detection."""
    invocation = [f"aws_cloudtrail_bedrock_{kind}" for kind in KINDS_OF_INVOCATION]
    access = [f"aws_cloudtrail_bedrock_model_access_{kind}" for kind in KINDS]
    denied = ["aws_cloudtrail_denied_enumeration_long_term_key", "aws_cloudtrail_denied_enumeration_user_session"]
    for event in scenario.events:
        for rules in (invocation, access, denied):
            assert sum(oracle.matches(RULES[name], event) for name in rules) <= 1


def test_every_alert_has_a_guide_that_answers_every_question() -> None:
    bases = {base for rule in RULES.values() if "correlation" in rule for base in rule["correlation"]["rules"]}
    shown = {base for rule in RULES.values() for base in rule.get("correlation", {}).get("rules", ())
             if rule["correlation"].get("generate")}  # fmt: skip
    assert set(guides()) == set(RULES) - bases | shown
    for guide in guides().values():
        assert [question for question in QUESTIONS if question not in guide.steps] == []
        assert guide.threshold
        named = {name for text in guide.steps.values() for _, name, _, _ in Formatter().parse(text) if name}
        assert named <= set(guide.fields), "a guide can only show what is in the alert"
