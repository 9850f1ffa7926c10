"""ES|QL: Sigma's matching over the fields of Elastic's integration."""

from __future__ import annotations

import re
from functools import cache
from typing import Any, ClassVar, cast

import sigma.pipelines.keywatch.elasticsearch
from sigma.backends.elasticsearch.elasticsearch_esql import ESQLBackend
from sigma.backends.keywatch._artefact import ArtefactBackend, json_text
from sigma.backends.keywatch._correlation import Rule
from sigma.backends.keywatch._regex import lucene
from sigma.backends.keywatch._repairs import instead
from sigma.backends.keywatch.elasticsearch.elements import element, in_java, in_list
from sigma.backends.keywatch.elasticsearch.kibana import TYPES, detection_rule
from sigma.backends.keywatch.elasticsearch.sliding import ESQLSliding, quoted
from sigma.conditions import ConditionAND, ConditionFieldEqualsValueExpression, ConditionNOT, ConditionOR
from sigma.conversion.state import ConversionState
from sigma.correlations import SigmaCorrelationRule
from sigma.exceptions import SigmaFeatureNotSupportedByBackendError
from sigma.pipelines.keywatch._fields import ELEMENTS, FieldTable
from sigma.types import (
    SigmaBool,
    SigmaCompareExpression,
    SigmaFieldReference,
    SigmaNumber,
    SigmaRegularExpression,
    SigmaRegularExpressionFlag,
    SigmaString,
)

#: Characters of a text, and of a pattern, that Elasticsearch makes an automaton of: it refuses texts of more than 1000,
#: and patterns that are complex, which none of 300 is. (The integration keeps keywords of up to 1024 characters.)
_LONGEST_TEXT, _LONGEST_PATTERN = 1000, 300


