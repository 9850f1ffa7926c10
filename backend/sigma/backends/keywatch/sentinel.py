r"""Microsoft Sentinel: analytics rules over the table AWSCloudTrail, and the bare KQL.

Kusto has no window of distinct values, so they are counted as a sum that runs through time, as in Athena's SQL: a value
counts from its first event to a window after its last, or without a break when it is seen again before. An event is one
row, with a beginning (+1) or an end (-1) beside it where it makes one; beginnings come before ends of the same moment,
so both ends of a window are in. Exact, and two sorts.

Kusto's strings have no null: what is missing is an empty text. Its operators ignore the case of ASCII letters only.
"""

from __future__ import annotations

import json
from functools import cache
from io import StringIO
from typing import Any, ClassVar, cast
from uuid import NAMESPACE_URL, uuid5

import sigma.pipelines.keywatch.sentinel
from sigma.backends.keywatch._artefact import ArtefactBackend
from sigma.backends.keywatch._attack import tactics_of, techniques_of
from sigma.backends.keywatch._guide import guide_steps, untemplated
from sigma.backends.keywatch._sliding import Rule, SlidingWindowBackend, counted_field, evidence_fields, level_of
from sigma.conditions import ConditionAND, ConditionFieldEqualsValueExpression, ConditionNOT, ConditionOR
from sigma.conversion.state import ConversionState
from sigma.correlations import SigmaCorrelationRule
from sigma.exceptions import SigmaFeatureNotSupportedByBackendError
from sigma.pipelines.keywatch._cloudtrail import field_table
from sigma.rule.attributes import SigmaLevel
from sigma.types import CompareOperators, SigmaCasedString, SigmaString, SpecialChars

_DAY = 24 * 60
#: Minutes. A rule looks back up to two weeks; less than two days unless it runs no more than hourly.
_LONGEST, _LONG, _SELDOM = 14 * _DAY, 2 * _DAY, 60
#: Minutes for which alerts are gathered in an incident at most.
_LONGEST_GROUPING = 7 * _DAY
#: Characters.
_LONGEST_TITLE, _LONGEST_TEXTS = 200, {"query": 10_000, "description": 5_000}
_SEVERITY = {SigmaLevel.CRITICAL: "High"}
#: Sentinel has ATT&CK's tactics by their older names.
_OLDER = {"TA0005": "DefenseEvasion", "TA0112": "DefenseEvasion"}
_EVENT, _ARN, _ADDRESS = "AwsEventId", "UserIdentityArn", "SourceIpAddress"
#: (wildcard in front, wildcard behind) → operator that ignores the case of ASCII letters, operator that does not.
_OPERATORS = {
    (False, False): ("=~", "=="),
    (False, True): ("startswith", "startswith_cs"),
    (True, False): ("endswith", "endswith_cs"),
    (True, True): ("contains", "contains_cs"),
}
_REGEX_SIGNS = "\\^$|?+()[]{}"


