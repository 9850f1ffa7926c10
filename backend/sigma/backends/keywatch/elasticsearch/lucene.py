"""Lucene queries, for rules of a single event. Keywords match with regard to case here."""

from __future__ import annotations

from typing import Any, ClassVar

from sigma.backends.elasticsearch.elasticsearch_lucene import LuceneBackend
from sigma.backends.keywatch._artefact import ArtefactBackend
from sigma.backends.keywatch._correlation import Rule
from sigma.backends.keywatch._regex import lucene
from sigma.conditions import ConditionAND, ConditionNOT, ConditionOR
from sigma.conversion.state import ConversionState
from sigma.correlations import SigmaCorrelationRule
from sigma.exceptions import SigmaFeatureNotSupportedByBackendError
from sigma.types import SigmaRegularExpressionFlag, SigmaString, SpecialChars

#: What is kept flattened: Elasticsearch 8.19 finds a pattern of one key in the values of others too, or not at all.
_FLATTENED = ".flattened."


class KeywatchLuceneBackend(ArtefactBackend, LuceneBackend):
    """The stock Lucene backend, for rules of a single event. Keywords match with regard to case here."""

    identifier: ClassVar[str] = "keywatch_lucene"
    name: ClassVar[str] = "Elasticsearch Lucene, single events, for CloudTrail (keywatch)"
    formats: ClassVar[dict[str, str]] = {
        "lucene": "a Lucene query, for rules of a single event",
        "default": "the same as lucene",
    }
    default_format: ClassVar[str] = "lucene"
    files: ClassVar[dict[str, tuple[str, ...]]] = {"lucene": ("{rule}.lucene",)}
    import_steps: ClassVar[dict[str, str]] = {"lucene": "paste a file into Kibana's search bar, language Lucene"}
    #: source.address is a keyword, so a network is spelt out as patterns.
    cidr_expression = None
    field_not_exists_expression: ClassVar[str] = "(*:* AND NOT _exists_:{field})"

    def convert_value_str(self, s: SigmaString, state: ConversionState) -> str:
        """Write a value.

        :raises SigmaFeatureNotSupportedByBackendError: for < and >, which a query string has no way to mean.
        """
        if any(sign in str(s) for sign in "<>"):
            raise SigmaFeatureNotSupportedByBackendError(
                f"value '{s}': Lucene can't match < or >, which begin a range; use ? instead, or format esql or kibana"
            )
        return super().convert_value_str(s, state)

    def convert_condition_not(self, cond: ConditionNOT, state: ConversionState) -> str:
        """Negate a condition: all but what meets it, which the query string can say of a negation too."""
        return f"(*:* AND NOT ({self.convert_condition(cond.args[0], state)}))"

    def decide_convert_condition_as_in_expression(
        self, cond: ConditionOR | ConditionAND, state: ConversionState
    ) -> bool:
        """Write a list as one, but for patterns, of which each is looked at."""
        return super().decide_convert_condition_as_in_expression(cond, state) and not any(
            isinstance(value := getattr(arg, "value", None), SigmaString) and value.contains_special()
            for arg in cond.args
        )

    def convert_condition_field_eq_val_num(self, cond: Any, state: ConversionState) -> Any:
        """Compare with a number, of which the minus would be an operator."""
        return f"{self.escape_and_quote_field(cond.field)}:" + str(cond.value).replace("-", "\\-")

    def convert_condition_field_eq_val_str(self, cond: Any, state: ConversionState) -> Any:
        """Compare with a text.

        :raises SigmaFeatureNotSupportedByBackendError: for a pattern of what is kept flattened.
        """
        if _FLATTENED in cond.field and _is_pattern(cond.value):
            raise _no_pattern(cond.field)
        return super().convert_condition_field_eq_val_str(cond, state)

    convert_condition_field_eq_val_str_case_sensitive = convert_condition_field_eq_val_str

    def convert_condition_field_eq_val_re(self, cond: Any, state: ConversionState) -> Any:
        """Compare with a regular expression.

        :raises SigmaFeatureNotSupportedByBackendError: for what Lucene's can't say.
        """
        if SigmaRegularExpressionFlag.IGNORECASE in cond.value.flags:
            raise SigmaFeatureNotSupportedByBackendError(
                f"regular expression of field '{cond.field}': Lucene can't ignore its case; use format esql or kibana"
            )
        if _FLATTENED in cond.field:
            raise _no_pattern(cond.field)
        pattern = lucene(cond.value, cond.field).replace("/", "\\/")
        return f"{self.escape_and_quote_field(cond.field)}:/{pattern}/"

    def convert_condition_field_compare_op_val(self, cond: Any, state: ConversionState) -> Any:
        """Refuse a comparison.

        :raises SigmaFeatureNotSupportedByBackendError: always: the integration keeps these fields as texts, of which 9
            is greater than 10.
        """
        raise SigmaFeatureNotSupportedByBackendError(
            f"field '{cond.field}': Lucene compares texts, of which 9 is greater than 10; use format esql or kibana"
        )

    def convert_correlation_rule(self, rule: SigmaCorrelationRule, *_: Any, **__: Any) -> list[Any]:
        """Refuse a correlation; pass over it where errors are collected, as for `sigma convert --skip-unsupported`.

        :raises SigmaFeatureNotSupportedByBackendError: where they are not.
        """
        error = SigmaFeatureNotSupportedByBackendError(
            f"rule '{rule.title}': Lucene has no correlations; use format esql or kibana", source=rule.source
        )
        if not self.collect_errors:
            raise error
        self.errors.append((rule, error))  # type: ignore[arg-type]  # pySigma itself puts correlations there
        return []

    def finalize_query_lucene(self, rule: Rule, query: str, index: int, state: ConversionState) -> str:
        """Return the query."""
        return query

    finalize_query_default = finalize_query_lucene

    def finalize_output_lucene(self, queries: list[str]) -> str:
        """Put a query on a line."""
        return "\n".join(queries) + "\n"

    finalize_output_default = finalize_output_lucene


def _is_pattern(value: SigmaString) -> bool:
    """Tell whether a value is more than a text, or what a text begins with."""
    return any(part in list(SpecialChars) for part in value.s[:-1]) or value.endswith(SpecialChars.WILDCARD_SINGLE)


def _no_pattern(field: str) -> SigmaFeatureNotSupportedByBackendError:
    return SigmaFeatureNotSupportedByBackendError(
        f"field '{field}': Lucene finds only whole values, and what they begin with, in what the integration keeps "
        "flattened; use format esql or kibana"
    )
