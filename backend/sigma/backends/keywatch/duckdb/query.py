"""DuckDB SQL over the table `cloudtrail` that `keywatch hunt` builds (pipeline cloudtrail_duckdb)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import ClassVar

from sigma.backends.keywatch._correlation import COMBINATION, Correlation, Rule
from sigma.backends.keywatch._nested import combination
from sigma.backends.keywatch._sql import SQLBackend
from sigma.backends.keywatch._sql_text import ALL_EVENTS, like_pattern, literal, lower_literal, quoted
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
        "sql": "nothing to import: `keywatch hunt PATH…` builds the table and runs these queries"
    }

    wildcard_match_expression = "{field} ILIKE {value} ESCAPE '\\'"
    re_expression = "regexp_matches({field}, '{regex}')"

    elements_expression = (
        "CASE WHEN json_valid({field}) AND {field} LIKE '[%' "
        """THEN from_json({field}, '["VARCHAR"]') ELSE [{field}] END"""
    )
    any_element_expression = "coalesce(list_bool_or([{condition} FOR {name} IN {elements}]), false)"

    correlation_methods: ClassVar[dict[str, str]] = {"sliding": "Exact sliding windows (RANGE BETWEEN … PRECEDING)"}
    source: ClassVar[str] = "cloudtrail"
    event_columns: ClassVar[tuple[str, str]] = ('"eventTime"', '"eventID"')
    kept: ClassVar[str] = "AS MATERIALIZED"

    def escape_and_quote_field(self, field_name: str) -> str:
        """Quote the name of a field, whether it may be a list or not; an expression stands as it is."""
        name = super().escape_and_quote_field(field_name)
        return name if "(" in name else quoted(name)

    def convert_value_str(self, s: SigmaString, state: ConversionState) -> str:
        """Return an SQL literal: a LIKE pattern where the value has wildcards, lower case unless the case matters."""
        if s.contains_special() or isinstance(s, SigmaCasedString):
            return literal(like_pattern(s))
        return lower_literal("".join(map(str, s.s)))

    def selected(
        self,
        rule: Rule,
        correlation: Correlation | None,
        condition: str,
        source: str | None = None,
        aliases: Mapping[str, str] = MappingProxyType({}),
    ) -> str:
        """Write the SELECT of the events that meet a condition."""
        columns = "".join(f", {written} AS {quoted(name)}" for name, written in aliases.items())
        if correlation is not None and not correlation.group:
            columns += f", '' AS {ALL_EVENTS}"
        if correlation is not None and correlation.parts:
            parts = [*map(self.escape_and_quote_field, correlation.parts)]
            columns += f", {combination(parts)} AS {quoted(COMBINATION)}"
        return f"    SELECT *{columns} FROM {source or self.source}\n    WHERE {condition}"

    def selected_of_each(self, rule: Rule, fields: Sequence[str], source: str) -> str:
        """Write the SELECT of fields of the events of several rules, and of "rule"."""
        columns = dict.fromkeys([*self.event_columns, *(self.column(rule, field) for field in fields)])
        return f'    SELECT {", ".join(columns)}, "rule" FROM {source}\n    WHERE "rule" IS NOT NULL'

    def selection_of_events(self, rule: Rule, condition: str) -> str:
        """Return the statement that selects the evidence of single events."""
        columns = dict.fromkeys(["eventTime", "eventID", *rule.fields])
        names = ", ".join(self.escape_and_quote_field(name) for name in columns)
        return f'SELECT {names}\nFROM cloudtrail\nWHERE {condition}\nORDER BY "eventTime", "eventID";\n'


class KeywatchGridBackend(GridSliding, KeywatchDuckDBBackend):
    """SQL that tells when a correlation would have alerted at each threshold of the table `thresholds`."""

    identifier: ClassVar[str] = "keywatch_grid"
