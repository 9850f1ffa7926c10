"""What a rule is tagged with, by the names that a SIEM knows, whatever ATT&CK a tag is of; and no tag stops a rule."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sigma.backends.keywatch import _attack
from sigma.backends.keywatch._attack import KNOWN, Attack, attack_of
from sigma.backends.keywatch.elasticsearch.kibana import threat
from sigma.rule import SigmaRule, SigmaRuleTag
from test_convert import keywatch, rule

TABLES = {
    version: json.loads(Path(_attack.__file__).with_name(f"attack_{version}.json").read_text()) for version in (18, 19)
}
#: Deprecated, without a successor: no part of the numbers that MITRE publishes for a version.
DEPRECATED = {
    "T1026", "T1034", "T1043", "T1051", "T1053.004", "T1061", "T1062", "T1064", "T1108", "T1149", "T1153", "T1175",
}  # fmt: skip
#: What ATT&CK 19 renumbered: its list of revoked techniques, 18.1 → 19.0.
RENUMBERED = {
    "T1070.001": "T1685.005", "T1070.002": "T1685.006", "T1562": "T1685", "T1562.001": "T1685",
    "T1562.002": "T1685.001", "T1562.003": "T1690", "T1562.004": "T1686", "T1562.006": "T1685",
    "T1562.007": "T1686.001", "T1562.008": "T1685.002", "T1562.009": "T1688", "T1562.010": "T1689",
    "T1562.011": "T1685.003", "T1562.012": "T1685.004", "T1562.013": "T1686.002", "T1656": "T1684.001",
    "T1672": "T1684.002",
}  # fmt: skip
#: What ATT&CK 19 added, and 18 has nothing for.
ADDED = {"T1027.018", "T1682", "T1683", "T1683.001", "T1683.002", "T1684", "T1686.003", "T1687"}
#: AttackTactic in the API of Microsoft.SecurityInsights, as far as it is Enterprise ATT&CK's.
SENTINEL = {
    "Collection", "CommandAndControl", "CredentialAccess", "DefenseEvasion", "Discovery", "Execution", "Exfiltration",
    "Impact", "InitialAccess", "LateralMovement", "Persistence", "PrivilegeEscalation", "Reconnaissance",
    "ResourceDevelopment",
}  # fmt: skip
TECHNIQUES = sorted({tag for table in TABLES.values() for key in ("techniques", "revoked") for tag in table[key]})
TACTICS = sorted({tag for table in TABLES.values() for tag in table["tactics"]})
#: Target → the file of a rule.
FILES = {
    "splunk": "savedsearches.conf",
    "elasticsearch": "mine.ndjson",
    "opensearch": "mine.monitor.json",
    "sentinel": "mine.arm.json",
    "datadog": "mine.json",
}
DETECTION = """
    detection:
        selection: {eventName: AttachUserPolicy}
        condition: selection
"""


def tagged(*tags: str) -> SigmaRule:
    """Return a rule with these tags, in the namespace of ATT&CK."""
    made = SigmaRule.from_dict(
        {
            "title": "Mine",
            "logsource": {"product": "aws", "service": "cloudtrail"},
            "detection": {"selection": {"eventName": "x"}, "condition": "selection"},
        }
    )
    made.tags = [SigmaRuleTag("attack", tag) for tag in tags]
    return made


def named(siem: str, *tags: str) -> tuple[Attack, list[str]]:
    """Return what a rule with these tags is in a SIEM, and the warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        attack = attack_of(tagged(*tags), siem)
    return attack, [str(warning.message) for warning in caught]


def ids(items: Iterable[Any]) -> list[str]:
    return [item.id for item in items]


@pytest.mark.parametrize(
    ("version", "release", "tactics", "techniques", "parts"),
    [(18, "18.1", 14, 216, 475), (19, "19.2", 15, 222, 475)],  # the numbers of MITRE's release notes
)
def test_the_tables_are_whole(version: int, release: str, tactics: int, techniques: int, parts: int) -> None:
    table = TABLES[version]
    assert table["version"] == release
    assert table["notice"].startswith("© 202")
    assert len(table["tactics"]) == tactics
    now = set(table["techniques"]) - DEPRECATED
    assert len({tag for tag in now if "." not in tag}) == techniques
    assert len({tag for tag in now if "." in tag}) == parts
    for tag in now:
        entry = table["techniques"][tag]
        assert entry["name"]
        assert entry["tactics"]
        assert set(entry["tactics"]) <= set(table["tactics"])
        assert tag.partition(".")[0] in table["techniques"]
    assert not table["revoked"].keys() & table["techniques"].keys()
    assert set(table["revoked"].values()) <= now


