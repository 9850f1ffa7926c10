"""Analytics rules of Microsoft Sentinel: as ARM templates, and in the form of the repository Azure-Sentinel."""

from __future__ import annotations

import warnings
from functools import partial
from io import StringIO
from math import ceil
from typing import Any

import yaml
from sigma.backends.keywatch._artefact import Detection, json_text
from sigma.backends.keywatch._attack import attack_of
from sigma.backends.keywatch._correlation import Correlation, Rule
from sigma.backends.keywatch._guide import guide_steps, untemplated
from sigma.backends.keywatch.sentinel.sliding import column
from sigma.exceptions import SigmaFeatureNotSupportedByBackendError
from sigma.rule.attributes import SigmaLevel

_DAY = 24 * 60
#: Minutes. A rule looks back up to two weeks; less than two days unless it runs no more than hourly.
_LONGEST, _LONG, _SELDOM = 14 * _DAY, 2 * _DAY, 60
#: Minutes for which alerts are gathered in an incident at most.
_LONGEST_GROUPING = 7 * _DAY
#: Characters.
_LONGEST_TITLE, _LONGEST_DESCRIPTION, _LONGEST_QUERY = 200, 5_000, 10_000
_SEVERITY = {SigmaLevel.CRITICAL: "High"}
ADDRESS = "SourceIpAddress"


