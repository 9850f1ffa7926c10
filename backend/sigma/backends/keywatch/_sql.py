"""What the dialects of SQL share: Sigma's conditions, and statements of queries."""

from __future__ import annotations

from typing import Any, ClassVar

from sigma.backends.keywatch._artefact import ArtefactBackend
from sigma.backends.keywatch._correlation import Rule
from sigma.backends.keywatch._sliding import SlidingWindowBackend
from sigma.conditions import ConditionAND, ConditionFieldEqualsValueExpression, ConditionNOT, ConditionOR
from sigma.conversion.state import ConversionState
from sigma.correlations import SigmaCorrelationRule
from sigma.types import CompareOperators, SigmaString


class SQLBackend(ArtefactBackend, SlidingWindowBackend):
    """Conditions of SQL over fields that are texts."""

    requires_pipeline: ClassVar[bool] = True

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
    field_equals_field_expression = "lower({field1}) = lower({field2})"
    field_null_expression = "{field} IS NULL"
    field_exists_expression = "{field} IS NOT NULL"
    field_not_exists_expression = "{field} IS NULL"

    convert_or_as_in = True
    field_in_list_expression = "lower({field}) {op} ({list})"
    or_in_operator = "IN"
    list_separator = ", "

    def convert_condition_not(self, cond: ConditionNOT, state: ConversionState) -> str:
        """Negate a condition. SQL's third truth value has no place in Sigma: what is not known does not match."""
        return f"NOT coalesce({self.convert_condition(cond.args[0], state)}, false)"

    def convert_condition_field_eq_val_num(
        self, cond: ConditionFieldEqualsValueExpression, state: ConversionState
    ) -> str:
        """Compare a column, which is text, with a number."""
        return f"TRY_CAST({self.escape_and_quote_field(cond.field)} AS DOUBLE) = {cond.value}"

    def finalize_query_sql(self, rule: Rule, query: str, index: int, state: ConversionState) -> str:
        """Make a statement of a query: that of a single event selects its evidence."""
        return f"{query};\n" if isinstance(rule, SigmaCorrelationRule) else self.selection_of_events(rule, query)

    finalize_query_default = finalize_query_sql

    def selection_of_events(self, rule: Rule, condition: str) -> str:
        """Return the statement that selects the evidence of single events."""
        raise NotImplementedError

    def finalize_output_sql(self, queries: list[str]) -> str:
        """Join the statements."""
        return "\n".join(queries)

    finalize_output_default: Any = finalize_output_sql


def literal(text: str) -> str:
    """Quote a string for SQL."""
    return "'" + text.replace("'", "''") + "'"


def lower_literal(text: str) -> str:
    """Quote a string that is compared in lower case: the engine folds letters beyond ASCII itself."""
    return literal(text.lower()) if text.isascii() else f"lower({literal(text)})"


def like_pattern(value: SigmaString) -> str:
    """Return a value as a LIKE pattern, with a backslash as the escape sign."""
    return value.convert(wildcard_multi="%", wildcard_single="_", add_escaped="\\")


def quoted(name: str) -> str:
    """Quote the name of a column."""
    return '"' + name.replace('"', '""') + '"'
