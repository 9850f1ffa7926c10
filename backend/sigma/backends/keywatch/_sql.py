"""What the dialects of SQL share: Sigma's conditions, and statements of queries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, ClassVar, cast

from sigma.backends.keywatch._artefact import ArtefactBackend
from sigma.backends.keywatch._correlation import Correlation, Rule
from sigma.backends.keywatch._nested import NestedSQL, aliases_of
from sigma.backends.keywatch._repairs import instead
from sigma.conditions import ConditionAND, ConditionFieldEqualsValueExpression, ConditionNOT, ConditionOR
from sigma.conversion.state import ConversionState
from sigma.correlations import SigmaCorrelationRule
from sigma.pipelines.keywatch._fields import ELEMENTS
from sigma.types import (
    CompareOperators,
    SigmaExists,
    SigmaFieldReference,
    SigmaNumber,
    SigmaString,
    SigmaType,
)

#: Where a converted rule of single events carries its condition.
_CONDITION = "keywatch_condition"


def condition_of(rule: Rule) -> str:
    """Return the condition of a converted rule of single events, be it an alert by itself or part of a correlation."""
    if _CONDITION not in rule.custom_attributes:
        [rule.custom_attributes[_CONDITION]] = rule.get_conversion_result()
    return str(rule.custom_attributes[_CONDITION])


class SQLBackend(ArtefactBackend, NestedSQL):
    """Conditions of SQL over fields that are texts."""

    requires_pipeline: ClassVar[bool] = True
    ungrouped: ClassVar[bool] = True
    aliased: ClassVar[bool] = True
    combined: ClassVar[bool] = True
    correlation_search_single_rule_expression = "{query}"
    correlation_search_multi_rule_expression = "{queries}"
    correlation_search_multi_rule_query_expression = "({query})"
    correlation_search_multi_rule_query_expression_joiner = "\n       OR "

    precedence = (ConditionNOT, ConditionAND, ConditionOR)
    group_expression = "({expr})"
    and_token = "AND"
    or_token = "OR"
    not_token = "NOT"
    eq_token = " = "
    bool_values: ClassVar = {True: "'true'", False: "'false'"}

    # Sigma compares without regard to case.
    eq_expression = "lower({field}) = {value}"
    case_sensitive_match_expression = "{field} LIKE {value} ESCAPE '\\'"
    re_escape = ("'",)
    re_escape_char = "'"
    re_escape_escape_char = False
    compare_op_expression = "TRY_CAST({field} AS DOUBLE) {operator} {value}"
    compare_operators: ClassVar = {
        CompareOperators.LT: "<",
        CompareOperators.LTE: "<=",
        CompareOperators.GT: ">",
        CompareOperators.GTE: ">=",
    }
    # An empty text is no value.
    field_equals_field_expression = "({field1} <> '' AND lower({field1}) = lower({field2}))"
    field_equals_field_startswith_expression = "({field2} <> '' AND starts_with(lower({field1}), lower({field2})))"
    field_equals_field_endswith_expression = (
        "({field2} <> '' AND substr(lower({field1}), -length({field2})) = lower({field2}))"
    )
    field_exists_expression = "{field} <> ''"
    field_not_exists_expression = "coalesce({field}, '') = ''"

    convert_or_as_in = True
    field_in_list_expression = "lower({field}) {op} ({list})"
    or_in_operator = "IN"
    list_separator = ", "

    #: The list of what a field holds, and the condition that one element of a list meets.
    elements_expression: ClassVar[str]
    any_element_expression: ClassVar[str]

    def convert_condition_field_eq_val(self, cond: ConditionFieldEqualsValueExpression, state: ConversionState) -> Any:
        """Compare a field, or one element of what may be a list, with a value."""
        if isinstance(cond.value, SigmaExists) and not cond.value and cond.field.startswith(ELEMENTS):
            has_value = instead(cond, cond.field, SigmaExists(True))
            return self.convert_condition_not(ConditionNOT([has_value]), state)
        if isinstance(cond.value, SigmaFieldReference) and cond.value.field.startswith(ELEMENTS):
            other = instead(cond, cond.field, replace(cond.value, field="other"))
            return self._any("other", cond.value.field, self.convert_condition_field_eq_val(other, state))
        if cond.field.startswith(ELEMENTS):
            element = instead(cond, "element", cond.value)
            return self._any("element", cond.field, super().convert_condition_field_eq_val(element, state))
        return super().convert_condition_field_eq_val(cond, state)

    def convert_condition_as_in_expression(self, cond: ConditionOR | ConditionAND, state: ConversionState) -> Any:
        """Compare a field, or one element of what may be a list, with a list of values."""
        args = cast(list[ConditionFieldEqualsValueExpression], cond.args)  # pySigma asks for nothing else
        field = args[0].field
        name = "element" if field.startswith(ELEMENTS) else field
        texts = type(cond)([instead(arg, name, _as_text(arg.value)) for arg in args])
        condition = super().convert_condition_as_in_expression(texts, state)
        return condition if name == field else self._any(name, field, condition)

    def _any(self, name: str, field: str, condition: Any) -> str:
        elements = self.elements_expression.format(field=self.escape_and_quote_field(field))
        return self.any_element_expression.format(elements=elements, name=name, condition=condition)

    def escape_and_quote_field(self, field_name: str) -> str:
        """Return the name of a field, whether it may be a list or not."""
        return field_name.removeprefix(ELEMENTS)

    def convert_condition_not(self, cond: ConditionNOT, state: ConversionState) -> str:
        """Negate a condition. SQL's third truth value has no place in Sigma: what is not known does not match."""
        return f"NOT coalesce({self.convert_condition(cond.args[0], state)}, false)"

    def convert_condition_field_eq_val_num(
        self, cond: ConditionFieldEqualsValueExpression, state: ConversionState
    ) -> str:
        """Compare a column, which is text, with a number as it is written."""
        return str(self.convert_condition_field_eq_val_str(instead(cond, cond.field, _as_text(cond.value)), state))

    def convert_correlation_search(self, rule: SigmaCorrelationRule, **kwargs: Any) -> str:
        """Write the SELECT of the events of a correlation, each once."""
        return self.selected(rule, Correlation.of(rule), super().convert_correlation_search(rule, **kwargs))

    def search_of_each(self, correlation: Correlation) -> str:
        """Write the SELECT of the events that each rule matches, tagged with its name."""
        if correlation.inner:
            return self.search_of_completions(correlation)
        rule = correlation.rule
        tagged = self.tagged([(name, query) for name, query, _ in self.searches(rule)])
        aliases = aliases_of(correlation, self.escape_and_quote_field)
        return self.selected(rule, correlation, '"rule" IS NOT NULL', tagged, aliases)

    def selected(
        self,
        rule: Rule,
        correlation: Correlation | None,
        condition: str,
        source: str | None = None,
        aliases: Mapping[str, str] = MappingProxyType({}),
    ) -> str:
        """Write the SELECT of the events that meet a condition.

        :param source: where the events are, if it is not the table.
        :param aliases: name → expression of what only this rule calls so.
        """
        raise NotImplementedError

    def finalize_query_sql(self, rule: Rule, query: str, index: int, state: ConversionState) -> str:
        """Make a statement of a query: that of a single event selects its evidence."""
        if isinstance(rule, SigmaCorrelationRule):
            return f"{query};\n"
        rule.custom_attributes[_CONDITION] = query
        return self.selection_of_events(rule, query)

    finalize_query_default = finalize_query_sql

    def selection_of_events(self, rule: Rule, condition: str) -> str:
        """Return the statement that selects the evidence of single events."""
        raise NotImplementedError

    def finalize_output_sql(self, queries: list[str]) -> str:
        """Join the statements."""
        return "\n".join(queries)

    finalize_output_default: Any = finalize_output_sql


def _as_text(value: SigmaType) -> SigmaType:
    """Return a number as the text that stands in a record, any other value as it is."""
    return SigmaString(str(value)) if isinstance(value, SigmaNumber) else value