class KeywatchESQLBackend(ArtefactBackend, ESQLSliding, ESQLBackend):
    """The stock ES|QL backend with sliding windows, Sigma's matching, and rules that Kibana imports as they are."""

    identifier: ClassVar[str] = "keywatch_elasticsearch"
    name: ClassVar[str] = "Elasticsearch ES|QL with sliding windows, for CloudTrail (keywatch)"
    formats: ClassVar[dict[str, str]] = {
        "kibana": "detection rules for Kibana's import (NDJSON), with schedule, look-back, suppression and guide",
        "esql": "the bare ES|QL query",
        "default": "the same as esql",
    }
    default_format: ClassVar[str] = "kibana"
    files: ClassVar[dict[str, tuple[str, ...]]] = {
        "kibana": ("{rule}.ndjson", "all.ndjson"),
        "esql": ("{rule}.esql",),
    }
    import_steps: ClassVar[dict[str, str]] = {
        "kibana": "Security > Rules > Detection rules (SIEM) > Import rules: all.ndjson",
        "esql": "paste a file into Discover in ES|QL mode, time range at least the window",
    }

    # Sigma compares without regard to case, and keywords are kept as they came.
    eq_expression = "TO_LOWER({field}) == {value}"
    wildcard_match_expression = "TO_LOWER({field}) LIKE {value}"
    startswith_expression = None
    endswith_expression = None
    contains_expression = None
    field_in_list_expression = "TO_LOWER({field}) {op} ({list})"
    or_token = "OR"
    and_token = "AND"
    not_token = "NOT"
    or_in_operator = "IN"
    eq_token = " == "
    field_exists_expression = "{field} IS NOT NULL"
    field_not_exists_expression = "{field} IS NULL"
    field_equals_field_expression = "TO_LOWER({field1}) == TO_LOWER({field2})"
    field_equals_field_startswith_expression = "STARTS_WITH(TO_LOWER({field1}), TO_LOWER({field2}))"
    field_equals_field_endswith_expression = "ENDS_WITH(TO_LOWER({field1}), TO_LOWER({field2}))"
    #: The address is kept as it came, because it can be the name of a service.
    cidr_expression = 'CIDR_MATCH(TO_IP({field}), "{value}")'
    compare_op_expression = "TO_DOUBLE({field}) {operator} {value}"
    field_quote_pattern = re.compile(r"^@?[A-Za-z_][\w.]*$")

    correlation_methods: ClassVar[dict[str, str]] = {
        "sliding": "Sliding windows, time quantised to a minute (windows up to an hour), nothing missed",
        **ESQLBackend.correlation_methods,
    }

    def convert_correlation_aggregation_fields_from_template(
        self,
        correlation_rule_fields: list[str],
        referenced_rules: list[Any],
        group_by: list[str] | None,
        method: str,
    ) -> str:
        """Gather the evidence. The stock method forgets the fields of the correlation itself."""
        return super(ESQLBackend, self).convert_correlation_aggregation_fields_from_template(
            correlation_rule_fields, referenced_rules, group_by, method
        )

    def convert_value_str(self, s: SigmaString, state: ConversionState) -> str:
        """Quote a value, in lower case: a LIKE pattern where it has wildcards.

        :raises SigmaFeatureNotSupportedByBackendError: for a value that Elasticsearch makes no query of.
        """
        return quoted(_comparable(s).lower())

    def convert_condition_field_eq_val(self, cond: ConditionFieldEqualsValueExpression, state: ConversionState) -> Any:
        """Compare a field, or one element of a list in Java's text of it, with a value."""
        if not cond.field.startswith(ELEMENTS):
            java = in_java(cond.value) if cond.field in _texts() and isinstance(cond.value, SigmaString) else []
            spelt = [cond, *(instead(cond, cond.field, value) for value in java)]
            written = [super(KeywatchESQLBackend, self).convert_condition_field_eq_val(one, state) for one in spelt]
            return f"({' OR '.join(written)})" if java else written[0]
        field, value = cond.field.removeprefix(ELEMENTS), cond.value
        if isinstance(value, SigmaNumber | SigmaBool):
            value = SigmaString(str(value).lower())
        if isinstance(value, SigmaFieldReference | SigmaCompareExpression):
            raise SigmaFeatureNotSupportedByBackendError(
                f"field '{cond.field}': ES|QL has it as a part of a text, which may be a list, and can compare it with "
                "texts and patterns only"
            )
        if not isinstance(value, SigmaString | SigmaRegularExpression):
            return super().convert_condition_field_eq_val(instead(cond, field, value), state)
        elements = in_list(value) if isinstance(value, SigmaString) else [element(value, field)]
        alternatives = [instead(cond, field, one) for one in (value, *elements)]
        return self.convert_condition_group(ConditionOR(list(alternatives)), state)

    def convert_condition_not(self, cond: ConditionNOT, state: ConversionState) -> str:
        """Negate a condition. ES|QL's third truth value has no place in Sigma: what is missing does not match."""
        return f"NOT COALESCE({self.convert_condition(cond.args[0], state)}, false)"

    def convert_condition_field_eq_val_str(
        self, cond: ConditionFieldEqualsValueExpression, state: ConversionState
    ) -> Any:
        """Compare with a text; a boolean field, with what the text says."""
        if TYPES.get(cond.field) == "boolean":
            field, value = self.escape_and_quote_field(cond.field), cast(SigmaString, cond.value)
            return f"TO_STRING({field}) LIKE {self.convert_value_str(value, state)}"
        if _is_pushed_down_wrongly(cond.value):
            field = self.escape_and_quote_field(cond.field)
            return f'CONCAT(TO_LOWER({field}), "") == {self.convert_value_str(cast(SigmaString, cond.value), state)}'
        return super().convert_condition_field_eq_val_str(cond, state)

    def decide_convert_condition_as_in_expression(
        self, cond: ConditionOR | ConditionAND, state: ConversionState
    ) -> bool:
        """Write a list as IN, but for values that must be compared one by one."""
        return super().decide_convert_condition_as_in_expression(cond, state) and not any(
            _is_pushed_down_wrongly(getattr(arg, "value", None)) or str(getattr(arg, "field", "")).startswith(ELEMENTS)
            for arg in cond.args
        )

    def escape_and_quote_field(self, field_name: str) -> str:
        """Quote the name of a field; an expression stands as it is."""
        field_name = field_name.removeprefix(ELEMENTS)
        return field_name if "(" in field_name else super().escape_and_quote_field(field_name)

    def convert_condition_field_eq_val_bool(
        self, cond: ConditionFieldEqualsValueExpression, state: ConversionState
    ) -> Any:
        """Compare with true or false, which most fields hold as text."""
        return self.convert_condition_field_eq_val_str(_with_text(cond), state)

    def convert_condition_field_eq_val_num(
        self, cond: ConditionFieldEqualsValueExpression, state: ConversionState
    ) -> Any:
        """Compare with a number, which fields hold as text."""
        return self.convert_condition_field_eq_val_str(_with_text(cond), state)

    def convert_condition_field_eq_val_re(
        self, cond: ConditionFieldEqualsValueExpression, state: ConversionState
    ) -> Any:
        """Compare with a regular expression.

        :raises SigmaFeatureNotSupportedByBackendError: for what Lucene's can't say.
        """
        value, field = cast(SigmaRegularExpression, cond.value), self.escape_and_quote_field(cond.field)
        pattern = lucene(value, cond.field)
        if SigmaRegularExpressionFlag.IGNORECASE in value.flags:
            field, pattern = f"TO_LOWER({field})", pattern.lower()
        return f"{field} RLIKE {quoted(pattern)}"

    def convert_condition_field_eq_val_str_case_sensitive(self, cond: Any, state: ConversionState) -> str:
        """Compare with regard to case.

        :raises SigmaFeatureNotSupportedByBackendError: for a value that Elasticsearch makes no query of.
        """
        operator = "LIKE" if cond.value.contains_special() else "=="
        return f"{self.escape_and_quote_field(cond.field)} {operator} {quoted(_comparable(cond.value))}"

    def finalize_query_esql(self, rule: Rule, query: str, index: int, state: ConversionState) -> str:
        """Return the query, with its source in front."""
        query = f"FROM {state.processing_state['index']} METADATA _id, _index, _version\n| WHERE {query}"
        if not isinstance(rule, SigmaCorrelationRule):
            query += "\n| SORT @timestamp"
        return f"{query}\n| KEEP *"  # without which elastic/detection-rules refuses a rule

    finalize_query_default = finalize_query_esql

    def finalize_output_esql(self, queries: list[str]) -> str:
        """Put an empty line between queries."""
        return "\n\n".join(queries) + "\n"

    finalize_output_default = finalize_output_esql

    def finalize_query_kibana(self, rule: Rule, query: str, index: int, state: ConversionState) -> dict[str, Any]:
        """Return a detection rule as Kibana exports and imports it."""
        return detection_rule(self.detection(rule, query), self.finalize_query_esql(rule, query, index, state))

    def finalize_output_kibana(self, queries: list[dict[str, Any]]) -> str:
        """Write a rule a line."""
        return "".join(json_text(rule, indent=0) for rule in queries)


