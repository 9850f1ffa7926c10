"""Athena's SQL (Trino) over the table that AWS documents for CloudTrail."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

from sigma.backends.keywatch._correlation import COMBINATION, Correlation, Rule
from sigma.backends.keywatch._nested import combination
from sigma.backends.keywatch._regex import of_wildcards
from sigma.backends.keywatch._sql import SQLBackend
from sigma.backends.keywatch._sql_text import ALL_EVENTS, like_pattern, literal, lower_literal, quoted
from sigma.backends.keywatch.athena.sliding import AthenaSliding
from sigma.conditions import ConditionFieldEqualsValueExpression
from sigma.conversion.state import ConversionState
from sigma.pipelines.keywatch._fields import ELEMENTS
from sigma.types import SigmaCasedString, SigmaString, SpecialChars


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
        "sql": "paste a file into Athena's query editor, the first and the last day as parameters"
    }

    wildcard_match_expression = "lower({field}) LIKE {value} ESCAPE '\\'"
    re_expression = "regexp_like({field}, '{regex}')"

    elements_expression = "{field}"
    any_element_expression = "any_match({elements}, {name} -> {condition})"

    #: Where the table has the ID of an event.
    event_id: ClassVar[str] = "eventid"
    event_columns: ClassVar[tuple[str, str]] = ('"time"', '"eventID"')
    correlation_methods: ClassVar[dict[str, str]] = {"sliding": "Exact sliding windows, as a running sum"}
    #: The first stage, and the whole query of single events: {columns} is the evidence under CloudTrail's names.
    selection: ClassVar[str] = """\
    SELECT CAST(to_unixtime(from_iso8601_timestamp(eventtime)) AS bigint) AS "time"{columns}
    FROM {source}
    WHERE "timestamp" BETWEEN ? AND ?
        AND ({condition})"""

    def convert_value_str(self, s: SigmaString, state: ConversionState) -> str:
        """Return an SQL literal, in lower case unless the case matters."""
        text = like_pattern(s) if s.contains_special() or isinstance(s, SigmaCasedString) else "".join(map(str, s.s))
        return literal(text) if isinstance(s, SigmaCasedString) else lower_literal(text)

    def convert_condition_field_eq_val_str(
        self, cond: ConditionFieldEqualsValueExpression, state: ConversionState
    ) -> Any:
        """Compare a field with a text, without regard to case."""
        if pattern := _instead_of_like(cond.value):
            return f"regexp_like(lower({self.escape_and_quote_field(cond.field)}), {lower_literal(pattern)})"
        return super().convert_condition_field_eq_val_str(cond, state)

    def convert_condition_field_eq_val_str_case_sensitive(
        self, cond: ConditionFieldEqualsValueExpression, state: ConversionState
    ) -> Any:
        """Compare a field with a text, with regard to case."""
        if pattern := _instead_of_like(cond.value):
            return f"regexp_like({self.escape_and_quote_field(cond.field)}, {literal(pattern)})"
        return super().convert_condition_field_eq_val_str_case_sensitive(cond, state)

    def selection_of_events(self, rule: Rule, condition: str) -> str:
        """Return the statement that selects the evidence of single events."""
        return f'{self._select(rule, [self.event_id, *rule.fields], condition)}\nORDER BY "time", "eventID";\n'

    def selected(
        self,
        rule: Rule,
        correlation: Correlation | None,
        condition: str,
        source: str | None = None,
        aliases: Mapping[str, str] = MappingProxyType({}),
    ) -> str:
        """Write the SELECT of the events that meet a condition, under CloudTrail's names."""
        assert correlation is not None
        more = {quoted(name): written for name, written in aliases.items()}
        if not correlation.group:
            more[ALL_EVENTS] = "'all'"
        if correlation.parts:
            more[quoted(COMBINATION)] = combination([*map(_text, correlation.parts)])
        if source:
            more['"rule"'] = '"rule"'
        fields = [name for name in (*correlation.keys, *correlation.evidence) if name not in aliases]
        if correlation.needs_ids:
            fields = [self.event_id, *fields]
        return self._select(rule, fields, condition, source, more)

    def selected_of_each(self, rule: Rule, fields: Sequence[str], source: str) -> str:
        """Write the SELECT of fields of the events of several rules, and of "rule"."""
        return self._select(rule, [self.event_id, *fields], '"rule" IS NOT NULL', source, {'"rule"': '"rule"'})

    def _select(
        self,
        rule: Rule,
        fields: list[str],
        condition: str,
        source: str | None = None,
        more: Mapping[str, str] = MappingProxyType({}),
    ) -> str:
        columns = {self.column(rule, name): _text(name) for name in dict.fromkeys(fields)} | dict(more)
        return self.selection.format(
            columns="".join(f",\n        {written} AS {name}" for name, written in columns.items()),
            source=source or self.source,
            condition=condition,
        )

    @property
    def source(self) -> str:  # type: ignore[override]
        """The table."""
        return str(self.last_processing_pipeline.state["table"])


def _instead_of_like(value: Any) -> str | None:
    """Return a regular expression of a text that Trino 483's LIKE takes for others; None if it takes it right.

    Where a pattern has `_` and a character beyond the BMP, it misses texts: '😀h' is not LIKE '%😀_%' there. What is
    in the expression means the same in lower case.
    """
    if SpecialChars.WILDCARD_SINGLE not in value.s or max(str(value)) <= "\uffff":
        return None
    return f"(?s)^{of_wildcards(value)}\\z"


def _text(field: str) -> str:
    """Write a field as a text: the elements of a list in a row."""
    return f"array_join({field.removeprefix(ELEMENTS)}, ', ')" if field.startswith(ELEMENTS) else field
