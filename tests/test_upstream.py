"""What `keywatch upstream` writes is what SigmaHQ/sigma takes: our own equivalent of each of its checks.

docs/upstream.md has the commands that run SigmaHQ's own in a checkout.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from packaging.specifiers import SpecifierSet
from sigma.pipelines.keywatch._pack import PACK, read_yaml
from sigma.plugins import SigmaPluginCapability, SigmaPluginDirectory

import oracle
from keywatch.conversion import upstream as module
from keywatch.conversion.upstream import upstream
from keywatch.errors import UserError

RULES = oracle.load(PACK)

_TEXT = {"type": "string", "minLength": 2}
_DATE = {"type": "string", "pattern": r"^\d{4}-(0[1-9]|1[012])-(0[1-9]|[12]\d|3[01])$"}
_COMMON: dict[str, Any] = {
    "title": {"type": "string", "minLength": 14, "maxLength": 90},
    "id": {"type": "string", "format": "uuid"},
    "name": {"type": "string", "maxLength": 256},
    "status": {"const": "experimental"},
    "description": {"type": "string", "pattern": "^Detects "},
    "references": {
        "type": "array",
        "minItems": 1,
        "uniqueItems": True,
        "items": {"type": "string", "pattern": "^https://"},
    },
    "author": _TEXT,
    "date": _DATE,
    "modified": _DATE,
    "tags": {"type": "array", "minItems": 2, "uniqueItems": True, "items": {"pattern": r"^attack\.[a-z0-9.-]+$"}},
    "falsepositives": {"type": "array", "minItems": 1, "uniqueItems": True, "items": _TEXT},
    "level": {"enum": ["informational", "low", "medium", "high", "critical"]},
    "regression_tests_path": {"type": "string", "pattern": "^regression_data/.+/info.yml$"},
}
#: Written from sigma-specification 2.1.0 and from SigmaHQ's rule conventions.
RULE = {
    "type": "object",
    "additionalProperties": False,
    "required": [*(set(_COMMON) - {"modified", "name"}), "logsource", "detection"],
    "properties": _COMMON
    | {
        "logsource": {"const": {"product": "aws", "service": "cloudtrail"}},
        "detection": {
            "type": "object",
            "required": ["condition"],
            "properties": {"condition": _TEXT},
            "additionalProperties": {
                # SigmaHQ's test_rules.py wants no list of one value.
                "additionalProperties": {"not": {"type": "array", "maxItems": 1}}
            },
            "minProperties": 2,
        },
    },
}
CORRELATION = {
    "type": "object",
    "additionalProperties": False,
    "required": [*(set(_COMMON) - {"modified", "name"}), "correlation"],
    "properties": _COMMON
    | {
        "correlation": {
            "type": "object",
            "additionalProperties": False,
            "required": ["type", "rules", "group-by", "timespan"],
            "properties": {
                "type": {"enum": ["value_count", "event_count", "temporal_ordered"]},
                "rules": {"type": "array", "minItems": 1, "items": _TEXT},
                "group-by": {"type": "array", "minItems": 1, "items": _TEXT},
                "timespan": {"type": "string", "pattern": "^[1-9][0-9]*[smhdwMqy]$"},
                "condition": {
                    "type": "object",
                    "additionalProperties": False,
                    "required": ["gte"],
                    "properties": {"field": _TEXT, "gte": {"type": "integer", "minimum": 2}},
                },
                "generate": {"const": True},
            },
            # A chain needs no condition; a count of values needs its field.
            "if": {"properties": {"type": {"const": "temporal_ordered"}}},
            "else": {
                "required": ["condition"],
                "if": {"properties": {"type": {"const": "value_count"}}},
                "then": {"properties": {"condition": {"required": ["field"]}}},
            },
        }
    },
}


def test_what_is_written(tmp_path: Path) -> None:
    files = [path.relative_to(tmp_path).as_posix() for path in upstream(tmp_path)]
    assert len([name for name in files if not name.startswith("regression_data/")]) == len(RULES) + 1
    for name, rule in RULES.items():
        folder = "rules-correlations" if "correlation" in rule else "rules"
        assert f"{folder}/cloud/aws/cloudtrail/{name}.yml" in files
    for path in tmp_path.glob("rules*/**/*.yml"):
        [document] = yaml.safe_load_all(path.read_text(encoding="utf-8"))
        document |= {key: str(document[key]) for key in ("date", "modified") if key in document}
        schema = CORRELATION if "correlation" in document else RULE
        errors = [error.message for error in Draft202012Validator(schema).iter_errors(document)]
        assert not errors
        assert path.read_text(encoding="utf-8").isascii()  # SigmaHQ's test for trademark signs
        assert "ATT&CK" not in path.read_text(encoding="utf-8")
        assert not any("attack.mitre.org" in reference for reference in document["references"])
    yamllint = [str(Path(sys.executable).with_name("yamllint")), "--strict", "-c", str(PACK.parent / ".yamllint")]
    subprocess.run([*yamllint, str(tmp_path)], check=True)


def test_the_request_has_an_event_for_each_rule(tmp_path: Path) -> None:
    text = (upstream(tmp_path)[-1]).read_text(encoding="utf-8")
    for rule in RULES.values():
        assert f"new: {rule['title']}\n" in text
        if "detection" in rule:
            after = text.split(f"\n{rule['title']}:\n\n```json\n")[1]
            assert oracle.matches(rule, json.loads(after.split("\n```")[0]))


def test_the_request_keeps_sigmahqs_template(tmp_path: Path) -> None:
    """`PLEASE DO NOT DELETE ANY SECTION, COMMENT OR THE CONTENT OF THE TEMPLATE`, it says; read at 8eaafff1."""
    text = (upstream(tmp_path)[-1]).read_text(encoding="utf-8")
    assert re.findall("^### (.*)", text, re.MULTILINE) == [
        "Summary of the Pull Request",
        "Changelog",
        "Example Log Event",
        "Fixed Issues",
        "SigmaHQ Rule Creation Conventions",
    ]
    assert text.count("<!--") == text.count("-->") == 5
    assert text.startswith("<!--\nThanks for your contribution.")
    assert "** Don't remove this comment **" in text
    assert len(re.findall("^new: ", text.split("-->\n\nnew: ")[1], re.MULTILINE)) == len(RULES) - 1
    assert not re.search("{[{%#]", text)


#: sigma-filters-schema.json of the specification, branch main at ba9251a (2026-06-09), in words of our own.
FILTER = {
    "type": "object",
    "required": ["title", "logsource", "filter"],
    "properties": {
        "filter": {
            "type": "object",
            "required": ["rules", "selection", "condition"],
            "properties": {
                "rules": {"type": "array", "minItems": 1, "uniqueItems": True, "items": {"type": "string"}},
                "selection": {"type": ["array", "object"]},
                "condition": {"type": "string"},
            },
        }
    },
}


@pytest.mark.parametrize("path", sorted((PACK / "filters").glob("*.yaml")), ids=lambda path: path.stem)
def test_example_filters_are_as_the_specification_has_them(path: Path) -> None:
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert [error.message for error in Draft202012Validator(FILTER).iter_errors(document)] == []
    assert set(document["filter"]["rules"]) <= {name for name, rule in RULES.items() if "detection" in rule}


def test_the_example_to_copy_is_about_every_rule() -> None:
    document = read_yaml(PACK / "filters" / "known_automation.yaml")
    assert document["filter"]["rules"] == sorted(name for name, rule in RULES.items() if "detection" in rule)


def test_the_entry_for_the_plugin_directory_is_valid() -> None:
    """What check_plugin_directory.py of SigmaHQ/pySigma-plugin-directory does, and what its README asks for."""
    root = Path(__file__).parents[1]
    directory = SigmaPluginDirectory.from_dict(json.loads((root / "docs" / "plugin-directory.json").read_text()))
    [plugin] = directory.plugins.values()
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    assert plugin.package == project["name"]
    assert plugin.project_url == project["urls"]["Homepage"]
    assert plugin.report_issue_url == f"{project['urls']['Issues']}/new"
    assert len(plugin.description) <= 120
    assert plugin.capabilities == set(SigmaPluginCapability)  # tests/test_correlations.py has each of the types
    [needed] = [one for one in project["dependencies"] if one.startswith("pysigma>")]
    allowed = SpecifierSet(needed.removeprefix("pysigma"))
    assert all(plugin.pysigma_version.contains(one) == (one in allowed) for one in ("1.4.0", "1.5.0", "1.9.9", "2.0.1"))


def test_sigma_check_can_not_look_into_another_argument(tmp_path: Path) -> None:
    """sigma-cli loads each path by itself. Once this fails, docs/upstream.md can name both folders in one command."""
    base, correlation = tmp_path / "rules", tmp_path / "rules-correlations"
    for folder, text in ((base, _BASE), (correlation, _CORRELATION)):
        folder.mkdir()
        (folder / "one.yml").write_text(text)
    config = tmp_path / "config.yaml"
    config.write_text("validators: [dangling_detection]\n")  # the others download ATT&CK
    sigma = [
        str(Path(sys.executable).with_name("sigma")),
        "check",
        "--fail-on-error",
        "--validation-config",
        str(config),
    ]
    apart = subprocess.run([*sigma, str(base), str(correlation)], capture_output=True, text=True, check=False)
    assert apart.returncode != 0, "upstream has mended it"
    assert "Rule 'one' not found in rule collection" in apart.stdout + apart.stderr
    assert subprocess.run([*sigma, str(tmp_path)], capture_output=True, check=False).returncode == 0


_BASE = """title: One
name: one
id: 00000000-0000-4000-8000-000000000001
logsource: {product: aws, service: cloudtrail}
detection:
    selection: {eventName: ListFunctions}
    condition: selection
"""
_CORRELATION = """title: Many
id: 00000000-0000-4000-8000-000000000002
correlation:
    type: value_count
    rules: [one]
    group-by: [userIdentity.arn]
    timespan: 30m
    condition: {field: awsRegion, gte: 5}
"""


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("fields: [eventName]", "key 'fields' is not accepted by SigmaHQ"),
        ("id: 00000000-0000-4000-8000-000000000000", "keys are in another order than SigmaHQ's"),
    ],
)
def test_a_rule_that_upstream_would_refuse(
    line: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "rule.yml").write_text(f"level: low\n{line}\n")
    monkeypatch.setattr(module, "PACK", tmp_path)
    with pytest.raises(UserError, match=says):
        upstream(tmp_path / "out")
