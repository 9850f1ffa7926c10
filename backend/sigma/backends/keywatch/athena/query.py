"""Athena's SQL (Trino) over the table that AWS documents for CloudTrail."""

from __future__ import annotations

from typing import ClassVar

from sigma.backends.keywatch._correlation import Rule
from sigma.backends.keywatch._sql import SQLBackend, like_pattern, literal, lower_literal
from sigma.backends.keywatch.athena.sliding import AthenaSliding
from sigma.conversion.state import ConversionState
from sigma.pipelines.keywatch._fields import ELEMENTS
from sigma.types import SigmaCasedString, SigmaString


class KeywatchAthenaBackend(AthenaSliding, SQLBackend):
    """SQL for Athena. Field names are expressions over the table already."""

    identifier: ClassVar[str] = "keywatch_athena"
    name: ClassVar[str] = "Athena SQL over AWS's CloudTrail table (keywatch)"
    formats: ClassVar[dict[str, str]] = {
        "sql": "a query with two parameters: the first and the last day, as '2026/11/20'",
        "default": "the same as sql",
    }
    default_format: ClassVar[str] = "sql"
    files: ClassVar[dict[str, tuple[str, ...]]] = {"sql": ("{rule}.sql",)}
    import_steps: ClassVar[dict[str, str]] = {
        "sql": "paste a file into Athena's query editor, the first and the last day as parameters (docs/athena.md)"
    }

    wildcard_match_expression = "lower({field}) LIKE {value} ESCAPE '\\'"
    re_expression = "regexp_like({field}, '{regex}')"

    elements_expression = "{field}"
    any_element_expression = "any_match({elements}, {name} -> {condition})"

    correlation_methods: ClassVar[dict[str, str]] = {"sliding": "Exact sliding windows, as a running sum"}
    correlation_search_single_rule_expression = "{query}"
    correlation_search_multi_rule_expression = "{queries}"
    correlation_search_multi_rule_query_expression = "({query})"
    correlation_search_multi_rule_query_expression_joiner = "\n       OR "

    #: The first stage, and the whole query of single events: {columns} is the evidence under CloudTrail's names.
    selection: ClassVar[str] = """\
    SELECT CAST(to_unixtime(from_iso8601_timestamp(eventtime)) AS bigint) AS "time"{columns}
    FROM {table}
    WHERE "timestamp" BETWEEN ? AND ?
        AND ({condition})"""

    def convert_value_str(self, s: SigmaString, state: ConversionState) -> str:
        """Return an SQL literal, in lower case unless the case matters."""
        text = like_pattern(s) if s.contains_special() or isinstance(s, SigmaCasedString) else "".join(map(str, s.s))
        return literal(text) if isinstance(s, SigmaCasedString) else lower_literal(text)

    def selection_of_events(self, rule: Rule, condition: str) -> str:
        """Return the statement that selects the evidence of single events."""
        return f'{self.selected(rule, ["eventid", *rule.fields], condition)}\nORDER BY "time", "eventID";\n'

    def selected(self, rule: Rule, fields: list[str], condition: str) -> str:
        """Write the SELECT of the events that meet a condition."""
        columns = "".join(f",\n        {_text(name)} AS {self.column(rule, name)}" for name in dict.fromkeys(fields))
        return self.selection.format(columns=columns, condition=condition, **self.last_processing_pipeline.state)


def _text(field: str) -> str:
    """Write a field as a text: the elements of a list in a row."""
    return f"array_join({field.removeprefix(ELEMENTS)}, ', ')" if field.startswith(ELEMENTS) else field