def analytics_rule(detection: Detection, query: str) -> dict[str, Any]:
    """Return an analytics rule: the properties that Azure's resource has, and the rule's id.

    :param query: the finished query.
    :raises SigmaFeatureNotSupportedByBackendError: for what Sentinel has no rule for.
    """
    rule, correlation = detection.rule, detection.correlation
    frequency, period = detection.schedule.interval // 60, ceil(detection.look_back / 60)
    if period > _LONGEST or (period >= _LONG and frequency < _SELDOM):
        raise SigmaFeatureNotSupportedByBackendError(
            f"rule '{rule.title}': Sentinel looks back 14 days at most, and 2 days or more only in rules that run "
            f"hourly or less often; this would look back {period} minutes every {frequency} (settings: schedule, "
            "timespan)",
            source=rule.source,
        )
    held = min(detection.suppression // 60, _LONGEST_GROUPING)
    attack = attack_of(rule, "Sentinel")
    details = {"Principal": "Principal"}
    if correlation is not None and correlation.counted:
        details |= {"Values": column(rule, correlation.counted), "Distinct": "value_count", "Events": "event_count"}
    entities = [_entity("Account", "FullName", "Principal")]
    if has_address(rule):
        entities.append(_entity("IP", "Address", "IPAddress"))
    return {
        "id": detection.id,
        "properties": {
            "displayName": rule.title,
            "description": _cut(rule, detection.description),
            "severity": _SEVERITY.get(detection.level, detection.level.name.capitalize()),
            "enabled": True,
            "query": query,
            "queryFrequency": f"PT{frequency}M",
            "queryPeriod": f"PT{period}M",
            "triggerOperator": "GreaterThan",
            "triggerThreshold": 0,
            # Suppression would stop the rule for everybody; alerts of one principal are gathered in an incident.
            "suppressionEnabled": False,
            "suppressionDuration": "PT1H",
            "tactics": ["".join(map(str.capitalize, tactic.tag.split("-"))) for tactic in attack.tactics],
            # Sub-techniques are no part of Sentinel's list.
            "techniques": list(dict.fromkeys(technique.root for technique in attack.techniques)),
            "entityMappings": entities,
            "customDetails": details,
            "alertDetailsOverride": {
                "alertDisplayNameFormat": f"{untemplated(rule.title)[:_LONGEST_TITLE]}: {{{{Principal}}}}",
                "alertDescriptionFormat": _description(rule),
            },
            "eventGroupingSettings": {"aggregationKind": "AlertPerResult"},
            "incidentConfiguration": {
                "createIncident": True,
                "groupingConfiguration": {
                    "enabled": True,
                    "reopenClosedIncident": False,
                    "lookbackDuration": f"PT{held}M",
                    "matchingMethod": "Selected",
                    "groupByEntities": [],
                    "groupByAlertDetails": [],
                    "groupByCustomDetails": ["Principal"],
                },
            },
        },
    }


def arm_template(rules: list[dict[str, Any]]) -> str:
    """Write an ARM template of the form that the portal exports and imports."""
    path = "Microsoft.OperationalInsights/workspaces/providers"
    resources = [
        {
            "id": f"[concat(resourceId('{path}', parameters('workspace'), 'Microsoft.SecurityInsights'), "
            f"'/alertRules/{rule['id']}')]",
            "name": f"[concat(parameters('workspace'), '/Microsoft.SecurityInsights/{rule['id']}')]",
            "type": f"{path}/alertRules",
            "kind": "Scheduled",
            "apiVersion": "2023-12-01-preview",
            "properties": rule["properties"],
        }
        for rule in rules
    ]
    template = {
        "$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#",
        "contentVersion": "1.0.0.0",
        "parameters": {"workspace": {"type": "String"}},
        "resources": resources,
    }
    return json_text(template)


def repository_yaml(rules: list[dict[str, Any]]) -> str:
    """Write rules in the form of the repository Azure-Sentinel, one YAML document after the other."""
    documents = [_document(rule) for rule in rules]
    layout: dict[str, Any] = {
        "allow_unicode": True,
        "explicit_start": len(rules) > 1,
        "sort_keys": False,
        "width": 4096,
    }
    return str(yaml.dump_all(documents, None, _Dumper, **layout))


class _Block(str):
    """A text that is written line by line."""


class _Dumper(yaml.CSafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        """Write everything where it stands."""
        return True

    def represent_text(self, text: str) -> yaml.ScalarNode:
        """Write a text as it is where YAML allows that; else in the quotes that leave its apostrophes alone."""
        quoted = "'" in text and not yaml.emitter.Emitter(StringIO()).analyze_scalar(text).allow_block_plain
        style = "|" if isinstance(text, _Block) else '"' if quoted else None
        return self.represent_scalar(_TEXT, str(text), style=style)


_TEXT = "tag:yaml.org,2002:str"
for _kind in (str, _Block):
    _Dumper.add_representer(_kind, _Dumper.represent_text)


def has_address(rule: Rule) -> bool:
    """Tell whether an alert has an address: of single events all have, of a correlation those that show it."""
    correlation = Correlation.of(rule)
    return correlation is None or ADDRESS in correlation.evidence


def limited(rule: Rule, query: str) -> str:
    """Return a query that Sentinel takes.

    :raises SigmaFeatureNotSupportedByBackendError: for one that is longer.
    """
    if len(query) > _LONGEST_QUERY:
        raise SigmaFeatureNotSupportedByBackendError(
            f"rule '{rule.title}': its query has {len(query)} characters; Sentinel takes up to {_LONGEST_QUERY}",
            source=rule.source,
        )
    return query


def _entity(kind: str, identifier: str, column: str) -> dict[str, Any]:
    return {"entityType": kind, "fieldMappings": [{"identifier": identifier, "columnName": column}]}


def _description(rule: Rule) -> str:
    """Write the alert's description: who, and the triage guide. Sentinel fills in three columns at most."""
    shown = "Principal {{Principal}}, address {{IPAddress}}." if has_address(rule) else "Principal {{Principal}}."
    steps = guide_steps([rule], lambda name: f"`{column(rule, name)}`", plain=partial(column, rule))
    text = [shown, *(f"{title}\n{text}" for title, text in steps)]
    return _cut(rule, "\n\n".join(text))


def _cut(rule: Rule, description: str) -> str:
    """Return as much of a description as Sentinel takes: no detection is given up for it."""
    if len(description) <= _LONGEST_DESCRIPTION:
        return description
    warnings.warn(
        f"rule '{rule.title}': its description is cut; it has {len(description)} characters, and Sentinel takes up to "
        f"{_LONGEST_DESCRIPTION}",
        stacklevel=2,
    )
    return description[: _LONGEST_DESCRIPTION - 1] + "…"


def no_expressions(value: Any) -> Any:
    """Escape texts that ARM would evaluate."""
    if isinstance(value, dict):
        return {key: no_expressions(item) for key, item in value.items()}
    if isinstance(value, list):
        return [no_expressions(item) for item in value]
    return f"[{value}" if isinstance(value, str) and value.startswith("[") and value.endswith("]") else value


def _document(rule: dict[str, Any]) -> dict[str, Any]:
    """Return a rule as the repository has it: other names, durations and operators."""
    properties = dict(rule["properties"])
    for key in ("enabled", "suppressionEnabled", "suppressionDuration"):
        del properties[key]
    connectors = [{"connectorId": name, "dataTypes": ["AWSCloudTrail"]} for name in ("AWS", "AWSS3")]
    head = {
        "id": rule["id"],
        "name": properties.pop("displayName"),
        "version": "1.0.0",
        "kind": "Scheduled",
        "description": properties.pop("description"),
        "severity": properties.pop("severity"),
        "requiredDataConnectors": connectors,
        "queryFrequency": f"{properties.pop('queryFrequency')[2:-1]}m",
        "queryPeriod": f"{properties.pop('queryPeriod')[2:-1]}m",
        "triggerOperator": "gt",
        "triggerThreshold": properties.pop("triggerThreshold"),
        "tactics": properties.pop("tactics"),
        "relevantTechniques": properties.pop("techniques"),
        "query": _Block(properties.pop("query")),
    }
    del properties["triggerOperator"]
    override = properties["alertDetailsOverride"]
    texts = {"alertDescriptionFormat": _Block(override["alertDescriptionFormat"])}
    return head | properties | {"alertDetailsOverride": override | texts}
