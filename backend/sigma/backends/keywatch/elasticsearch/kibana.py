"""Detection rules as Kibana exports and imports them, with schedule, look-back, suppression and guide."""

from __future__ import annotations

import json
from typing import Any

from sigma.backends.keywatch._artefact import Detection
from sigma.backends.keywatch._attack import tactics_of, techniques_of
from sigma.backends.keywatch._correlation import Rule
from sigma.backends.keywatch._guide import guide_steps

_RISK = {"informational": 1, "low": 21, "medium": 47, "high": 73, "critical": 99}
#: What an alert of a correlation has besides CloudTrail's fields.
_OWN = ("value_count", "event_count", "first_seen", "last_seen")
#: Fields of the integration that are no keywords.
TYPES = {"@timestamp": "date", "aws.cloudtrail.read_only": "boolean"}


def detection_rule(detection: Detection, query: str) -> dict[str, Any]:
    """Return a detection rule.

    :param query: the finished query.
    """
    rule, correlation = detection.rule, detection.correlation
    level = detection.level.name.lower()
    group = ["event.id"] if correlation is None else list(correlation.group)
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
        "threat": threat(rule),
        "note": _note(rule),
        "setup": "Needs Elastic's AWS integration with CloudTrail, from a trail that covers all Regions.",
        "investigation_fields": {
            "field_names": list(dict.fromkeys([*group, *rule.fields, *(_OWN if correlation else ())]))
        },
        "required_fields": [
            {"name": name, "type": TYPES.get(name, "keyword")}
            # What the rule groups by and counts, and what it gives as evidence.
            for name in sorted({"@timestamp", *rule.fields, *(correlation.keys if correlation else ())})
        ],
        "related_integrations": [{"package": "aws", "integration": "cloudtrail", "version": "^2.0.0"}],
        "tags": ["Domain: Cloud", "Data Source: AWS", "Data Source: AWS CloudTrail", "Keywatch"],
        "references": list(rule.references),
        "false_positives": list(rule.falsepositives),
        "author": [rule.author] if rule.author else [],
        "license": "DRL-1.1",
        "version": 1,
        "exceptions_list": [],
        "actions": [],
        "immutable": False,
    }


def threat(rule: Rule) -> list[dict[str, Any]]:
    """Return the rule's tactics and techniques, by the names that MITRE gives them.

    :raises SigmaFeatureNotSupportedByBackendError: for a tag that `attack.yml` does not have.
    """
    techniques = techniques_of(rule)
    return [
        {
            "framework": "MITRE ATT&CK",
            "tactic": tactic | {"reference": f"https://attack.mitre.org/tactics/{tactic['id']}/"},
            "technique": [
                _technique(name, technique["name"])
                | {
                    "subtechnique": [
                        _technique(sub, techniques[sub]["name"]) for sub in techniques if sub[:6] == f"{name}."
                    ]
                }
                for name, technique in techniques.items()
                if "." not in name and tag in technique["tactics"]
            ],
        }
        for tag, tactic in tactics_of(rule).items()
    ]


def _technique(name: str, title: str) -> dict[str, Any]:
    return {"id": name, "name": title, "reference": f"https://attack.mitre.org/techniques/{name.replace('.', '/')}/"}


def _note(rule: Rule) -> str:
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
    return "\n\n".join(["## Triage", *(f"### {title}\n{text}" for title, text in steps), *buttons])


def _investigation(label: str, name: str) -> dict[str, Any]:
    provider = {
        "field": name,
        "excluded": False,
        "queryType": "phrase",
        "value": f"{{{{{name}}}}}",
        "valueType": "string",
    }
    return {"label": label, "providers": [[provider]], "relativeFrom": "now-48h/h", "relativeTo": "now"}
