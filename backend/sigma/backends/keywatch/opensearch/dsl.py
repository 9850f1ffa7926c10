"""Query DSL over CloudTrail's records as OpenSearch maps them dynamically. A query is a JSON object.

Conditions are Query DSL, which can ignore case; a query string can't.
"""

from __future__ import annotations

from typing import Any, ClassVar

from sigma.backends.keywatch._artefact import ArtefactBackend, json_text
from sigma.backends.keywatch._correlation import Rule
from sigma.backends.keywatch._regex import lucene
from sigma.backends.keywatch._sliding import SlidingWindowBackend
from sigma.backends.keywatch.opensearch.monitor import bare_search, monitor
from sigma.backends.keywatch.opensearch.sliding import KEYWORD, METRICS, MOST_RULES, Json, scored
from sigma.backends.keywatch.opensearch.values import (
    INSIDE,
    boolean,
    inside,
    is_variable,
    limited,
    pattern,
    regex,
    text_of,
    unsupported,
)
from sigma.conditions import ConditionAND, ConditionFieldEqualsValueExpression, ConditionNOT, ConditionOR
from sigma.conversion.state import ConversionState
from sigma.correlations import SigmaCorrelationRule, SigmaCorrelationTypeLiteral
from sigma.types import SigmaRegularExpressionFlag, SigmaString

#: Two fields have a value, and one of the first is one of the second.
_SAME = (
    "if (!doc.containsKey(params.one) || !doc.containsKey(params.other)) { return false; } "
    "for (def one : doc[params.one]) { for (def other : doc[params.other]) "
    "{ if (one.toString().equalsIgnoreCase(other.toString())) { return true; } } } return false;"
)