class KeywatchSentinelBackend(ArtefactBackend, SlidingWindowBackend):
    """KQL, and analytics rules that Sentinel imports as they are."""

    identifier: ClassVar[str] = "keywatch_sentinel"
    name: ClassVar[str] = "Microsoft Sentinel analytics rules, for CloudTrail (keywatch)"
    formats: ClassVar[dict[str, str]] = {
        "arm": "analytics rules as an ARM template, for Sentinel's import",
        "yaml": "analytics rules as the repository Azure-Sentinel has them",
        "kql": "the bare query",
        "default": "the same as kql",
    }
    default_format: ClassVar[str] = "arm"
    files: ClassVar[dict[str, tuple[str, ...]]] = {
        "arm": ("{rule}.arm.json", "all.arm.json"),
        "yaml": ("{rule}.yaml",),
        "kql": ("{rule}.kql",),
    }
    import_steps: ClassVar[dict[str, str]] = {
        "arm": "Sentinel > Analytics > Import: all.arm.json (docs/sentinel.md)",
        "yaml": "for Azure/Azure-Sentinel, and for tools that deploy its rules (docs/sentinel.md)",
        "kql": "paste a file into Logs, time range at least the window",
    }
    requires_pipeline: ClassVar[bool] = True

    precedence = (ConditionNOT, ConditionAND, ConditionOR)
    parenthesize = True
    group_expression = "({expr})"
    and_token = "and"
    or_token = "or"
    not_token = "not"
    eq_token = " == "
    bool_values: ClassVar = {True: '"true"', False: '"false"'}
    compare_op_expression = "coalesce(todouble({field}) {operator} {value}, false)"
    compare_operators: ClassVar = {
        CompareOperators.LT: "<",
        CompareOperators.LTE: "<=",
        CompareOperators.GT: ">",
        CompareOperators.GTE: ">=",
    }
    field_equals_field_expression = "(isnotempty({field1}) and tolower({field1}) == tolower({field2}))"
    field_null_expression = "isempty({field})"
    field_exists_expression = "isnotempty({field})"
    field_not_exists_expression = "isempty({field})"
    convert_or_as_in = True
    field_in_list_expression = "{field} {op} ({list})"
    or_in_operator = "in~"
    list_separator = ", "

    correlation_methods: ClassVar[dict[str, str]] = {"sliding": "Exact sliding windows, as a running sum"}
    value_count_correlation_query: ClassVar = {"sliding": "{search}\n{aggregate}\n{condition}"}
    correlation_search_single_rule_expression = "AWSCloudTrail\n| where {query}"
    correlation_search_multi_rule_expression = "AWSCloudTrail\n| where {queries}"
    correlation_search_multi_rule_query_expression = "({query})"
    correlation_search_multi_rule_query_expression_joiner = "\n    or "
    value_count_aggregation_expression: ClassVar = {
        "sliding": """| where {present}
| sort by {in_order}, {field} asc, TimeGenerated asc
| extend begins = not({same_before} and TimeGenerated - prev(TimeGenerated) <= {window}s)
| extend ends = not({same_after} and next(TimeGenerated) - TimeGenerated <= {window}s)
| mv-expand step = pack_array(1, 0, -1) to typeof(long)
| where step == 0 or (step == 1 and begins) or (step == -1 and ends)
| extend at = iff(step == -1, TimeGenerated + {window}s, TimeGenerated)
| sort by {in_order}, at asc, step desc
| extend present = row_cumsum(step, not({same_group}))
| summarize value_count = max(present), event_count = countif(step == 0), first_seen = minif(TimeGenerated, step == 0),
    last_seen = maxif(TimeGenerated, step == 0){fields}
    by {groupby}"""
    }
    value_count_condition_expression: ClassVar = {"sliding": "| where value_count {op} {count}"}

    def sliding_variables(self, rule: SigmaCorrelationRule) -> dict[str, str]:
        """Add the conditions that compare an event with its neighbours, and the evidence under names of their own.

        :raises SigmaFeatureNotSupportedByBackendError: for a group or a count of something that is no column.
        """
        group, field = list(rule.group_by or ()), counted_field(rule)
        for name in [*group, field]:
            if "(" in name:
                raise SigmaFeatureNotSupportedByBackendError(
                    f"rule '{rule.title}': '{_column(name)}' is no column of AWSCloudTrail, so it can't be grouped by "
                    "or counted",
                    source=rule.source,
                )
        sets = "".join(
            f",\n    {_column(name)} = array_sort_asc(make_set_if({name}, isnotempty({name})))"
            for name in [field, *evidence_fields(rule)]
        )
        return super().sliding_variables(rule) | {
            "present": " and ".join(f"isnotempty({name})" for name in [*group, field]),
            "in_order": ", ".join(f"{name} asc" for name in group),
            "same_before": " and ".join(f"prev({name}) == {name}" for name in [*group, field]),
            "same_after": " and ".join(f"next({name}) == {name}" for name in [*group, field]),
            "same_group": " and ".join(f"prev({name}) == {name}" for name in group),
            "fields": sets,
        }

    def convert_value_str(self, s: SigmaString, state: ConversionState) -> str:
        """Write a text without wildcards."""
        return literal("".join(map(str, s.s)))

    def convert_condition_not(self, cond: ConditionNOT, state: ConversionState) -> str:
        """Negate a condition; none of ours is null."""
        return f"not({self.convert_condition(cond.args[0], state)})"

    def convert_condition_field_eq_val_str(
        self, cond: ConditionFieldEqualsValueExpression, state: ConversionState
    ) -> Any:
        """Compare with a text, without regard to case.

        :raises SigmaFeatureNotSupportedByBackendError: for an empty text, which is no value in Sentinel.
        """
        return _comparison(cond.field, cast(SigmaString, cond.value))

    convert_condition_field_eq_val_str_case_sensitive = convert_condition_field_eq_val_str

    def decide_convert_condition_as_in_expression(
        self, cond: ConditionOR | ConditionAND, state: ConversionState
    ) -> bool:
        """Write a list as in~, but for values that it does not compare as is meant."""
        return super().decide_convert_condition_as_in_expression(cond, state) and all(
            isinstance(value := getattr(arg, "value", None), SigmaString) and str(value).isascii() and len(value) > 0
            for arg in cond.args
        )

    def convert_condition_field_eq_val_bool(
        self, cond: ConditionFieldEqualsValueExpression, state: ConversionState
    ) -> Any:
        """Compare with true or false, as Kusto writes them in a text."""
        return f"{cond.field} =~ {self.bool_values[bool(getattr(cond.value, 'boolean', False))]}"

    def convert_condition_field_eq_val_num(
        self, cond: ConditionFieldEqualsValueExpression, state: ConversionState
    ) -> Any:
        """Compare with a number, which columns hold as text."""
        return f"{cond.field} == {literal(str(cond.value))}"

    def convert_condition_field_eq_val_re(self, cond: Any, state: ConversionState) -> Any:
        """Refuse a regular expression.

        :raises SigmaFeatureNotSupportedByBackendError: always: Kusto's dialect is another, and nothing offline has it.
        """
        raise SigmaFeatureNotSupportedByBackendError(
            f"regular expression of field '{_column(cond.field)}': Kusto's are of another dialect; use contains, "
            "startswith, endswith or wildcards"
        )

    def finalize_query_kql(self, rule: Rule, query: str, index: int, state: ConversionState) -> str:
        """Return the query; `Principal` and `IPAddress` are what alerts are named and gathered by.

        :raises SigmaFeatureNotSupportedByBackendError: for one that is longer than Sentinel takes.
        """
        if isinstance(rule, SigmaCorrelationRule):
            group = list(rule.group_by or ())
            # An alert needs a time, and entities that are texts.
            last = [f"TimeGenerated = last_seen, Principal = {_joined(group)}"]
            last += [f"IPAddress = tostring({_ADDRESS}[0])"] * _has_address(rule)
            query = f"{query}\n| extend {', '.join(last)}"
        else:
            columns = dict.fromkeys([_EVENT, _ARN, _ADDRESS, *rule.fields])
            shown = ", ".join(name if "(" not in name else f"{_column(name)} = {name}" for name in columns)
            named = f"Principal = coalesce({_ARN}, {_EVENT}), IPAddress = {_ADDRESS}"
            query = f"AWSCloudTrail\n| where {query}\n| project TimeGenerated, {shown}, {named}"
        return _limited(rule, "query", query)

    finalize_query_default = finalize_query_kql

    def finalize_output_kql(self, queries: list[str]) -> str:
        """Put an empty line between queries."""
        return "\n\n".join(queries) + "\n"

    finalize_output_default = finalize_output_kql

    def finalize_query_arm(self, rule: Rule, query: str, index: int, state: ConversionState) -> dict[str, Any]:
        """Return an analytics rule: the properties that Azure's resource has, and the rule's id.

        :raises SigmaFeatureNotSupportedByBackendError: for what Sentinel has no rule for.
        """
        frequency, period = self.schedule.interval // 60, -(-self.schedule.look_back(rule) // 60)
        if period > _LONGEST or (period >= _LONG and frequency < _SELDOM):
            raise SigmaFeatureNotSupportedByBackendError(
                f"rule '{rule.title}': Sentinel looks back 14 days at most, and 2 days or more only in rules that run "
                f"hourly or less often; this would look back {period} minutes every {frequency} (settings: schedule, "
                "timespan)",
                source=rule.source,
            )
        query = self.finalize_query_kql(rule, query, index, state)
        held = min(self.schedule.suppression(rule) // 60, _LONGEST_GROUPING)
        techniques = [name for name in techniques_of(rule) if "." not in name]
        details = {"Principal": "Principal"}
        if isinstance(rule, SigmaCorrelationRule):
            details |= {"Values": counted_field(rule), "Distinct": "value_count", "Events": "event_count"}
        entities = [_entity("Account", "FullName", "Principal")]
        entities += [_entity("IP", "Address", "IPAddress")] if _has_address(rule) else []
        return {
            "id": str(rule.id or uuid5(NAMESPACE_URL, rule.title)),
            "properties": {
                "displayName": rule.title,
                "description": _limited(rule, "description", " ".join((rule.description or rule.title).split())),
                "severity": _SEVERITY.get(level_of(rule), level_of(rule).name.capitalize()),
                "enabled": True,
                "query": query,
                "queryFrequency": f"PT{frequency}M",
                "queryPeriod": f"PT{period}M",
                "triggerOperator": "GreaterThan",
                "triggerThreshold": 0,
                # Suppression would stop the rule for everybody; alerts of one principal are gathered in an incident.
                "suppressionEnabled": False,
                "suppressionDuration": "PT1H",
                "tactics": list(
                    dict.fromkeys(_OLDER.get(t["id"], t["name"].replace(" ", "")) for t in tactics_of(rule).values())
                ),
                "techniques": techniques,
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

    finalize_query_yaml = finalize_query_arm

    def finalize_output_arm(self, queries: list[dict[str, Any]]) -> str:
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
                "properties": _no_expressions(rule["properties"]),
            }
            for rule in queries
        ]
        template = {
            "$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#",
            "contentVersion": "1.0.0.0",
            "parameters": {"workspace": {"type": "String"}},
            "resources": resources,
        }
        return json.dumps(template, indent=2, ensure_ascii=False) + "\n"

    def finalize_output_yaml(self, queries: list[dict[str, Any]]) -> str:
        """Write rules in the form of the repository Azure-Sentinel, one YAML document after the other."""
        from ruamel.yaml import YAML

        yaml = YAML()
        yaml.explicit_start = len(queries) > 1
        yaml.width = 4096
        out = StringIO()
        yaml.dump_all([_document(rule) for rule in queries], out)
        return out.getvalue()


def literal(text: str) -> str:
    """Quote a text for KQL. Control characters are refused before."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _comparison(field: str, value: SigmaString) -> str:
    if not len(value):
        raise SigmaFeatureNotSupportedByBackendError("an empty text is no value in Sentinel; use null")
    cased = isinstance(value, SigmaCasedString)
    parts = list(value.s)
    if all(part is SpecialChars.WILDCARD_MULTI for part in parts):
        return f"isnotempty({field})"
    wild = (parts[0] is SpecialChars.WILDCARD_MULTI, parts[-1] is SpecialChars.WILDCARD_MULTI)
    texts = parts[wild[0] : len(parts) - wild[1]]
    if not all(isinstance(part, str) for part in texts):
        flags = "(?s)" if cased else "(?is)"
        pattern = value.convert(wildcard_multi=".*", wildcard_single=".", add_escaped=_REGEX_SIGNS)
        return f"{field} matches regex {literal(f'{flags}^{pattern}$')}"
    text = literal("".join(map(str, texts)))
    if not cased and not text.isascii():
        field, text = f"tolower({field})", f"tolower({text})"
    return f"{field} {_OPERATORS[wild][cased or not text.isascii()]} {text}"


@cache
def _names() -> dict[str, str]:
    """Return expression → CloudTrail field."""
    return {expression: name for name, expression in field_table(sigma.pipelines.keywatch.sentinel.__file__).items()}


def _column(expression: str) -> str:
    """Return the name that a value has in a row: the column's, or CloudTrail's for what is in no column of its own."""
    return _names()[expression].replace(".", "_") if "(" in expression else expression


def _joined(group: list[str]) -> str:
    return group[0] if len(group) == 1 else f'strcat_delim(" ", {", ".join(group)})'


def _has_address(rule: Rule) -> bool:
    """Tell whether an alert has an address: of single events all have, of a correlation those that show it."""
    return not isinstance(rule, SigmaCorrelationRule) or _ADDRESS in evidence_fields(rule)


def _entity(kind: str, identifier: str, column: str) -> dict[str, Any]:
    return {"entityType": kind, "fieldMappings": [{"identifier": identifier, "columnName": column}]}


def _description(rule: Rule) -> str:
    """Write the alert's description: who, and the triage guide. Sentinel fills in three columns at most."""
    shown = "Principal {{Principal}}, address {{IPAddress}}." if _has_address(rule) else "Principal {{Principal}}."
    steps = guide_steps([rule], lambda name: f"`{_column(name)}`", plain=_column)
    text = [shown, *(f"{title}\n{text}" for title, text in steps)]
    return _limited(rule, "description", "\n\n".join(text))


def _limited(rule: Rule, what: str, text: str) -> str:
    longest = _LONGEST_TEXTS[what]
    if len(text) > longest:
        raise SigmaFeatureNotSupportedByBackendError(
            f"rule '{rule.title}': its {what} has {len(text)} characters; Sentinel takes up to {longest}",
            source=rule.source,
        )
    return text


def _no_expressions(value: Any) -> Any:
    """Escape texts that ARM would evaluate."""
    if isinstance(value, dict):
        return {key: _no_expressions(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_no_expressions(item) for item in value]
    return f"[{value}" if isinstance(value, str) and value.startswith("[") and value.endswith("]") else value


def _document(rule: dict[str, Any]) -> dict[str, Any]:
    """Return a rule as the repository has it: other names, durations and operators."""
    from ruamel.yaml.scalarstring import LiteralScalarString

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
        "query": LiteralScalarString(properties.pop("query")),
    }
    del properties["triggerOperator"]
    override = properties["alertDetailsOverride"]
    texts = {"alertDescriptionFormat": LiteralScalarString(override["alertDescriptionFormat"])}
    return head | properties | {"alertDetailsOverride": override | texts}
