"""DuckDB SQL over the table `cloudtrail` that `keywatch hunt` builds (pipeline cloudtrail_raw).

A correlation is a list of named stages: `matched` are the events, `possible` the groups that have enough values at all,
`counted` adds to each of their events the number of distinct values in the window that ends with it, `crossed` are the
windows over the threshold, `alerts` joins those that overlap, and the last SELECT gathers what lies in them, with
list_distinct: DuckDB 2 plans each aggregate with DISTINCT as a query of its own, which takes longer than to run it.
"""

from __future__ import annotations

from typing import Any, ClassVar

from sigma.backends.keywatch._artefact import ArtefactBackend
from sigma.backends.keywatch._sliding import SlidingWindowBackend
from sigma.conditions import ConditionAND, ConditionFieldEqualsValueExpression, ConditionNOT, ConditionOR
from sigma.conversion.state import ConversionState
from sigma.correlations import SigmaCorrelationRule, SigmaCorrelationTypeLiteral
from sigma.rule import SigmaRule
from sigma.types import CompareOperators, SigmaCasedString, SigmaString


def literal(text: str) -> str:
    """Quote a string for SQL."""
    return "'" + text.replace("'", "''") + "'"


#: Windows of the same keys that overlap get the same number.
_OVERLAPPING = """opened AS (
    SELECT {keys}, "eventTime", value_count,
        "eventTime" - INTERVAL {window} SECONDS > lag("eventTime") OVER (
            PARTITION BY {keys} ORDER BY "eventTime"
        ) AS opens
    FROM crossed
), numbered AS (
    SELECT *, count(*) FILTER (opens) OVER (
        PARTITION BY {keys} ORDER BY "eventTime" RANGE UNBOUNDED PRECEDING
    ) AS alert_number
    FROM opened
)"""


