"""ATT&CK's names of what a rule is tagged with: SIEMs want them in a rule, and Sigma's tags have only IDs."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

from sigma.backends.keywatch._correlation import Rule
from sigma.exceptions import SigmaFeatureNotSupportedByBackendError
from sigma.pipelines.keywatch._pack import read_yaml


def tactics_of(rule: Rule) -> dict[str, dict[str, str]]:
    """Return tag → id and name of each tactic of a rule.

    :raises SigmaFeatureNotSupportedByBackendError: for a tag that `attack.yml` does not have.
    """
    return {tag: _named("tactics", tag, rule) for tag in _tags(rule) if not re.match(r"t\d", tag)}


def techniques_of(rule: Rule) -> dict[str, dict[str, Any]]:
    """Return ID → name and tactics of each technique and sub-technique of a rule.

    :raises SigmaFeatureNotSupportedByBackendError: for a tag that `attack.yml` does not have.
    """
    return {tag.upper(): _named("techniques", tag.upper(), rule) for tag in _tags(rule) if re.match(r"t\d", tag)}


def _tags(rule: Rule) -> list[str]:
    return [tag.name for tag in rule.tags if tag.namespace == "attack"]


def _named(kind: str, tag: str, rule: Rule) -> Any:
    names = _attack()[kind]
    if tag not in names:
        raise SigmaFeatureNotSupportedByBackendError(
            f"rule '{rule.title}': tag '{tag}' is not in attack.yml beside this backend; add it there",
            source=rule.source,
        )
    return names[tag]


@cache
def _attack() -> dict[str, dict[str, Any]]:
    names: dict[str, dict[str, Any]] = read_yaml(Path(__file__).with_name("attack.yml"))
    return names
