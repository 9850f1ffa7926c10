"""Datadog's log search. Attributes are compared with regard to case: Datadog has no other way."""

from __future__ import annotations

import re
from typing import Any, ClassVar

from sigma.backends.keywatch._artefact import ArtefactBackend
from sigma.backends.keywatch._correlation import Correlation, Rule
from sigma.backends.keywatch._regex import wildcards
from sigma.backends.keywatch._sliding import SlidingWindowBackend
from sigma.backends.keywatch.datadog.part import Part, grouped, part
from sigma.backends.keywatch.datadog.rule import rules_json, terraform_json
from sigma.conditions import ConditionAND, ConditionFieldEqualsValueExpression, ConditionNOT, ConditionOR
from sigma.conversion.state import ConversionState
from sigma.exceptions import SigmaFeatureNotSupportedByBackendError
from sigma.types import SigmaNumber, SigmaString, SpecialChars

#: What means something in an unquoted value: the union of what Datadog's documentation lists in its versions.
_SPECIAL = '+-=&|><!(){}[]^"“”~*?:\\#'

#: All attributes, in place of one.
_EVERYWHERE = "*"
_ANY = SpecialChars.WILDCARD_MULTI
#: A key as JSON has it.
_KEY = re.compile(r'"[^"]+":')


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
        "rule": "POST each file to /api/v2/security_monitoring/rules of your site's API, with your two keys",
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
    field_exists_expression = "{field}:*"
    field_not_exists_expression = "-{field}:*"
    case_sensitive_match_expression = "{field}:{value}"

    convert_or_as_in = True
    in_expressions_allow_wildcards = True
    field_in_list_expression = "{field}:({list})"
    or_in_operator = ""
    list_separator = " OR "

    correlation_methods: ClassVar[dict[str, str]] = {"sliding": "Datadog's own sliding windows"}
    #: Datadog evaluates a rule as logs arrive, over a window that slides ("This is a sliding window and evaluates in
    #: real time", its documentation says), and counts distinct values by itself (`cardinality`): a correlation is its
    #: search, and a window that is among those that Datadog has.
    sliding: ClassVar[dict[str, str]] = dict.fromkeys(
        ["value_count", "event_count", "temporal", "temporal_extended", "temporal_ordered"], "{search}"
    )
    why_no_inner: ClassVar[str] = "its queries find events, and no signals of other rules"
    evidence: ClassVar[str] = ""
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

    def convert_condition_field_eq_val(self, cond: Any, state: ConversionState) -> Any:
        """Compare an attribute with a value, or look for a text in all of them where an object is meant.

        :raises SigmaFeatureNotSupportedByBackendError: for an object of which more is asked: all attributes hold more
            texts than one object, so what is left out by them would be too much.
        """
        negated = ConditionNOT in cond.parent_chain_condition_classes()
        contains = isinstance(cond.value, SigmaString) and cond.value.startswith(_ANY) and cond.value.endswith(_ANY)
        if cond.field == _EVERYWHERE and (negated or not contains):
            raise SigmaFeatureNotSupportedByBackendError(
                "Datadog has no text of a whole object; it can look for a text in all attributes (contains), and not "
                "leave out what has it"
            )
        if cond.field == _EVERYWHERE and _KEY.search(str(cond.value)):
            raise SigmaFeatureNotSupportedByBackendError(
                "Datadog has no text of a whole object, and so none with a key and its value; match the path as a field"
            )
        return super().convert_condition_field_eq_val(cond, state)

    def convert_condition_field_eq_val_num(self, cond: Any, state: ConversionState) -> Any:
        """Compare with a number, whose minus would leave out what follows."""
        return f"{cond.field}:" + str(cond.value).replace("-", "\\-")

    def decide_convert_condition_as_in_expression(
        self, cond: ConditionOR | ConditionAND, state: ConversionState
    ) -> bool:
        """Write a list as one, but for numbers, which are written by themselves."""
        return super().decide_convert_condition_as_in_expression(cond, state) and not any(
            isinstance(getattr(arg, "value", None), SigmaNumber) for arg in cond.args
        )

    def convert_condition_field_eq_val_re(self, cond: Any, state: ConversionState) -> Any:
        """Compare with a regular expression that is a pattern of wildcards.

        :raises SigmaFeatureNotSupportedByBackendError: for any other: Datadog's log search has none.
        """
        pattern = ConditionFieldEqualsValueExpression(cond.field, wildcards(cond.value, cond.field))
        return self.convert_condition_field_eq_val_str_case_sensitive(pattern, state)

    def convert_condition_field_eq_field(self, cond: Any, state: ConversionState) -> Any:
        """Refuse to compare two fields.

        :raises SigmaFeatureNotSupportedByBackendError: always.
        """
        raise SigmaFeatureNotSupportedByBackendError(f"field '{cond.field}': Datadog can't compare two fields")

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
        correlation = Correlation.of(rule)
        if correlation is None or not correlation.over_rules:
            return part(rule, [query])
        of_rules = [reference.rule.get_conversion_result() for reference in correlation.rule.referenced_rules]
        return part(rule, [" OR ".join(f"({query})" for query in queries) for queries in of_rules])

    def search_of_each(self, correlation: Correlation) -> str:
        """Write the search of all events; what a case asks for has a search for each rule."""
        return str(self.convert_correlation_search(correlation.rule))

    finalize_query_default = finalize_query_rule
    finalize_query_terraform = finalize_query_rule

    def artefacts(self, queries: dict[str, list[Any]], output_format: str) -> dict[str, bytes]:
        """Return the files of a format; what is one rule in Datadog is one file."""
        parts = [(name, part) for name, of_rule in queries.items() for part in of_rule]
        return super().artefacts(dict(grouped(parts)), output_format)

    def finalize_output_rule(self, queries: list[Part]) -> str:
        """Write the rules that queries make in Datadog, one JSON document after the other."""
        return rules_json(queries)

    finalize_output_default = finalize_output_rule

    def finalize_output_terraform(self, queries: list[Part]) -> str:
        """Write a Terraform configuration in JSON syntax."""
        return terraform_json(queries)