class KeywatchDuckDBBackend(ArtefactBackend, SlidingWindowBackend):
    """SQL for DuckDB."""

    identifier: ClassVar[str] = "keywatch_duckdb"
    name: ClassVar[str] = "DuckDB SQL over CloudTrail records (keywatch)"
    formats: ClassVar[dict[str, str]] = {
        "sql": "a SELECT over the table cloudtrail; `keywatch hunt` runs it",
        "default": "the same as sql",
    }
    default_format: ClassVar[str] = "sql"
    files: ClassVar[dict[str, tuple[str, ...]]] = {"sql": ("{rule}.sql",)}
    import_steps: ClassVar[dict[str, str]] = {
        "sql": "nothing to import: `keywatch hunt PATH…` (make hunt LOGS=PATH…) builds the table and runs these queries"
    }
    requires_pipeline: ClassVar[bool] = True

    precedence = (ConditionNOT, ConditionAND, ConditionOR)
    group_expression = "({expr})"
    and_token = "AND"
    or_token = "OR"
    not_token = "NOT"
    eq_token = " = "
    bool_values: ClassVar = {True: "'true'", False: "'false'"}

    field_quote = '"'
    field_escape = '"'

    # Sigma compares without regard to case.
    eq_expression = "lower({field}) = {value}"
    wildcard_match_expression = "{field} ILIKE {value} ESCAPE '\\'"
    case_sensitive_match_expression = "{field} LIKE {value} ESCAPE '\\'"
    re_expression = "regexp_matches({field}, '{regex}')"
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

    correlation_methods: ClassVar[dict[str, str]] = {"sliding": "Exact sliding windows (RANGE BETWEEN … PRECEDING)"}
    value_count_correlation_query: ClassVar = {"sliding": "{search},\n{aggregate},\n{condition},"}
    correlation_search_single_rule_expression = "WITH matched AS (\n    SELECT * FROM cloudtrail\n    WHERE {query}\n)"
    correlation_search_multi_rule_expression = "WITH matched AS (\n    SELECT * FROM cloudtrail\n    WHERE {queries}\n)"
    correlation_search_multi_rule_query_expression = "({query})"
    correlation_search_multi_rule_query_expression_joiner = "\n       OR "
    correlation_fields_field_expression: ClassVar = {
        "sliding": ",\n    list_sort(list_distinct(list({field}) FILTER ({field} <> ''))) AS {field}"
    }
    correlation_fields_field_expression_joiner: ClassVar = {"sliding": ""}

    value_count_aggregation_expression: ClassVar = {
        "sliding": """possible AS (
    SELECT {groupby} FROM matched GROUP BY {groupby} HAVING count(DISTINCT {field}) >= {least}
),
counted AS MATERIALIZED (
    SELECT *, count(DISTINCT {field}) OVER (
        PARTITION BY {groupby} ORDER BY "eventTime"
        RANGE BETWEEN INTERVAL {window} SECONDS PRECEDING AND CURRENT ROW
    ) AS value_count
    FROM matched JOIN possible USING ({groupby})
    WHERE {present}
)"""
    }
    #: How many values a group needs in all for an alert.
    least: ClassVar[str] = "{count}"
    value_count_condition_expression: ClassVar = {
        "sliding": "crossed AS (\n    SELECT * FROM counted WHERE value_count {op} {count}\n)"
    }
    #: A hunt goes through months, where one principal can raise several alerts: so a phase after the condition joins
    #: windows that overlap, and gathers what lies in them.
    alert_expression: ClassVar[str] = (
        _OVERLAPPING.replace("{keys}", "{groupby}")
        + """, alerts AS (
    SELECT {groupby}, max(value_count) AS most_values,
        min("eventTime") - INTERVAL {window} SECONDS AS window_start, max("eventTime") AS window_end
    FROM numbered GROUP BY {groupby}, alert_number
)
SELECT {groupby}, most_values AS value_count,
    list_sort(list_distinct(list({field}))) AS {field},
    min("eventTime") AS first_seen, max("eventTime") AS last_seen, count(*) AS event_count{fields}
FROM alerts JOIN counted USING ({groupby})
WHERE "eventTime" BETWEEN window_start AND window_end
GROUP BY {groupby}, most_values, window_start
ORDER BY first_seen, {groupby}"""
    )

    def sliding_variables(self, rule: SigmaCorrelationRule) -> dict[str, str]:
        """Add `least`, and `present`: the condition that the group's fields and the counted field have a value."""
        variables = super().sliding_variables(rule)
        names = [*(self.escape_and_quote_field(name) for name in rule.group_by or ()), variables["field"]]
        present = " AND ".join(f"{name} <> ''" for name in names)
        return variables | {"present": present, "least": self.least.format(**variables)}

    def convert_correlation_rule_from_template(
        self, rule: SigmaCorrelationRule, correlation_type: SigmaCorrelationTypeLiteral, method: str
    ) -> list[str]:
        """Convert a correlation and add the alert phase."""
        alert = self.alert_expression.format(**self.sliding_variables(rule))
        queries = super().convert_correlation_rule_from_template(rule, correlation_type, method)
        return [f"{query}\n{alert}" for query in queries]

    def convert_value_str(self, s: SigmaString, state: ConversionState) -> str:
        """Return an SQL literal: a LIKE pattern where the value has wildcards, lower case unless the case matters."""
        if s.contains_special() or isinstance(s, SigmaCasedString):
            return literal(like_pattern(s))
        text = "".join(str(part) for part in s.s)
        return literal(text.lower()) if text.isascii() else f"lower({literal(text)})"

    def convert_condition_not(self, cond: ConditionNOT, state: ConversionState) -> str:
        """Negate a condition. SQL's third truth value has no place in Sigma: what is not known does not match."""
        return f"NOT coalesce({self.convert_condition(cond.args[0], state)}, false)"

    def convert_condition_field_eq_val_num(
        self, cond: ConditionFieldEqualsValueExpression, state: ConversionState
    ) -> str:
        """Compare a column, which is text, with a number."""
        return f"TRY_CAST({self.escape_and_quote_field(cond.field)} AS DOUBLE) = {cond.value}"

    def finalize_query_sql(self, rule: SigmaRule | SigmaCorrelationRule, query: str, index: int, state: Any) -> str:
        """Make a statement of a query: that of a single event selects its evidence."""
        if isinstance(rule, SigmaCorrelationRule):
            return f"{query};\n"
        columns = dict.fromkeys(["eventTime", "eventID", *rule.fields])
        names = ", ".join(self.escape_and_quote_field(name) for name in columns)
        return f'SELECT {names}\nFROM cloudtrail\nWHERE {query}\nORDER BY "eventTime", "eventID";\n'

    finalize_query_default = finalize_query_sql

    def finalize_output_sql(self, queries: list[str]) -> str:
        """Join the statements."""
        return "\n".join(queries)

    finalize_output_default = finalize_output_sql


class KeywatchGridBackend(KeywatchDuckDBBackend):
    """SQL that tells when a correlation would have alerted at each threshold of the table `thresholds`."""

    identifier: ClassVar[str] = "keywatch_grid"
    least: ClassVar[str] = "(SELECT min(threshold) FROM thresholds)"
    value_count_condition_expression: ClassVar = {
        "sliding": "crossed AS (\n    SELECT * FROM counted JOIN thresholds ON value_count >= threshold\n)"
    }
    alert_expression: ClassVar[str] = (
        _OVERLAPPING.replace("{keys}", "{groupby}, threshold")
        + """
SELECT threshold, concat_ws(' ', {groupby}) AS principal, min("eventTime") AS first_crossed
FROM numbered GROUP BY {groupby}, threshold, alert_number
ORDER BY threshold, first_crossed, principal"""
    )


def like_pattern(value: SigmaString) -> str:
    """Return a value as a LIKE pattern, with a backslash as the escape sign."""
    return value.convert(wildcard_multi="%", wildcard_single="_", add_escaped="\\")
