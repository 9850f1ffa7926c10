"""ATT&CK's names of what a rule is tagged with: SIEMs want them in a rule, and Sigma's tags have only IDs.

Each SIEM knows one version of ATT&CK, and a rule may be tagged by another: what has been renamed or renumbered is
given as the SIEM knows it. A tag is decoration: none of them stops a rule. `make attack` writes the tables of names.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Container
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from sigma.backends.keywatch._correlation import Rule

#: SIEM → major version of the ATT&CK that it knows.
KNOWN = {
    # The tags of Datadog's own rules still say TA0005-defense-evasion (docs.datadoghq.com/security/default_rules).
    "Datadog": 18,
    # Kibana before 9.5 has 18.1 (elastic/kibana PRs 246770 and 278547); the rules here are for 8.19 and later.
    "Kibana": 18,
    # No list of its own: a text that people read.
    "OpenSearch": 19,
    # AttackTactic in the API of Microsoft.SecurityInsights has DefenseEvasion, and neither half of what it became.
    "Sentinel": 18,
    # ESCU and contentctl are mapped to 19 since April 2026 (splunk/contentctl PR 479).
    "Splunk": 19,
}
_VERSIONS = sorted(set(KNOWN.values()))
#: A tactic until ATT&CK 18 → those of 19 that share its techniques. The first has kept its ID.
_SPLIT = {"defense-evasion": ("stealth", "defense-impairment")}
_TECHNIQUE = re.compile(r"T[0-9]{4}(\.[0-9]{3})?")
#: IDs of software, groups, campaigns, mitigations and the like, for which no SIEM's rule has a place.
_OTHER = re.compile(r"(AN|C|DC|DET|DS|G|M|S)[0-9]{4}")


@dataclass(frozen=True)
class Tactic:
    """A tactic: its short name, as tags have it, ATT&CK's ID, and its name."""

    tag: str
    id: str
    name: str


@dataclass(frozen=True)
class Technique:
    """A technique or sub-technique: ATT&CK's ID, its name, and the short names of its tactics.

    One that no ATT&CK has is an ID alone: its name and its tactics are empty.
    """

    id: str
    name: str
    tactics: tuple[str, ...]

    @property
    def root(self) -> str:
        """The ID of the technique that this is, or is a part of."""
        return self.id.partition(".")[0]


@dataclass(frozen=True)
class Attack:
    """What a rule is tagged with, each once and in the order of the tags, in the names of one version of ATT&CK.

    A technique whose tactics the rule is not tagged with brings them, so that none is without a place.
    """

    version: int
    tactics: tuple[Tactic, ...]
    techniques: tuple[Technique, ...]

    def of(self, tactic: Tactic) -> list[Technique]:
        """Return the techniques of a tactic, and those whose tactics are not known."""
        return [one for one in self.techniques if tactic.tag in one.tactics or not one.tactics]

    def name(self, identifier: str) -> str:
        """Return the name of a technique; its ID where no ATT&CK has it."""
        entries = (_table(version)["techniques"].get(identifier) for version in _preferred(self.version))
        return next((entry["name"] for entry in entries if entry), identifier)


def attack_of(rule: Rule, siem: str) -> Attack:
    """Return what a rule is tagged with, as a SIEM knows it.

    Warns, once a rule, of tags that its ATT&CK has nothing for.

    :param siem: a key of `KNOWN`.
    """
    version = KNOWN[siem]
    names = [tag.name.upper() for tag in rule.tags if tag.namespace == "attack"]
    tags = [name for name in dict.fromkeys(names) if not _OTHER.fullmatch(name)]
    techniques = {tag: _technique(tag, version) for tag in tags if _TECHNIQUE.fullmatch(tag)}
    own = [tactic for technique in techniques.values() for tactic in technique.tactics]
    tactics = {tag: _tactics(tag, version, own) for tag in tags if tag not in techniques}
    shown = dict.fromkeys(name for found in tactics.values() for name in found)
    for technique in techniques.values():
        if shown.keys().isdisjoint(technique.tactics):
            shown |= dict.fromkeys(technique.tactics)
    unknown = [tag for tag, found in tactics.items() if not found]
    unknown += [tag for tag, one in techniques.items() if one.id not in _table(version)["techniques"]]
    if unknown:
        warnings.warn(
            f"rule {rule.title!r}: ATT&CK {_table(version)['version']}, whose names {siem} has, does not have "
            f"{', '.join(repr(f'attack.{tag.lower()}') for tag in unknown)}; passed on as far as it is known",
            stacklevel=2,
        )
    return Attack(
        version,
        tuple(Tactic(name, **_table(version)["tactics"][name]) for name in shown),
        tuple({technique.id: technique for technique in techniques.values()}.values()),
    )


@cache
def _technique(tag: str, version: int) -> Technique:
    """Return what a version of ATT&CK has for an ID of any version; else what another has; else the ID."""
    known = _table(version)["techniques"]
    for other in _preferred(version):
        table = _table(other)
        identifier = table["revoked"].get(tag, tag)
        entry = table["techniques"].get(identifier)
        if entry is None:
            continue
        if other != version:
            # What became this in a newer ATT&CK: of several, the one whose name it has kept.
            former = [old for old, new in table["revoked"].items() if new == identifier and old in known]
            identifier = min(former, key=lambda old: (known[old]["name"] != entry["name"], old), default=identifier)
            entry = known.get(identifier, entry)
        tactics = (name for tactic in entry["tactics"] for name in _tactics(tactic.upper(), version, ()))
        return Technique(identifier, entry["name"], tuple(dict.fromkeys(tactics)))
    return Technique(tag, "", ())


def _tactics(tag: str, version: int, techniques: Container[str]) -> tuple[str, ...]:
    """Return the short names that a version of ATT&CK has for a tactic's name or ID of any version.

    :param techniques: the tactics of the rule's techniques, which tell what a tactic that was split is now.
    """
    known = _table(version)["tactics"]
    name = tag.lower().replace("_", "-")
    if tag.startswith("TA0"):
        tactics = (item for other in _preferred(version) for item in _table(other)["tactics"].items())
        name = next((short for short, tactic in tactics if tactic["id"] == tag), name)
    if name in known:
        return (name,)
    if name in _SPLIT:
        return tuple(half for half in _SPLIT[name] if half in techniques) or _SPLIT[name][:1]
    return tuple(whole for whole, halves in _SPLIT.items() if name in halves)


def _preferred(version: int) -> list[int]:
    """Return a version and then the others, the newest first."""
    return [version, *(other for other in reversed(_VERSIONS) if other != version)]


@cache
def _table(version: int) -> dict[str, Any]:
    table: dict[str, Any] = json.loads(Path(__file__).with_name(f"attack_{version}.json").read_text(encoding="utf-8"))
    return table