class KeywatchOpenSearchBackend(ArtefactBackend, SlidingWindowBackend):
    """Query DSL, and monitors that OpenSearch's Alerting plugin imports as they are. A query is a JSON object."""

    identifier: ClassVar[str] = "keywatch_opensearch"
    name: ClassVar[str] = "OpenSearch monitors, for CloudTrail (keywatch)"
    formats: ClassVar[dict[str, str]] = {
        "monitor": "bucket-level monitors for POST _plugins/_alerting/monitors, with schedule, look-back and guide",
        "dsl": "the bare search, over the look-back that ends now",
        "default": "the same as dsl",
    }
    default_format: ClassVar[str] = "monitor"
    files: ClassVar[dict[str, tuple[str, ...]]] = {
        "monitor": ("{rule}.monitor.json",),
        "dsl": ("{rule}.dsl.json",),
    }
    import_steps: ClassVar[dict[str, str]] = {
        "monitor": "POST each file to _plugins/_alerting/monitors",
        "dsl": "POST a file to your index's _search, for one page of principals after the other",
    }
    requires_pipeline: ClassVar[bool] = True

    correlation_methods: ClassVar[dict[str, str]] = {"sliding": "Exact sliding windows, in a scripted metric"}
    sliding: ClassVar = METRICS
    why_no_aliases: ClassVar[str] = "the key of a bucket can't depend on which rule an event matches"
    why_no_inner: ClassVar[str] = "a monitor has one search, in which a group ends as one number"
    ungrouped: ClassVar[bool] = True
    combined: ClassVar[bool] = True

    def convert_condition_or(self, cond: ConditionOR, state: ConversionState) -> Any:
        """Join alternatives."""
        return {"bool": {"should": self._each(cond, state), "minimum_should_match": 1}}

    def convert_condition_and(self, cond: ConditionAND, state: ConversionState) -> Any:
        """Join conditions."""
        return {"bool": {"filter": self._each(cond, state)}}

    def convert_condition_not(self, cond: ConditionNOT, state: ConversionState) -> Any:
        """Negate a condition."""
        return {"bool": {"must_not": self._each(cond, state)}}

    def convert_condition_group(self, cond: Any, state: ConversionState) -> Any:
        """Return a condition as it is: an object needs no brackets."""
        return self.convert_condition(cond, state)

    def _each(self, cond: ConditionOR | ConditionAND | ConditionNOT, state: ConversionState) -> list[Json]:
        return [self.convert_condition(arg, state) for arg in cond.args]

    def convert_condition_field_eq_val_str(
        self, cond: ConditionFieldEqualsValueExpression, state: ConversionState
    ) -> Any:
        """Compare with a text, without regard to case.

        :raises SigmaFeatureNotSupportedByBackendError: for a text that is too long, and for a pattern where there are
            only true and false.
        """
        field, value = cond.field, cond.value
        assert isinstance(value, SigmaString)
        if field.endswith(INSIDE):
            return inside(field, value)
        if not field.endswith(KEYWORD):
            return boolean(field, value)
        # Only the case of ASCII letters is ignored.
        if not str(value).isascii() or is_variable(value):
            return {"regexp": {field: {"value": regex(value), "case_insensitive": True, "flags_value": 0}}}
        kind, text = (
            ("wildcard", pattern(value)) if value.contains_special() else ("term", limited(value, text_of(value)))
        )
        return {kind: {field: {"value": text, "case_insensitive": True}}}

    def convert_condition_field_eq_val_str_case_sensitive(
        self, cond: ConditionFieldEqualsValueExpression, state: ConversionState
    ) -> Any:
        """Compare with a text, with regard to case.

        :raises SigmaFeatureNotSupportedByBackendError: for a pattern that is too long.
        """
        value = cond.value
        assert isinstance(value, SigmaString)
        if is_variable(value):
            return {"regexp": {cond.field: {"value": regex(value, cased=True), "flags_value": 0}}}
        if not value.contains_special():
            return {"term": {cond.field: {"value": text_of(value)}}}
        return {"wildcard": {cond.field: {"value": pattern(value)}}}

    def convert_condition_field_eq_val_num(
        self, cond: ConditionFieldEqualsValueExpression, state: ConversionState
    ) -> Any:
        """Compare with a number, which fields hold as text."""
        return {"term": {cond.field: {"value": str(cond.value)}}}

    def convert_condition_field_eq_val_bool(
        self, cond: ConditionFieldEqualsValueExpression, state: ConversionState
    ) -> Any:
        """Compare with true or false."""
        value = bool(getattr(cond.value, "boolean", False))
        return {"term": {cond.field: {"value": str(value).lower() if cond.field.endswith(KEYWORD) else value}}}

    def convert_condition_field_eq_val_null(
        self, cond: ConditionFieldEqualsValueExpression, state: ConversionState
    ) -> Any:
        """Tell whether a field has no value."""
        return {"bool": {"must_not": [self.convert_condition_field_exists(cond, state)]}}

    convert_condition_field_not_exists = convert_condition_field_eq_val_null

    def convert_condition_field_exists(self, cond: ConditionFieldEqualsValueExpression, state: ConversionState) -> Any:
        """Tell whether a field has a value. An empty text is none, though it exists in a field of keywords."""
        if cond.field.endswith(KEYWORD):
            return {"range": {cond.field: {"gt": ""}}}
        return {"exists": {"field": cond.field.removesuffix(INSIDE)}}

    def convert_condition_field_eq_val_re(self, cond: Any, state: ConversionState) -> Any:
        """Compare with a regular expression.

        :raises SigmaFeatureNotSupportedByBackendError: for what Lucene's can't say.
        """
        ignored = SigmaRegularExpressionFlag.IGNORECASE in cond.value.flags
        pattern = {"value": lucene(cond.value, cond.field), "flags_value": 0}
        return {"regexp": {cond.field: pattern | ({"case_insensitive": True} if ignored else {})}}

    def convert_condition_field_compare_op_val(self, cond: Any, state: ConversionState) -> Any:
        """Refuse < and >.

        :raises SigmaFeatureNotSupportedByBackendError: always: keywords are in the order of texts.
        """
        raise unsupported(cond.field, "< and > of fields that are texts")

    def convert_condition_field_eq_field(self, cond: Any, state: ConversionState) -> Any:
        """Compare two fields, without regard to case.

        :raises SigmaFeatureNotSupportedByBackendError: for a part of a field.
        """
        other = cond.value
        if other.starts_with or other.ends_with:
            raise unsupported(cond.field, "comparing a field with a part of another")
        return {"script": {"script": {"source": _SAME, "params": {"one": cond.field, "other": other.field}}}}

    def finish_query(self, rule: Rule, query: Any, state: ConversionState) -> Any:
        """Leave a condition as it is: it is no text."""
        return query

    def convert_correlation_rule_from_template(
        self, rule: SigmaCorrelationRule, correlation_type: SigmaCorrelationTypeLiteral, method: str
    ) -> list[Any]:
        """Return the condition of the events of a correlation; the rest is in the search.

        :raises SigmaFeatureNotSupportedByBackendError: for one that has no meaning as a sliding window.
        """
        correlation = self.slidable(rule, correlation_type)
        queries = [query for _, query, _ in self.searches(rule)]
        if correlation.over_rules:
            if len(queries) > MOST_RULES:
                raise unsupported(rule.title, f"more than {MOST_RULES} rules in a correlation")
            return [scored(queries)]
        return [{"bool": {"should": queries, "minimum_should_match": 1}} if len(queries) > 1 else queries[0]]

    def finalize_query_dsl(self, rule: Rule, query: Json, index: int, state: ConversionState) -> Json:
        """Return the search of what would be alerts now."""
        return bare_search(self.detection(rule, query))

    finalize_query_default = finalize_query_dsl

    def finalize_output_dsl(self, queries: list[Json]) -> str:
        """Write searches, one JSON document after the other."""
        return "".join(map(json_text, queries))

    finalize_output_default = finalize_output_dsl
    finalize_output_monitor = finalize_output_dsl

    def finalize_query_monitor(self, rule: Rule, query: Json, index: int, state: ConversionState) -> Json:
        """Return a monitor as the Alerting plugin's API takes it."""
        return monitor(self.detection(rule, query))
