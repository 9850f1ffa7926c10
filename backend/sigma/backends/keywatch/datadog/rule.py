"""Datadog's detection rules: for its API, and as Terraform's resources.

What belongs to one detection, a rule for each kind of credential, is one rule in Datadog with a query and a case for
each, as in Datadog's catalogue. The first case that matches names the signal, so they stand in the order of their
levels.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import islice
from string import ascii_lowercase
from typing import Any

from sigma.backends.keywatch._artefact import json_text
from sigma.backends.keywatch._attack import attack_of
from sigma.backends.keywatch._correlation import level_of
from sigma.backends.keywatch._guide import guide_steps, untemplated
from sigma.backends.keywatch.datadog.part import Part, grouped
from sigma.rule.attributes import SigmaLevel

#: A signal is kept open as long as its events would be looked at again, at least an hour.
_HOUR, _DAY = 3600, 86400
_STATUS = {SigmaLevel.INFORMATIONAL: "info"}
#: Where the triage texts of Datadog's own rules lead (docs.datadoghq.com/security/default_rules/def-000-61e).
IN_DATADOG = (
    "Where to look in Datadog",
    "The dashboard Cloud SIEM - User Investigation shows what else {{@userIdentity.arn}} did, and Cloud SIEM - IP "
    "Investigation what else came from {{@network.client.ip}}. If this was legitimate, a suppression list keeps the "
    "principal from raising signals here; a Sigma filter does so on every target.",
)


def rules_json(parts: Iterable[Part]) -> str:
    """Write the rules that parts make, one JSON document after the other."""
    groups = grouped((part.rule.title, part) for part in parts).values()
    return "".join(json_text(_payload(group)) for group in groups)


def terraform_json(parts: Iterable[Part]) -> str:
    """Write a Terraform configuration in JSON syntax."""
    resources: dict[str, Any] = {}
    for name, group in grouped((part.rule.title, part) for part in parts).items():
        plain = re.sub(r"^(?=\d)|\W", "_", name, flags=re.ASCII)
        resources[plain if plain not in resources else f"{plain}_{len(resources)}"] = _resource(_payload(group))
    document = {
        "terraform": {"required_providers": {"datadog": {"source": "DataDog/datadog"}}},
        "resource": {"datadog_security_monitoring_rule": resources},
    }
    return json_text(document)


def _payload(parts: Sequence[Part]) -> dict[str, Any]:
    """Return the rule as Datadog's API takes it."""
    ordered = sorted(parts, key=lambda part: -level_of(part.rule).value)
    letters = iter(ascii_lowercase)
    names = [list(islice(letters, len(part.queries))) for part in ordered]
    return {
        "name": _plain(parts[0].guide.title if parts[0].guide and not parts[0].in_order else parts[0].rule.title),
        "type": "log_detection",
        "isEnabled": True,
        "message": _message(ordered),
        "tags": _tags(ordered),
        "hasExtendedTitle": True,
        "queries": [
            {"name": name} | query
            for part, of_part in zip(ordered, names, strict=True)
            for name, query in zip(of_part, part.queries, strict=True)
        ],
        "cases": [
            {
                "name": _plain(part.rule.title),
                "status": _STATUS.get(level_of(part.rule), level_of(part.rule).name.lower()),
                "condition": part.condition(of_part),
                "notifications": [],
            }
            for part, of_part in zip(ordered, names, strict=True)
        ],
        "options": parts[0].method(names[0]) | {"keepAlive": max(parts[0].window, _HOUR), "maxSignalDuration": _DAY},
    }


def _message(ordered: Sequence[Part]) -> str:
    """Write the signal's message, in Markdown with Datadog's variables: what each case means, and the triage guide."""
    cases = [f"**{_plain(part.rule.title)}**: {_plain(part.rule.description or '')}" for part in ordered]
    rules = [part.rule for part in ordered]
    # What begins with @ outside of a variable notifies somebody.
    steps = guide_steps(rules, lambda name: f"{{{{{name}}}}}", plain=lambda name: name.removeprefix("@"))
    return "\n\n".join(["## What happened", *cases, *(f"## {title}\n{text}" for title, text in [*steps, IN_DATADOG])])


def _plain(text: str) -> str:
    """Return a text in one line that is no template, and notifies nobody."""
    return untemplated(text.replace("@", "(at)"))


def _tags(ordered: Sequence[Part]) -> list[str]:
    tags = ["source:cloudtrail", "security:attack"]
    for part in ordered:
        attack = attack_of(part.rule, "Datadog")
        tags += [f"tactic:{tactic.id}-{tactic.tag}" for tactic in attack.tactics]
        tags += [f"technique:{one.id}-{_slug(one.name)}".rstrip("-") for one in attack.techniques]
    return list(dict.fromkeys(tags))


def _slug(name: str) -> str:
    return name.lower().replace(" ", "-")


#: What Terraform calls otherwise: a block for each item, and another word.
_BLOCKS = {"queries": "query", "cases": "case", "isEnabled": "enabled"}


def _resource(value: Any) -> Any:
    """Return a rule of the API as Terraform's JSON syntax has it: names in snake case, templates in texts escaped."""
    if isinstance(value, dict):
        return {_BLOCKS.get(key, _snake(key)): _resource(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_resource(item) for item in value]
    return value.replace("${", "$${").replace("%{", "%%{") if isinstance(value, str) else value


def _snake(name: str) -> str:
    return re.sub(r"[A-Z]", lambda letter: f"_{letter[0].lower()}", name)
