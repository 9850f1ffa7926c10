r"""Athena (Trino SQL) over the table that AWS documents for CloudTrail, and CloudTrail Lake, which has another schema.

Trino has no DISTINCT in windows, so the distinct values in a window are counted as a sum that runs through time: a
value counts from its first event to a window after its last, or without a break when it is seen again before.
Beginnings come before ends of the same second, so both ends of a window are in. Exact, and sorted once.

The stages: `matched` are the events, under CloudTrail's names; `present` adds when each value was seen before and
after; `steps` are the beginnings and ends; `counted` is the running sum; `crossed` marks where it reaches the
threshold; `alerts` are the spans over it; the last SELECT gathers what lies in them.
"""

from __future__ import annotations

from functools import cache
from typing import Any, ClassVar

import sigma.pipelines.keywatch.athena
import sigma.pipelines.keywatch.lake
from sigma.backends.keywatch._sliding import Rule, counted_field, evidence_fields, least
from sigma.backends.keywatch.duckdb import KeywatchDuckDBBackend, like_pattern, literal
from sigma.conversion.state import ConversionState
from sigma.correlations import SigmaCorrelationRule
from sigma.pipelines.keywatch._cloudtrail import field_table
from sigma.types import SigmaCasedString, SigmaString


class KeywatchAthenaBackend(KeywatchDuckDBBackend):
    """SQL for Athena: conditions as in DuckDB's SQL, windows without DISTINCT."""

    identifier: ClassVar[str] = "keywatch_athena"
    name: ClassVar[str] = "Athena SQL over AWS's CloudTrail table (keywatch)"
    formats: ClassVar[dict[str, str]] = {
        "sql": "a query with two parameters: the first and the last day, as '2026/11/20'",
        "default": "the same as sql",
    }
    import_steps: ClassVar[dict[str, str]] = {
        "sql": "paste a file into Athena's query editor, the first and the last day as parameters (docs/athena.md)"
    }

    # Field names are expressions already.
    field_quote = None
    field_escape = None
    wildcard_match_expression = "lower({field}) LIKE {value} ESCAPE '\\'"
    re_expression = "regexp_like({field}, '{regex}')"

    correlation_methods: ClassVar[dict[str, str]] = {"sliding": "Exact sliding windows, as a running sum"}
    correlation_search_single_rule_expression = "{query}"
    correlation_search_multi_rule_expression = "{queries}"
    correlation_fields_field_expression: ClassVar = {
        "sliding": ",\n    array_sort(array_agg(DISTINCT {field}) FILTER (WHERE {field} <> '')) AS {field}"
    }
    value_count_aggregation_expression: ClassVar = {
        "sliding": """present AS (
    SELECT *,
        lag("time") OVER (PARTITION BY {groupby}, {field} ORDER BY "time") AS before,
        lead("time") OVER (PARTITION BY {groupby}, {field} ORDER BY "time") AS after
    FROM matched
    WHERE {present}
), steps AS (
    SELECT {groupby}, "time" AS at, 1 AS step FROM present
    WHERE before IS NULL OR before < "time" - {window}
    UNION ALL
    SELECT {groupby}, "time" + {window} AS at, -1 AS step FROM present
    WHERE after IS NULL OR after > "time" + {window}
), counted AS (
    SELECT *, sum(step) OVER (
        PARTITION BY {groupby} ORDER BY at, step DESC ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
    ) AS value_count
    FROM steps
)"""
    }
    value_count_correlation_query: ClassVar = {"sliding": "{search},\n{aggregate},"}
    #: The threshold, and the spans of time over it.
    alert_expression: ClassVar[str] = """crossed AS (
    SELECT *, CASE WHEN step = 1 AND value_count = {count} THEN 1 ELSE 0 END AS opens
    FROM counted
    WHERE value_count >= {count} OR step = -1 AND value_count = {count} - 1
), numbered AS (
    SELECT *, sum(opens) OVER (
        PARTITION BY {groupby} ORDER BY at, step DESC ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
    ) AS alert_number
    FROM crossed
), alerts AS (
    SELECT {groupby}, max(value_count) AS most_values, min(at) - {window} AS window_start, max(at) AS window_end
    FROM numbered GROUP BY {groupby}, alert_number
)
SELECT {groupby}, most_values AS value_count,
    array_sort(array_agg(DISTINCT {field})) AS {field},
    from_unixtime(min("time")) AS first_seen, from_unixtime(max("time")) AS last_seen, count(*) AS event_count{fields}
FROM alerts JOIN present USING ({groupby})
WHERE "time" BETWEEN window_start AND window_end
GROUP BY {groupby}, most_values, window_start
ORDER BY first_seen, {groupby}"""

    #: The first stage, and the whole query of a single event: {columns} is the evidence under CloudTrail's names.
    selection: ClassVar[str] = """\
    SELECT CAST(to_unixtime(from_iso8601_timestamp(eventtime)) AS bigint) AS "time"{columns}
    FROM {table}
    WHERE "timestamp" BETWEEN ? AND ?
        AND ({condition})"""
    #: Column of the field table.
    schema: ClassVar[str] = "table"

    def sliding_variables(self, rule: SigmaCorrelationRule) -> dict[str, str]:
        """Return the variables of the stages after `matched`, where fields have CloudTrail's names."""
        field, groupby = self._column(counted_field(rule)), [self._column(name) for name in rule.group_by or ()]
        gathered = self.correlation_fields_field_expression["sliding"]
        return {
            "field": field,
            "groupby": ", ".join(groupby),
            "fields": "".join(gathered.format(field=self._column(name)) for name in evidence_fields(rule)),
            "window": str(rule.timespan.seconds),
            "count": str(least(rule)),
            "present": " AND ".join(f"{name} <> ''" for name in [*groupby, field]),
        }

    def convert_correlation_search(self, rule: SigmaCorrelationRule, **kwargs: Any) -> str:
        """Make the first stage of the conditions of the rules referred to."""
        condition = super().convert_correlation_search(rule, **kwargs)
        names = [*(rule.group_by or ()), counted_field(rule), *evidence_fields(rule)]
        return f"WITH matched AS (\n{self._selected(names, condition)}\n)"

    def convert_value_str(self, s: SigmaString, state: ConversionState) -> str:
        """Return an SQL literal, in lower case unless the case matters."""
        text = like_pattern(s) if s.contains_special() or isinstance(s, SigmaCasedString) else "".join(map(str, s.s))
        if isinstance(s, SigmaCasedString):
            return literal(text)
        return literal(text.lower()) if text.isascii() else f"lower({literal(text)})"

    def finalize_query_sql(self, rule: Rule, query: str, index: int, state: Any) -> str:
        """Make a statement of a query: that of a single event selects its evidence."""
        if isinstance(rule, SigmaCorrelationRule):
            return f"{query};\n"
        selected = self._selected(["eventid", *rule.fields], query)
        return f'{selected}\nORDER BY "time", "eventID";\n'

    finalize_query_default = finalize_query_sql

    def _selected(self, names: list[str], condition: str) -> str:
        columns = "".join(f",\n        {name} AS {self._column(name)}" for name in dict.fromkeys(names))
        table = self.last_processing_pipeline.state.get("table", "")
        return self.selection.format(columns=columns, table=table, condition=condition)

    def _column(self, expression: str) -> str:
        """Return the name that a field has after the first stage: CloudTrail's, quoted."""
        return '"' + _names(self.schema).get(expression, expression).replace('"', '""') + '"'


