"""Datadog's detection rules: for its API, and as Terraform's resources.

What belongs to one detection, a rule for each kind of credential, is one rule in Datadog with a query and a case for
each, as in Datadog's catalogue. The first case that matches names the signal, so they stand in the order of their
levels.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations, islice
from math import comb
from string import ascii_lowercase
from typing import Any

from sigma.backends.keywatch._attack import attack_of
from sigma.backends.keywatch._correlation import Correlation, Rule, level_of
from sigma.backends.keywatch._guide import guide_steps, untemplated
from sigma.backends.keywatch._sliding import condition_over_rules
from sigma.exceptions import SigmaFeatureNotSupportedByBackendError
from sigma.pipelines.keywatch._pack import GUIDE, Guide
from sigma.rule.attributes import SigmaLevel

#: Seconds that evaluationWindow, keepAlive and maxSignalDuration can be.
WINDOWS = (0, 60, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400)
#: A signal is kept open as long as its events would be looked at again, at least an hour.
_HOUR, _DAY = 3600, 86400
_STATUS = {SigmaLevel.INFORMATIONAL: "info"}
_PRINCIPAL, _EVENT = "@userIdentity.arn", "@eventID"
#: Names of queries are single letters. A case that needs some of several rules says each way to choose them.
_MOST_QUERIES, _MOST_WAYS = len(ascii_lowercase), 20
#: "Create a Real-Time Rule" in Datadog's documentation.
_MOST_CASES = 10
#: Where the triage texts of Datadog's own rules lead (docs.datadoghq.com/security/default_rules/def-000-61e).
IN_DATADOG = (
    "Where to look in Datadog",
    "The dashboard Cloud SIEM - User Investigation shows what else {{@userIdentity.arn}} did, and Cloud SIEM - IP "
    "Investigation what else came from {{@network.client.ip}}. If this was legitimate, a suppression list keeps the "
    "principal from raising signals here; a Sigma filter does so on every target.",
)


@dataclass(frozen=True)
class Part:
    """What a rule adds to the rule in Datadog: queries, and a case."""

    rule: Rule
    window: int
    queries: list[dict[str, Any]]

    @property
    def guide(self) -> Guide | None:
        """The guide of the rule, which names the detection that it belongs to."""
        return self.rule.custom_attributes.get(GUIDE)

    def condition(self, names: Sequence[str]) -> str:
        """Write what must be true of the numbers that the queries give.

        :param names: those of the queries, in their order.
        """
        correlation = Correlation.of(self.rule)
        if correlation is not None and not correlation.over_rules:
            return f"{names[0]} >= {correlation.least}"
        met = [f"{name} > 0" for name in names]
        if correlation is None:
            return met[0]
        if over_rules := condition_over_rules(correlation, met, "&&", "||"):
            return over_rules
        ways = [" && ".join(some) for some in combinations(met, correlation.enough)]
        return ways[0] if len(ways) == 1 else " || ".join(f"({way})" for way in ways)


def part(rule: Rule, queries: Sequence[str]) -> Part:
    """Return what a rule adds to the rule in Datadog.

    :param queries: the search for its events; one for each rule where it matters which of them they match.
    :raises SigmaFeatureNotSupportedByBackendError: for a window that Datadog does not have.
    """
    logs: list[dict[str, Any]] = [
        {"query": f"source:cloudtrail ({query})", "dataSource": "logs", "aggregation": "count", "distinctFields": []}
        for query in queries
    ]
    correlation = Correlation.of(rule)
    if correlation is None:
        # No event is left out because nobody is named in it.
        more = {"groupByFields": [_PRINCIPAL], "hasOptionalGroupByFields": True}
        return Part(rule, 300, [log | more for log in logs])
    if correlation.window not in WINDOWS[1:]:
        raise SigmaFeatureNotSupportedByBackendError(
            f"rule '{rule.title}': Datadog has no window of {correlation.rule.timespan.spec}; choose from (seconds): "
            f"{', '.join(map(str, WINDOWS[1:]))}",
            source=rule.source,
        )
    if len(logs) > _MOST_QUERIES or (correlation.over_rules and comb(len(logs), correlation.enough) > _MOST_WAYS):
        raise SigmaFeatureNotSupportedByBackendError(
            f"rule '{rule.title}': a case in Datadog has no form for {correlation.enough} of {len(logs)} rules",
            source=rule.source,
        )
    more = {"groupByFields": list(correlation.group), "hasOptionalGroupByFields": False}
    if not correlation.over_rules:
        # An event counts once, however often it was delivered.
        more |= {"aggregation": "cardinality", "distinctFields": [correlation.counted or _EVENT]}
    return Part(rule, correlation.window, [log | more for log in logs])


def grouped(parts: Iterable[tuple[str, Part]]) -> dict[str, list[Part]]:
    """Put together what is one rule in Datadog: the rules of a detection, as far as they have the same window.

    :param parts: each with a name for the case that it belongs to no detection.
    :return: name → the parts of a rule.
    """
    groups: dict[str, list[Part]] = {}
    for rule, one in parts:
        name = one.guide.detection if one.guide else rule
        if name in groups and groups[name][0].window != one.window:
            name = f"{name}_{one.window}s"
        base, number = name, 1
        while not _has_place(groups.get(name, []), one):
            number += 1
            name = f"{base}_{number}"
        groups.setdefault(name, []).append(one)
    return groups


def _has_place(group: Sequence[Part], one: Part) -> bool:
    queries = sum(len(part.queries) for part in group) + len(one.queries)
    return len(group) < _MOST_CASES and queries <= _MOST_QUERIES


def rules_json(parts: Iterable[Part]) -> str:
    """Write the rules that parts make, one JSON document after the other."""
    groups = grouped((part.rule.title, part) for part in parts).values()
    return "\n".join(json.dumps(_payload(group), indent=2, ensure_ascii=False) for group in groups) + "\n"


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
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _payload(parts: Sequence[Part]) -> dict[str, Any]:
    """Return the rule as Datadog's API takes it."""
    ordered = sorted(parts, key=lambda part: -level_of(part.rule).value)
    letters = iter(ascii_lowercase)
    names = [list(islice(letters, len(part.queries))) for part in ordered]
    window = parts[0].window
    return {
        "name": _plain(parts[0].guide.title if parts[0].guide else parts[0].rule.title),
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
        "options": {
            "detectionMethod": "threshold",
            "evaluationWindow": window,
            "keepAlive": max(window, _HOUR),
            "maxSignalDuration": _DAY,
        },
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
