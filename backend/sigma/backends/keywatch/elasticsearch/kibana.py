"""Detection rules as Kibana exports and imports them, with schedule, look-back, suppression and guide."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from sigma.backends.keywatch._artefact import Detection
from sigma.backends.keywatch._attack import Attack, Tactic, attack_of
from sigma.backends.keywatch._correlation import OUTCOMES, Rule
from sigma.backends.keywatch._guide import guide_steps
from sigma.backends.keywatch.elasticsearch.sliding import group_names, tells_outcomes
from sigma.pipelines.keywatch._pack import GUIDE

_RISK = {"informational": 1, "low": 21, "medium": 47, "high": 73, "critical": 99}
#: What an alert of a correlation has besides CloudTrail's fields.
_OWN = ("value_count", "event_count", "first_seen", "last_seen")
#: The least version of Elastic's AWS integration: older ones lack aws.cloudtrail.session_credential_from_console, and
#: an ES|QL query that names a field that no index has fails.
_INTEGRATION = ">=4.5.0"
#: With the prefixes that the tests of elastic/detection-rules ask for (commit 14cf530 of 2026-08-21).
_TAGS = [
    "Domain: Cloud",
    "Data Source: AWS",
    "Data Source: Amazon Web Services",
    "Data Source: AWS CloudTrail",
    "Use Case: Threat Detection",
    "Resources: Keywatch",
]
_BUTTONS = (
    "A button searches for one value of its field. If the alert has several, add the others to the timeline's query. "
    "If it has none, the timeline searches for the name of the field in braces: remove that filter."
)
#: What is new for a principal.
_FIRST_SEEN = """### Where was this principal seen first?
In Discover, with the alert's principal in place of ARN:

```
FROM {index}
| WHERE @timestamp >= NOW() - 30 days AND aws.cloudtrail.user_identity.arn == "ARN"
| STATS calls = COUNT(*), first_seen = MIN(@timestamp), last_seen = MAX(@timestamp)
    BY cloud.region, source.address, user_agent.original
| SORT first_seen DESC
```"""
#: Fields of the integration that are no keywords.
TYPES = {"@timestamp": "date", "aws.cloudtrail.read_only": "boolean"}


def detection_rule(detection: Detection, query: str) -> dict[str, Any]:
    """Return a detection rule.

    :param query: the finished query.
    """
    rule, correlation = detection.rule, detection.correlation
    # Aliases are made by the query; no index has them.
    made = {alias.alias for alias in correlation.rule.aliases} if correlation else set()
    attack = attack_of(rule, "Kibana")
    level = detection.level.name.lower()
    own = [*_OWN, *([OUTCOMES] * tells_outcomes(correlation))] if correlation else []
    group = ["event.id"] if correlation is None else group_names(correlation)
    return {
        "rule_id": detection.id,
        "name": rule.title,
        "description": detection.description,
        "type": "esql",
        "language": "esql",
        "query": query,
        "enabled": True,
        "interval": f"{detection.schedule.interval // 60}m",
        "from": f"now-{detection.look_back // 60}m",
        "to": "now",
        "risk_score": _RISK[level],
        "severity": "low" if level == "informational" else level,
        "risk_score_mapping": [],
        "severity_mapping": [],
        "alert_suppression": {
            "group_by": group,
            "duration": {"value": detection.suppression // 60, "unit": "m"},
            "missing_fields_strategy": "suppress",
        },
        "max_signals": 1000,
        "threat": threat(attack),
        "note": _note(rule, detection.settings["index"]),
        "setup": "## Setup\n\nNeeds Elastic's AWS integration with CloudTrail, from a trail that covers all Regions.",
        "investigation_fields": {"field_names": list(dict.fromkeys([*group, *rule.fields, *own]))},
        "required_fields": [
            {"name": name, "type": TYPES.get(name, "keyword")}
            # What the rule groups by and counts, and what it gives as evidence.
            for name in sorted({"@timestamp", *rule.fields, *(correlation.keys if correlation else ())} - made)
            if "(" not in name
        ],
        "related_integrations": [{"package": "aws", "integration": "cloudtrail", "version": _INTEGRATION}],
        "tags": [
            *_TAGS,
            *(["Resources: Investigation Guide"] if GUIDE in rule.custom_attributes else []),
            *(f"Tactic: {tactic.name}" for tactic in attack.tactics),
        ],
        "references": list(rule.references),
        "false_positives": list(rule.falsepositives),
        "author": [rule.author] if rule.author else [],
        "license": "DRL-1.1",
        "version": 1,
        "exceptions_list": [],
        "actions": [],
        "immutable": False,
    }


def threat(attack: Attack) -> list[dict[str, Any]]:
    """Return tactics and techniques, by the names that Kibana offers in its form."""
    return [
        {
            "framework": "MITRE ATT&CK",
            "tactic": {
                "id": tactic.id,
                "name": tactic.name,
                "reference": f"https://attack.mitre.org/tactics/{tactic.id}/",
            },
            "technique": list(_techniques(attack, tactic)),
        }
        for tactic in attack.tactics
    ]


def _techniques(attack: Attack, tactic: Tactic) -> Iterable[dict[str, Any]]:
    """Return the techniques of a tactic, each with its sub-techniques; Kibana has no place for these alone."""
    here = attack.of(tactic)
    for root in dict.fromkeys(one.root for one in here):
        parts = [_technique(attack, one.id) for one in here if one.root == root != one.id]
        yield _technique(attack, root) | {"subtechnique": parts}


def _technique(attack: Attack, identifier: str) -> dict[str, Any]:
    path = identifier.replace(".", "/")
    reference = f"https://attack.mitre.org/techniques/{path}/"
    return {"id": identifier, "name": attack.name(identifier), "reference": reference}


def _note(rule: Rule, index: str) -> str:
    """Write the investigation guide: Markdown, and buttons that open what else happened in a timeline."""
    steps = guide_steps([rule], lambda name: f"`{name}`")
    if not steps:
        return ""
    buttons = [
        "!{investigate" + json.dumps(_investigation(label, name), ensure_ascii=False) + "}"
        for label, name in (
            ("Everything this principal did", "aws.cloudtrail.user_identity.arn"),
            ("Everything done with this key", "aws.cloudtrail.user_identity.access_key_id"),
            ("Everything from this address", "source.address"),
        )
    ]
    guide = [f"### {title}\n{text}" for title, text in steps]
    return "\n\n".join(["## Triage and analysis", *guide, _FIRST_SEEN.format(index=index), _BUTTONS, *buttons])


def _investigation(label: str, name: str) -> dict[str, Any]:
    provider = {
        "field": name,
        "excluded": False,
        "queryType": "phrase",
        "value": f"{{{{{name}}}}}",
        "valueType": "string",
    }
    return {"label": label, "providers": [[provider]], "relativeFrom": "now-48h/h", "relativeTo": "now"}
