r"""Datadog Cloud SIEM: detection rules for its API, and for Terraform.

Datadog evaluates a rule as logs arrive, over a window that slides ("This is a sliding window and evaluates in real
time", its documentation says), and counts distinct values by itself (`cardinality`): a correlation needs a window that
is among those that Datadog has, and no more. What belongs to one detection, a rule for each kind of credential, is one
rule with a query and a case for each, as in Datadog's catalogue. The first case that matches names the signal, so they
stand in the order of their levels.

Attributes are compared with regard to case: Datadog has no other way.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from string import ascii_lowercase
from typing import Any, ClassVar

from sigma.backends.keywatch._artefact import ArtefactBackend
from sigma.backends.keywatch._attack import tactics_of, techniques_of
from sigma.backends.keywatch._guide import guide_steps, untemplated
from sigma.backends.keywatch._sliding import Rule, SlidingWindowBackend, counted_field, least, level_of
from sigma.conditions import ConditionAND, ConditionNOT, ConditionOR
from sigma.conversion.state import ConversionState
from sigma.correlations import SigmaCorrelationRule
from sigma.exceptions import SigmaFeatureNotSupportedByBackendError
from sigma.pipelines.keywatch._cloudtrail import GUIDE
from sigma.pipelines.keywatch._pack import Guide
from sigma.rule.attributes import SigmaLevel
from sigma.types import SigmaString

#: Seconds that evaluationWindow, keepAlive and maxSignalDuration can be.
WINDOWS = (0, 60, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400)
#: A signal is kept open as long as its events would be looked at again, at least an hour.
_HOUR, _DAY = 3600, 86400
_STATUS = {SigmaLevel.INFORMATIONAL: "info"}
_PRINCIPAL = "@userIdentity.arn"
#: What means something in an unquoted value: the union of what Datadog's documentation lists in its versions.
_SPECIAL = '+-=&|><!(){}[]^"“”~*?:\\#'


@dataclass(frozen=True)
class Part:
    """What a rule adds to the rule in Datadog: a query, and a case."""

    rule: Rule
    window: int
    query: dict[str, Any]

    @property
    def guide(self) -> Guide | None:
        """The guide of the rule, which names the detection that it belongs to."""
        return self.rule.custom_attributes.get(GUIDE)

    @property
    def condition(self) -> str:
        """What must be true of the number that the query gives."""
        return f">= {least(self.rule)}" if isinstance(self.rule, SigmaCorrelationRule) else "> 0"


class KeywatchDatadogBackend(ArtefactBackend, SlidingWindowBackend):
    """Datadog's log search, and its detection rules."""

    identifier: ClassVar[str] = "keywatch_datadog"
    name: ClassVar[str] = "Datadog Cloud SIEM detection rules, for CloudTrail (keywatch)"
    formats: ClassVar[dict[str, str]] = {
        "rule": "detection rules for POST /api/v2/security_monitoring/rules, one a detection with its cases",
        "terraform": "the same as Terraform's datadog_security_monitoring_rule, in its JSON syntax",
        "default": "the same as rule",
    }
    default_format: ClassVar[str] = "rule"
    files: ClassVar[dict[str, tuple[str, ...]]] = {
        "rule": ("{rule}.json",),
        "terraform": ("terraform/keywatch.tf.json",),
    }
    import_steps: ClassVar[dict[str, str]] = {
        "rule": "POST each file to /api/v2/security_monitoring/rules (docs/datadog.md has the command)",
        "terraform": "put terraform/keywatch.tf.json into a Terraform configuration; terraform init, plan, apply",
    }
    requires_pipeline: ClassVar[bool] = True

    precedence = (ConditionNOT, ConditionAND, ConditionOR)
    parenthesize = True
    group_expression = "({expr})"
    and_token = "AND"
    or_token = "OR"
    not_token = "-"
    eq_token = ":"
    bool_values: ClassVar = {True: "true", False: "false"}
    field_null_expression = "-{field}:*"
    field_exists_expression = "{field}:*"
    field_not_exists_expression = "-{field}:*"
    case_sensitive_match_expression = "{field}:{value}"

    convert_or_as_in = True
    in_expressions_allow_wildcards = True
    field_in_list_expression = "{field}:({list})"
    or_in_operator = ""
    list_separator = " OR "

    correlation_methods: ClassVar[dict[str, str]] = {"sliding": "Datadog's own sliding windows"}
    value_count_correlation_query: ClassVar = {"sliding": "{search}"}
    value_count_aggregation_expression: ClassVar = {"sliding": ""}
    value_count_condition_expression: ClassVar = {"sliding": ""}
    correlation_search_single_rule_expression = "{query}"
    correlation_search_multi_rule_expression = "({queries})"
    correlation_search_multi_rule_query_expression = "({query})"
    correlation_search_multi_rule_query_expression_joiner = " OR "

    def convert_value_str(self, s: SigmaString, state: ConversionState) -> str:
        """Write a value: in quotes, where only two signs mean something, unless it has wildcards.

        :raises SigmaFeatureNotSupportedByBackendError: for an empty text, which Datadog documents no way to look for.
        """
        if not len(s):
            raise SigmaFeatureNotSupportedByBackendError("Datadog can't look for an empty text; use null for no value")
        if not s.contains_special():
            return '"' + "".join(map(str, s.s)).replace("\\", "\\\\").replace('"', '\\"') + '"'
        text = s.convert(add_escaped=_SPECIAL + "".join(filter(str.isspace, str(s))))
        # Inside parentheses a value that begins with an operator's name would be the operator.
        return "\\" + text if text.startswith(("AND", "OR", "NOT")) else text

    def convert_condition_not(self, cond: ConditionNOT, state: ConversionState) -> str:
        """Negate a condition."""
        return f"-({self.convert_condition(cond.args[0], state)})"

    def convert_condition_field_compare_op_val(self, cond: Any, state: ConversionState) -> Any:
        """Refuse < and >.

        :raises SigmaFeatureNotSupportedByBackendError: always: CloudTrail's fields are texts, and Datadog compares
            numbers with numbers only.
        """
        raise SigmaFeatureNotSupportedByBackendError(
            f"field '{cond.field}': Datadog compares only numbers with < and >, and CloudTrail's fields are texts"
        )

    def finalize_query_rule(self, rule: Rule, query: str, index: int, state: ConversionState) -> Part:
        """Return what a rule adds to the rule in Datadog.

        :raises SigmaFeatureNotSupportedByBackendError: for a window that Datadog does not have.
        """
        logs = {"query": f"source:cloudtrail ({query})", "dataSource": "logs"}
        if not isinstance(rule, SigmaCorrelationRule):
            counting: dict[str, Any] = {"aggregation": "count", "distinctFields": [], "groupByFields": [_PRINCIPAL]}
            # No event is left out because nobody is named in it.
            counting["hasOptionalGroupByFields"] = True
            return Part(rule, 300, logs | counting)
        if rule.timespan.seconds not in WINDOWS[1:]:
            raise SigmaFeatureNotSupportedByBackendError(
                f"rule '{rule.title}': Datadog has no window of {rule.timespan.spec}; choose from (seconds): "
                f"{', '.join(map(str, WINDOWS[1:]))}",
                source=rule.source,
            )
        counting = {
            "aggregation": "cardinality",
            "distinctFields": [counted_field(rule)],
            "groupByFields": list(rule.group_by or ()),
            "hasOptionalGroupByFields": False,
        }
        return Part(rule, rule.timespan.seconds, logs | counting)

    finalize_query_default = finalize_query_rule
    finalize_query_terraform = finalize_query_rule

    def grouped(self, queries: dict[str, list[Any]]) -> dict[str, list[Any]]:
        """Put together what is one rule in Datadog: the rules of a detection, as far as they have the same window."""
        groups: dict[str, list[Any]] = {}
        for rule, parts in queries.items():
            for part in parts:
                name = part.guide.detection if part.guide else rule
                if name in groups and groups[name][0].window != part.window:
                    name = f"{name}_{part.window}s"
                groups.setdefault(name, []).append(part)
        return groups

    def finalize_output_rule(self, queries: list[Part]) -> str:
        """Write the rules that queries make in Datadog, one JSON document after the other."""
        groups = self.grouped({part.rule.title: [part] for part in queries}).values()
        return "\n".join(json.dumps(_payload(parts), indent=2, ensure_ascii=False) for parts in groups) + "\n"

    finalize_output_default = finalize_output_rule

    def finalize_output_terraform(self, queries: list[Part]) -> str:
        """Write a Terraform configuration in JSON syntax."""
        resources: dict[str, Any] = {}
        for name, parts in self.grouped({part.rule.title: [part] for part in queries}).items():
            plain = re.sub(r"^(?=\d)|\W", "_", name, flags=re.ASCII)
            resources[plain if plain not in resources else f"{plain}_{len(resources)}"] = _resource(_payload(parts))
        document = {
            "terraform": {"required_providers": {"datadog": {"source": "DataDog/datadog"}}},
            "resource": {"datadog_security_monitoring_rule": resources},
        }
        return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _payload(parts: Sequence[Part]) -> dict[str, Any]:
    """Return the rule as Datadog's API takes it."""
    ordered = sorted(parts, key=lambda part: -level_of(part.rule).value)
    names = dict(zip(ascii_lowercase, ordered, strict=False))
    window = parts[0].window
    return {
        "name": _plain(parts[0].guide.title if parts[0].guide else parts[0].rule.title),
        "type": "log_detection",
        "isEnabled": True,
        "message": _message(ordered),
        "tags": _tags(ordered),
        "hasExtendedTitle": True,
        "queries": [{"name": name} | part.query for name, part in names.items()],
        "cases": [
            {
                "name": _plain(part.rule.title),
                "status": _STATUS.get(level_of(part.rule), level_of(part.rule).name.lower()),
                "condition": f"{name} {part.condition}",
                "notifications": [],
            }
            for name, part in names.items()
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
    return "\n\n".join(["## What happened", *cases, *(f"## {title}\n{text}" for title, text in steps)])


def _plain(text: str) -> str:
    """Return a text in one line that is no template, and notifies nobody."""
    return untemplated(text.replace("@", "(at)"))


def _tags(ordered: Sequence[Part]) -> list[str]:
    tags = ["source:cloudtrail", "security:attack"]
    for part in ordered:
        tags += [f"tactic:{tactic['id']}-{_slug(tactic['name'])}" for tactic in tactics_of(part.rule).values()]
        tags += [f"technique:{name}-{_slug(entry['name'])}" for name, entry in techniques_of(part.rule).items()]
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