@cache
def _texts() -> set[str]:
    """Return where the integration keeps an object as a text."""
    objects = FieldTable.beside(sigma.pipelines.keywatch.elasticsearch.__file__).objects
    return {templates["text"] for templates in objects.values() if "text" in templates}


def _is_pushed_down_wrongly(value: Any) -> bool:
    """Tell whether `TO_LOWER(field) == value` finds nothing.

    Elasticsearch 8.19 makes a term query of it that ignores the case of ASCII letters only, and compares the rest with
    the value in lower case. CONCAT keeps it from doing so.
    """
    return isinstance(value, SigmaString) and not value.contains_special() and not str(value).isascii()


def _comparable(value: SigmaString) -> str:
    """Return a text, or a LIKE pattern where it has wildcards, that is not too long for Elasticsearch."""
    pattern = value.contains_special()
    longest = _LONGEST_PATTERN if pattern else _LONGEST_TEXT
    if len(value) > longest:
        raise SigmaFeatureNotSupportedByBackendError(
            f"value '{str(value)[:20]}…' has {len(value)} characters; Elasticsearch compares with up to {longest}"
            + (", wildcards counted" if pattern else "")
        )
    return value.convert(add_escaped="\\") if pattern else "".join(map(str, value.s))


def _with_text(cond: ConditionFieldEqualsValueExpression) -> ConditionFieldEqualsValueExpression:
    return instead(cond, cond.field, SigmaString(str(cond.value).lower()))
