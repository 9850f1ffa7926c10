"""KQL over the table AWSCloudTrail.

Kusto's strings have no null: what is missing is an empty text. Its operators ignore the case of ASCII letters only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, cast

from sigma.backends.keywatch._artefact import ArtefactBackend
from sigma.backends.keywatch._correlation import Correlation, Rule
from sigma.backends.keywatch._regex import re2
from sigma.backends.keywatch._repairs import instead
from sigma.backends.keywatch.sentinel.elements import of_key, of_list, texts
from sigma.backends.keywatch.sentinel.rule import (
    ADDRESS,
    analytics_rule,
    arm_template,
    has_address,
    limited,
    no_expressions,
    repository_yaml,
)
from sigma.backends.keywatch.sentinel.sliding import SentinelSliding, column, is_expression
from sigma.backends.keywatch.sentinel.values import comparison, literal
from sigma.conditions import ConditionAND, ConditionFieldEqualsValueExpression, ConditionNOT, ConditionOR
from sigma.conversion.state import ConversionState
from sigma.exceptions import SigmaFeatureNotSupportedByBackendError
from sigma.pipelines.keywatch._fields import ELEMENTS
from sigma.types import (
    CompareOperators,
    SigmaBool,
    SigmaCompareExpression,
    SigmaExists,
    SigmaFieldReference,
    SigmaNumber,
    SigmaRegularExpression,
    SigmaString,
)

#: Values that an element of a list is compared with; of others a list is none.
_OF_ELEMENTS = (SigmaString, SigmaNumber, SigmaBool, SigmaRegularExpression)
_EVENT, _ARN = "AwsEventId", "UserIdentityArn"
#: What lies at a path and is no value.
_NOTHING = r'''"", "[]", "[null]", "[\"\"]", "{}"'''


class KeywatchSentinelBackend(ArtefactBackend, SentinelSliding):
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
        "arm": "Sentinel > Analytics > Import: all.arm.json",
        "yaml": "for Azure/Azure-Sentinel, and for tools that deploy its rules",
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
    field_equals_field_startswith_expression = "(isnotempty({field2}) and {field1} startswith {field2})"
    field_equals_field_endswith_expression = "(isnotempty({field2}) and {field1} endswith {field2})"
    field_exists_expression = "isnotempty({field})"
    field_not_exists_expression = "isempty({field})"
    convert_or_as_in = True
    field_in_list_expression = "{field} {op} ({list})"
    or_in_operator = "in~"
    list_separator = ", "

    correlation_methods: ClassVar[dict[str, str]] = {"sliding": "Exact sliding windows, as a running sum"}
    correlation_search_single_rule_expression = "AWSCloudTrail\n| where {query}"
    correlation_search_multi_rule_expression = "AWSCloudTrail\n| where {queries}"
    correlation_search_multi_rule_query_expression = "({query})"
    correlation_search_multi_rule_query_expression_joiner = "\n    or "

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
        return comparison(cond.field, cast(SigmaString, cond.value))

    convert_condition_field_eq_val_str_case_sensitive = convert_condition_field_eq_val_str

    def decide_convert_condition_as_in_expression(
        self, cond: ConditionOR | ConditionAND, state: ConversionState
    ) -> bool:
        """Write a list as in~, but for values that it does not compare as is meant."""
        return super().decide_convert_condition_as_in_expression(cond, state) and all(
            isinstance(arg, ConditionFieldEqualsValueExpression)
            and isinstance(arg.value, SigmaString)
            and str(arg.value).isascii()
            and len(arg.value) > 0
            and not arg.field.startswith(ELEMENTS)
            for arg in cond.args
        )

    def escape_and_quote_field(self, field_name: str) -> str:
        """Return a column, or the text of what lies in one that is JSON."""
        return texts(field_name.removeprefix(ELEMENTS))[0] if field_name.startswith(ELEMENTS) else field_name

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
        """Compare with a regular expression.

        :raises SigmaFeatureNotSupportedByBackendError: for what RE2 can't say, which is Kusto's dialect.
        """
        return f"{cond.field} matches regex {literal(re2(cond.value, cond.field))}"

    def convert_condition_field_eq_val(self, cond: ConditionFieldEqualsValueExpression, state: ConversionState) -> Any:
        """Compare a field with a value: a column, or what lies in a column that is JSON, and may be a list.

        :raises SigmaFeatureNotSupportedByBackendError: for a comparison that can't be made with each element of a list.
        """
        value = cond.value
        if not cond.field.startswith(ELEMENTS):
            return super().convert_condition_field_eq_val(cond, state)
        if isinstance(value, SigmaCompareExpression | SigmaFieldReference):
            kind = "another field" if isinstance(value, SigmaFieldReference) else "a number by size"
            raise SigmaFeatureNotSupportedByBackendError(
                f"field '{cond.field}': KQL can't compare each element of a list, which may stand there, with {kind}"
            )
        if isinstance(value, SigmaExists) and not value:
            return f"not({self.convert_condition_field_eq_val(instead(cond, cond.field, SigmaExists(True)), state)})"
        text, ways = texts(cond.field.removeprefix(ELEMENTS))
        alternatives = [
            f"{text} !in ({_NOTHING})"
            if isinstance(value, SigmaExists)
            else super().convert_condition_field_eq_val(instead(cond, text, value), state)
        ]
        if isinstance(value, _OF_ELEMENTS):
            alternatives.append(f'{text} startswith "[" and {text} matches regex {literal(of_list(value, cond.field))}')
        if isinstance(value, (*_OF_ELEMENTS, SigmaExists)):
            alternatives += [
                f'{way} startswith "[" and {way} matches regex {literal(of_key(key, value, cond.field))}'
                for way, key in ways
            ]
        return "(" + " or ".join(f"({alternative})" for alternative in alternatives) + ")"

    def finalize_query_kql(self, rule: Rule, query: str, index: int, state: ConversionState) -> str:
        """Return the query; `Principal` and `IPAddress` are what alerts are named and gathered by.

        :raises SigmaFeatureNotSupportedByBackendError: for one that is longer than Sentinel takes.
        """
        correlation = Correlation.of(rule)
        if correlation is not None:
            # An alert needs a time, and entities that are texts.
            last = f"TimeGenerated = last_seen, Principal = {_joined(self.group_columns(correlation))}"
            if has_address(rule):
                last += f", IPAddress = tostring({ADDRESS}[0])"
            query = f"{query}\n| extend {last}"
        else:
            columns = dict.fromkeys([_EVENT, _ARN, ADDRESS, *rule.fields])
            shown = ", ".join(
                f"{column(rule, name)} = {self.escape_and_quote_field(name)}" if is_expression(name) else name
                for name in columns
            )
            named = f"Principal = coalesce({_ARN}, {_EVENT}), IPAddress = {ADDRESS}"
            query = f"AWSCloudTrail\n| where {query}\n| project TimeGenerated, {shown}, {named}"
        return limited(rule, query)

    finalize_query_default = finalize_query_kql

    def finalize_output_kql(self, queries: list[str]) -> str:
        """Put an empty line between queries."""
        return "\n\n".join(queries) + "\n"

    finalize_output_default = finalize_output_kql

    def finalize_query_yaml(self, rule: Rule, query: str, index: int, state: ConversionState) -> dict[str, Any]:
        """Return an analytics rule.

        :raises SigmaFeatureNotSupportedByBackendError: for what Sentinel has no rule for.
        """
        return analytics_rule(self.detection(rule, query), self.finalize_query_kql(rule, query, index, state))

    def finalize_query_arm(self, rule: Rule, query: str, index: int, state: ConversionState) -> dict[str, Any]:
        """Return an analytics rule without what ARM would evaluate.

        :raises SigmaFeatureNotSupportedByBackendError: for what Sentinel has no rule for.
        """
        made: dict[str, Any] = no_expressions(self.finalize_query_yaml(rule, query, index, state))
        return made

    def finalize_output_arm(self, queries: list[dict[str, Any]]) -> str:
        """Write an ARM template of the form that the portal exports and imports."""
        return arm_template(queries)

    def finalize_output_yaml(self, queries: list[dict[str, Any]]) -> str:
        """Write rules in the form of the repository Azure-Sentinel."""
        return repository_yaml(queries)


def _joined(group: Sequence[str]) -> str:
    return group[0] if len(group) == 1 else f'strcat_delim(" ", {", ".join(group)})'