def test_what_is_between_the_versions() -> None:
    assert {
        old: TABLES[19]["revoked"][old] for old in TABLES[18]["techniques"] if old in TABLES[19]["revoked"]
    } == RENUMBERED
    assert set(TABLES[19]["techniques"]) - set(TABLES[18]["techniques"]) - set(RENUMBERED.values()) == ADDED


@pytest.mark.parametrize("siem", KNOWN)
def test_every_tag_has_what_the_siem_knows(siem: str) -> None:
    table = TABLES[KNOWN[siem]]
    for tag in [
        *TECHNIQUES,
        *TACTICS,
        *(tactic["id"] for other in TABLES.values() for tactic in other["tactics"].values()),
    ]:
        attack, warned = named(siem, tag.lower())
        for tactic in attack.tactics:
            assert table["tactics"][tactic.tag] == {"id": tactic.id, "name": tactic.name}
        if tag not in TECHNIQUES:
            assert len(attack.tactics) == 1
            assert not warned
            continue
        [technique] = attack.techniques
        added = KNOWN[siem] == 18 and tag in ADDED
        assert (technique.id not in table["techniques"]) == added
        assert len(warned) == added
        entry = TABLES[19 if added else KNOWN[siem]]["techniques"][technique.id]
        assert technique.name == entry["name"]
        assert any(technique in attack.of(tactic) for tactic in attack.tactics) or technique.id in DEPRECATED


@pytest.mark.parametrize(
    ("siem", "tags", "tactics", "techniques"),
    [
        ("Kibana", ["t1562.001", "defense-evasion"], ["TA0005 Defense Evasion"], ["T1562.001 Disable or Modify Tools"]),
        ("Kibana", ["t1685", "defense-impairment"], ["TA0005 Defense Evasion"], ["T1562.001 Disable or Modify Tools"]),
        ("Splunk", ["t1562.001", "defense-evasion"], ["TA0112 Defense Impairment"], ["T1685 Disable or Modify Tools"]),
        ("Splunk", ["T1089"], ["TA0112 Defense Impairment"], ["T1685 Disable or Modify Tools"]),
        ("Kibana", ["T1089"], ["TA0005 Defense Evasion"], ["T1562.001 Disable or Modify Tools"]),
        # Two tags that are one thing are one.
        ("Kibana", ["stealth", "defense-impairment", "ta0005"], ["TA0005 Defense Evasion"], []),
        ("Splunk", ["t1562", "t1562.006", "t1685"], ["TA0112 Defense Impairment"], ["T1685 Disable or Modify Tools"]),
        # A tactic that was split is what the rule's techniques are; without any, what has kept its ID.
        ("Splunk", ["defense-evasion"], ["TA0005 Stealth"], []),
        ("Splunk", ["defense_evasion", "t1036"], ["TA0005 Stealth"], ["T1036 Masquerading"]),
        (
            "Splunk",
            ["defense-evasion", "t1036", "t1562.008"],
            ["TA0005 Stealth", "TA0112 Defense Impairment"],
            ["T1036 Masquerading", "T1685.002 Disable or Modify Cloud Log"],
        ),
        # A technique with none of the rule's tactics brings its own.
        (
            "Sentinel",
            ["discovery", "t1098.003"],
            ["TA0007 Discovery", "TA0003 Persistence", "TA0004 Privilege Escalation"],
            ["T1098.003 Additional Cloud Roles"],
        ),
        (
            "Datadog",
            ["initial_access", "command_and_control"],
            ["TA0001 Initial Access", "TA0011 Command and Control"],
            [],
        ),
        ("Datadog", [], [], []),
    ],
)
def test_names(siem: str, tags: list[str], tactics: list[str], techniques: list[str]) -> None:
    attack, warned = named(siem, *tags)
    assert [f"{one.id} {one.name}" for one in attack.tactics] == tactics
    assert [f"{one.id} {one.name}" for one in attack.techniques] == techniques
    assert not warned


@pytest.mark.parametrize("siem", KNOWN)
def test_what_no_attack_has_is_one_warning(siem: str) -> None:
    attack, warned = named(
        siem, "persistence", "t9999", "t99", "to-be-done", "t1526", "s0154", "g0007", "c0027", "m1032"
    )
    assert ids(attack.techniques) == ["T9999", "T1526"]
    assert ids(attack.tactics) == ["TA0003", "TA0007"]
    [warning] = warned
    assert all(f"'attack.{tag}'" in warning for tag in ("t9999", "t99", "to-be-done"))
    assert not any(tag in warning for tag in ("t1526", "persistence", "s0154", "g0007", "c0027", "m1032"))