class KeywatchLakeBackend(KeywatchAthenaBackend):
    """SQL for CloudTrail Lake: the same query over an event data store."""

    identifier: ClassVar[str] = "keywatch_lake"
    name: ClassVar[str] = "CloudTrail Lake SQL (keywatch)"
    formats: ClassVar[dict[str, str]] = {
        "sql-lake": "a query over an event data store; $EDS_ID, $FROM and $TO are to be filled in",
        "sql": "the same as sql-lake",
    }
    default_format: ClassVar[str] = "sql-lake"
    files: ClassVar[dict[str, tuple[str, ...]]] = {"sql-lake": ("{rule}.lake.sql",)}
    import_steps: ClassVar[dict[str, str]] = {
        "sql-lake": "fill in $EDS_ID, $FROM and $TO, and run a file in CloudTrail's Lake > Query (docs/athena.md)"
    }
    # AWS's own sample queries have $EDS_ID in this place. Lake has no parameters, and no INTERVAL.
    selection: ClassVar[str] = """\
    SELECT CAST(to_unixtime(eventtime) AS bigint) AS "time"{columns}
    FROM $EDS_ID
    WHERE eventtime BETWEEN TIMESTAMP '$FROM' AND TIMESTAMP '$TO'
        AND ({condition})"""
    schema: ClassVar[str] = "lake"

    # pySigma looks for methods by the format's name, which has a sign that no method can have.
    def finalize_query(self, rule: Rule, query: Any, index: int, state: ConversionState, output_format: str) -> Any:
        """Make a statement of a query."""
        return super().finalize_query(rule, query, index, state, "sql")

    def finalize(self, queries: list[Any], output_format: str) -> Any:
        """Join the statements."""
        return super().finalize(queries, "sql")


@cache
def _names(schema: str) -> dict[str, str]:
    """Return expression → CloudTrail field."""
    table = field_table(sigma.pipelines.keywatch.athena.__file__)
    table |= field_table(sigma.pipelines.keywatch.lake.__file__) if schema == "lake" else {}
    return {str(expression): str(name) for name, expression in table.items()}
