"""DuckDB SQL over the table `cloudtrail` that `keywatch hunt` builds (pipeline cloudtrail_duckdb)."""

from __future__ import annotations

from typing import ClassVar

from sigma.backends.keywatch._correlation import Rule
from sigma.backends.keywatch._sql import SQLBackend, like_pattern, literal, lower_literal
from sigma.backends.keywatch.duckdb.sliding import DuckDBSliding, GridSliding
from sigma.conversion.state import ConversionState
from sigma.types import SigmaCasedString, SigmaString


class KeywatchDuckDBBackend(DuckDBSliding, SQLBackend):
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

    field_quote = '"'
    field_escape = '"'
    wildcard_match_expression = "{field} ILIKE {value} ESCAPE '\\'"
    re_expression = "regexp_matches({field}, '{regex}')"

    elements_expression = (
        "CASE WHEN json_valid({field}) AND {field} LIKE '[%' "
        """THEN from_json({field}, '["VARCHAR"]') ELSE [{field}] END"""
    )
    any_element_expression = "coalesce(list_bool_or([{condition} FOR {name} IN {elements}]), false)"

    correlation_methods: ClassVar[dict[str, str]] = {"sliding": "Exact sliding windows (RANGE BETWEEN … PRECEDING)"}
    correlation_search_single_rule_expression = "WITH matched AS (\n    SELECT * FROM cloudtrail\n    WHERE {query}\n)"
    correlation_search_multi_rule_expression = "WITH matched AS (\n    SELECT * FROM cloudtrail\n    WHERE {queries}\n)"
    correlation_search_multi_rule_query_expression = "({query})"
    correlation_search_multi_rule_query_expression_joiner = "\n       OR "

    def convert_value_str(self, s: SigmaString, state: ConversionState) -> str:
        """Return an SQL literal: a LIKE pattern where the value has wildcards, lower case unless the case matters."""
        if s.contains_special() or isinstance(s, SigmaCasedString):
            return literal(like_pattern(s))
        return lower_literal("".join(map(str, s.s)))

    def selection_of_events(self, rule: Rule, condition: str) -> str:
        """Return the statement that selects the evidence of single events."""
        columns = dict.fromkeys(["eventTime", "eventID", *rule.fields])
        names = ", ".join(self.escape_and_quote_field(name) for name in columns)
        return f'SELECT {names}\nFROM cloudtrail\nWHERE {condition}\nORDER BY "eventTime", "eventID";\n'


class KeywatchGridBackend(GridSliding, KeywatchDuckDBBackend):
    """SQL that tells when a correlation would have alerted at each threshold of the table `thresholds`."""

    identifier: ClassVar[str] = "keywatch_grid"