def test_other_tags_say_nothing_and_read_nothing() -> None:
    _attack._table.cache_clear()
    mine = tagged("s0154", "g0007")
    mine.tags += map(SigmaRuleTag.from_str, ["cve.2021-44228", "tlp.red", "detection.threat-hunting", "stp.3k"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert all((attack_of(mine, siem).tactics, attack_of(mine, siem).techniques) == ((), ()) for siem in KNOWN)
    assert _attack._table.cache_info().currsize == 0
    named("Kibana", "defense-evasion", "t1562.001", "persistence", "t1098")
    assert _attack._table.cache_info().currsize == 1  # nothing but what the SIEM knows


@given(st.lists(st.one_of(st.text(), st.from_regex(r"(?i)(t[0-9]{4}(\.[0-9]{3})?|ta[0-9]{4})", fullmatch=True))))
def test_no_tag_stops_a_rule(names: list[str]) -> None:
    mine = tagged()
    mine.tags = [SigmaRuleTag("attack", name) for name in names]
    for siem in KNOWN:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            attack = attack_of(mine, siem)
        assert len(caught) <= 1
        assert not any(char in str(warning.message) for warning in caught for char in "\n\x1b\x85\u2028")
        assert len(set(ids(attack.techniques))) == len(attack.techniques)


def test_kibana_has_each_technique_under_a_tactic_and_a_technique() -> None:
    [tactic] = threat(attack_of(tagged("persistence", "t1098.003"), "Kibana"))
    reference = "https://attack.mitre.org/techniques/T1098"
    part = {"id": "T1098.003", "name": "Additional Cloud Roles", "reference": f"{reference}/003/"}
    assert tactic["technique"] == [
        {"id": "T1098", "name": "Account Manipulation", "reference": f"{reference}/", "subtechnique": [part]}
    ]
    with pytest.warns(UserWarning, match="'attack.t9999.001'"):
        [first, second] = threat(attack_of(tagged("impact", "discovery", "t9999.001"), "Kibana"))
    for tactic in (first, second):
        assert [(one["name"], ids_of(one["subtechnique"])) for one in tactic["technique"]] == [("T9999", ["T9999.001"])]


def ids_of(items: list[dict[str, Any]]) -> list[str]:
    return [item["id"] for item in items]


@pytest.mark.parametrize(
    "tags",
    ["[attack.defense-evasion]", "[attack.persistence, attack.t1098.003]", "[attack.s0154, cve.2021-44228]", "[]"],
)
@pytest.mark.parametrize("target", FILES)
def test_tags_convert_without_a_word(target: str, tags: str, tmp_path: Path) -> None:
    result = keywatch("convert", target, "--rules", rule(tmp_path, DETECTION, tags=tags), "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert "warning" not in result.output
    assert "ATT&CK: ." not in (tmp_path / "out" / FILES[target]).read_text(encoding="utf-8")


@pytest.mark.parametrize("target", FILES)
def test_all_tags_at_once(target: str, tmp_path: Path) -> None:
    """A rule with every tag that there is, and some that there are not, is in each SIEM with all of them."""
    every = [f"attack.{tag.lower()}" for tag in [*TACTICS, *TECHNIQUES, "t9999", "nonsense"]]
    path = rule(tmp_path, DETECTION, tags=f"[{', '.join(every)}]")
    result = keywatch("convert", target, "--rules", path, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    [warning] = [line for line in result.output.splitlines() if line.startswith("warning: ")]
    assert warning.startswith("warning: rule 'Mine': ATT&CK 1")
    text = (tmp_path / "out" / FILES[target]).read_text(encoding="utf-8")
    table = TABLES[18 if target in ("elasticsearch", "sentinel", "datadog") else 19]
    wanted = {tag.partition(".")[0] if target == "sentinel" else tag for tag in [*table["techniques"], "T9999"]}
    assert wanted - set(re.findall(r"T[0-9]{4}(?:\.[0-9]{3})?", text)) == set()
    if target == "sentinel":
        [found] = [item["properties"]["tactics"] for item in json.loads(text)["resources"]]
        assert set(found) == SENTINEL


def pattern(identifier: str, name: str, *phases: str, **more: Any) -> dict[str, Any]:
    return {
        "type": "attack-pattern",
        "id": f"attack-pattern--{identifier}",
        "name": name,
        "external_references": [
            {"source_name": "mitre-attack", "external_id": identifier, "url": "https://attack.mitre.org/"},
            {"source_name": "capec", "external_id": "CAPEC-1"},
        ],
        "kill_chain_phases": [{"kill_chain_name": "mitre-attack", "phase_name": phase} for phase in phases],
    } | more


def revoked(old: str, new: str, kind: str = "attack-pattern") -> dict[str, Any]:
    return {
        "type": "relationship",
        "relationship_type": "revoked-by",
        "source_ref": f"{kind}--{old}",
        "target_ref": f"{kind}--{new}",
    }


def tactic(identifier: str, name: str, tag: str, **more: Any) -> dict[str, Any]:
    references = [{"source_name": "mitre-attack", "external_id": identifier}]
    return {"type": "x-mitre-tactic", "name": name, "x_mitre_shortname": tag, "external_references": references} | more


BUNDLE: list[dict[str, Any]] = [
    {"type": "x-mitre-collection", "x_mitre_version": "42.1", "modified": "2031-04-01T00:00:00.000Z"},
    tactic("TA9002", "Old", "old", x_mitre_deprecated=True),
    tactic("TA9001", "Hide & Seek", "hide-and-seek"),
    tactic("TA9003", "Ändern", "change", revoked=False),
    pattern("T9002.001", "Part", "hide-and-seek"),
    pattern("T9002", "Whole", "hide-and-seek", "change", revoked=False),
    pattern("T9001", "Was", revoked=True),
    pattern("T9003", "Between", revoked=True),
    pattern("T9004", "Lost", revoked=True),
    pattern("T9005", "Given up", "change", x_mitre_deprecated=True),
    revoked("T9001", "T9003"),
    revoked("T9003", "T9002.001"),
    revoked("G1", "G2", "intrusion-set"),
    {"type": "relationship", "relationship_type": "uses", "source_ref": "a", "target_ref": "b"},
    {"type": "malware", "id": "malware--1", "name": "Not a technique"},
]
TABLE = """\
{
"version": "42.1",
"source": "%s",
"notice": "© 2031 The MITRE Corporation. This work is reproduced and distributed with the permission of The MITRE \
Corporation.",
"tactics": {
  "change": {"id": "TA9003", "name": "Ändern"},
  "hide-and-seek": {"id": "TA9001", "name": "Hide & Seek"}
},
"techniques": {
  "T9002": {"name": "Whole", "tactics": ["change", "hide-and-seek"]},
  "T9002.001": {"name": "Part", "tactics": ["hide-and-seek"]},
  "T9005": {"name": "Given up", "tactics": ["change"]}
},
"revoked": {
  "T9001": "T9002.001",
  "T9003": "T9002.001"
}
}
"""


def generated(bundle: Any, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run the command that writes a table."""
    path = folder / "enterprise-attack-42.1.json"
    path.write_text(json.dumps(bundle))
    command = [sys.executable, "tools/attack.py", str(path), "--out", str(folder), *options]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[1])


def test_the_table_of_a_bundle(tmp_path: Path) -> None:
    result = generated({"type": "bundle", "objects": BUNDLE}, tmp_path, "--source", "a test")
    assert result.stdout == f"{tmp_path / 'attack_42.json'}: 2 tactics, 3 techniques, 2 revoked\n", result.stderr
    assert (tmp_path / "attack_42.json").read_text(encoding="utf-8") == TABLE % "a test"


def test_the_source_of_a_table_is_its_file(tmp_path: Path) -> None:
    generated({"type": "bundle", "objects": BUNDLE}, tmp_path)
    source = json.loads((tmp_path / "attack_42.json").read_text(encoding="utf-8"))["source"]
    assert source.startswith("enterprise-attack-42.1.json, SHA-256 ")


@pytest.mark.parametrize(
    "bundle",
    [
        [],
        {"objects": []},
        {"objects": BUNDLE[1:]},
        {"objects": BUNDLE[:1]},
        {"objects": [*BUNDLE, revoked("T9002.001", "T9001")]},
        {"objects": [{"id": 1}]},
    ],
)
def test_what_is_no_bundle_of_attack(bundle: Any, tmp_path: Path) -> None:
    result = generated(bundle, tmp_path)
    assert result.returncode == 1
    [line] = result.stderr.splitlines()
    assert "enterprise-attack-42.1.json: no STIX bundle of Enterprise ATT&CK" in line
    assert not (tmp_path / "attack_42.json").exists()
