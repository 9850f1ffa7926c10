"""Lucene queries, for rules of a single event. Keywords match with regard to case here."""

from __future__ import annotations

from typing import Any, ClassVar

from sigma.backends.elasticsearch.elasticsearch_lucene import LuceneBackend
from sigma.backends.keywatch._artefact import ArtefactBackend
from sigma.backends.keywatch._correlation import Rule
from sigma.backends.keywatch._regex import lucene
from sigma.conversion.state import ConversionState
from sigma.correlations import SigmaCorrelationRule
from sigma.exceptions import SigmaFeatureNotSupportedByBackendError
from sigma.types import SigmaRegularExpressionFlag, SigmaString


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

    def convert_value_str(self, s: SigmaString, state: ConversionState) -> str:
        """Write a value.

        :raises SigmaFeatureNotSupportedByBackendError: for < and >, which a query string has no way to mean.
        """
        if any(sign in str(s) for sign in "<>"):
            raise SigmaFeatureNotSupportedByBackendError(
                f"value '{s}': Lucene can't match < or >, which begin a range; use ? instead, or format esql or kibana"
            )
        return super().convert_value_str(s, state)

    def convert_condition_field_eq_val_re(self, cond: Any, state: ConversionState) -> Any:
        """Compare with a regular expression.

        :raises SigmaFeatureNotSupportedByBackendError: for what Lucene's can't say.
        """
        if SigmaRegularExpressionFlag.IGNORECASE in cond.value.flags:
            raise SigmaFeatureNotSupportedByBackendError(
                f"regular expression of field '{cond.field}': Lucene can't ignore its case; use format esql or kibana"
            )
        pattern = lucene(cond.value, cond.field).replace("/", "\\/")
        return f"{self.escape_and_quote_field(cond.field)}:/{pattern}/"

    def convert_correlation_rule(self, rule: SigmaCorrelationRule, *_: Any, **__: Any) -> list[Any]:
        """Refuse a correlation.

        :raises SigmaFeatureNotSupportedByBackendError: always.
        """
        raise SigmaFeatureNotSupportedByBackendError(
            f"rule '{rule.title}': Lucene has no correlations; use format esql or kibana", source=rule.source
        )

    def finalize_query_lucene(self, rule: Rule, query: str, index: int, state: ConversionState) -> str:
        """Return the query."""
        return query

    finalize_query_default = finalize_query_lucene

    def finalize_output_lucene(self, queries: list[str]) -> str:
        """Put a query on a line."""
        return "\n".join(queries) + "\n"

    finalize_output_default = finalize_output_lucene
