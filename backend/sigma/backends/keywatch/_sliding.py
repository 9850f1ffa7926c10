"""A further correlation method for pySigma backends: `sliding`.

The meaning is the same on every target: an alert for group g exists iff some event e of g has at least N distinct
values among g's events with time in [t(e) - W, t(e)], both ends included. An event without the group field or without
the counted field takes no part; an empty string is no value (Elastic's integration drops them at ingest).

pySigma builds a correlation from templates keyed by method, so a backend offers the method by adding to its templates:

    value_count_correlation_query["sliding"]          the frame: search, aggregate, condition
    value_count_aggregation_expression["sliding"]     one row a group, with the most distinct values in any window
    value_count_condition_expression["sliding"]       the threshold

The stock variables of a template say neither how long a window is in seconds nor what the threshold is, which a query
that must stay cheap needs before the end; `sliding_variables` gives them.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, ClassVar, cast

from sigma.collection import SigmaCollection
from sigma.conversion.base import TextQueryBackend
from sigma.correlations import (
    SigmaCorrelationCondition,
    SigmaCorrelationConditionOperator,
    SigmaCorrelationRule,
    SigmaCorrelationTypeLiteral,
)
from sigma.exceptions import SigmaError, SigmaFeatureNotSupportedByBackendError
from sigma.rule import SigmaRule
from sigma.rule.attributes import SigmaLevel

Rule = SigmaRule | SigmaCorrelationRule


class SlidingWindowBackend(TextQueryBackend):
    """A text backend whose `value_count` correlations can use true sliding windows."""

    default_correlation_method: ClassVar[str] = "sliding"
    # Fields in a row; a backend whose language wants something else says so.
    groupby_expression: ClassVar[dict[str, str]] = {"sliding": "{fields}"}
    groupby_field_expression: ClassVar[dict[str, str]] = {"sliding": "{field}"}
    groupby_field_expression_joiner: ClassVar[dict[str, str]] = {"sliding": ", "}
    correlation_fields_expression: ClassVar[dict[str, str]] = {"sliding": "{fields}"}
    correlation_fields_field_expression: ClassVar[dict[str, str]] = {"sliding": "{field}"}
    correlation_fields_field_expression_joiner: ClassVar[dict[str, str]] = {"sliding": ", "}

    def sliding_variables(self, rule: SigmaCorrelationRule) -> dict[str, str]:
        """Return what the aggregation template of the method `sliding` may use.

        field: the counted field; groupby: the group's fields; fields: the evidence; window: seconds; count: threshold.
        """
        field = counted_field(rule)
        return {
            "field": self.escape_and_quote_field(field),
            "groupby": self.convert_correlation_aggregation_groupby_from_template(rule.group_by, "sliding"),
            "fields": self.convert_correlation_aggregation_fields_from_template(
                rule.fields, rule.referenced_rules, [*(rule.group_by or ()), field], "sliding"
            ),
            "window": str(rule.timespan.seconds),
            "count": str(least(rule)),
        }

    def convert_correlation_aggregation_from_template(
        self, rule: SigmaCorrelationRule, correlation_type: SigmaCorrelationTypeLiteral, method: str, search: str
    ) -> str:
        """Fill in the aggregation template; for `sliding`, with `sliding_variables`."""
        if method != "sliding":
            return super().convert_correlation_aggregation_from_template(rule, correlation_type, method, search)
        templates: dict[str, str] = self.value_count_aggregation_expression or {}
        return templates[method].format(**self.sliding_variables(rule))

    def convert_correlation_rule_from_template(
        self, rule: SigmaCorrelationRule, correlation_type: SigmaCorrelationTypeLiteral, method: str
    ) -> list[str]:
        """Convert a correlation.

        :raises SigmaFeatureNotSupportedByBackendError: for one that has no meaning as a sliding window.
        """
        if method != "sliding":
            warnings.warn(
                f"{rule.title}: correlation method '{method}' counts in fixed time buckets and misses what straddles "
                "their edges; the default method 'sliding' does not",
                stacklevel=2,
            )
        else:
            refuse_unslidable(rule, correlation_type)
        return super().convert_correlation_rule_from_template(rule, correlation_type, method)

    def convert(self, rule_collection: SigmaCollection, *args: Any, **kwargs: Any) -> Any:
        """Convert a collection, each rule after those that it refers to.

        pySigma 1.5 sorts by an order in which most rules compare as equal, and so can put a correlation first.
        """
        rule_collection.resolve_rule_references()
        rule_collection.rules = in_order(rule_collection.rules)
        return super().convert(rule_collection, *args, **kwargs)

    def convert_rule(
        self, rule: SigmaRule, output_format: str | None = None, callback: Callable[..., Any] | None = None
    ) -> list[Any]:
        """Convert a rule. One that a correlation refers to with `generate: true` is an alert by itself too.

        pySigma 1.5 leaves the query of such a rule unfinished: it is what the correlation builds on.
        """
        queries = super().convert_rule(rule, output_format, callback)
        if not queries or not rule._backreferences or self.finalize_correlation_subqueries:
            return queries
        states = rule.get_conversion_states()
        return [
            self.finalize_query(rule, query, index, states[index], output_format or self.default_format)
            for index, query in enumerate(queries)
        ]

    def convert_correlation_rule(self, rule: SigmaCorrelationRule, *args: Any, **kwargs: Any) -> list[Any]:
        """Convert a correlation; where errors are collected, collect its own, as pySigma 1.5 does for plain rules only.

        :raises sigma.exceptions.SigmaError: if it can't be converted, and errors are not collected.
        """
        try:
            return super().convert_correlation_rule(rule, *args, **kwargs)
        except SigmaError as error:
            if not self.collect_errors:
                raise
            self.errors.append((cast(Any, rule), error))
            return []


def in_order(rules: list[Rule]) -> list[Rule]:
    """Return resolved rules so that each stands after those that it refers to."""
    return sorted(rules, key=_depth)


def _depth(rule: Rule) -> int:
    if isinstance(rule, SigmaRule):
        return 0
    return 1 + max((_depth(reference.rule) for reference in rule.referenced_rules), default=0)


def level_of(rule: Rule) -> SigmaLevel:
    """Return a rule's level; medium for one that does not say."""
    return rule.level or SigmaLevel.MEDIUM


def counted_field(rule: SigmaCorrelationRule) -> str:
    """Return the field whose distinct values a value_count counts."""
    return str(cast(SigmaCorrelationCondition, rule.condition).fieldref)


def least(rule: SigmaCorrelationRule) -> int:
    """Return the least number of distinct values that is an alert."""
    condition = cast(SigmaCorrelationCondition, rule.condition)
    return condition.count + (condition.op is SigmaCorrelationConditionOperator.GT)


def evidence_fields(rule: SigmaCorrelationRule) -> list[str]:
    """Return the evidence of a correlation: its own fields and those of its rules, without the group and the count."""
    known = [*(rule.group_by or ()), counted_field(rule)]
    names = [name for reference in rule.referenced_rules for name in reference.rule.fields] + rule.fields
    return [name for name in dict.fromkeys(names) if name not in known]


def refuse_unslidable(rule: SigmaCorrelationRule, correlation_type: str) -> None:
    """Refuse a correlation that has no meaning as a sliding window.

    :raises SigmaFeatureNotSupportedByBackendError: for such a one.
    """
    condition = rule.condition
    if correlation_type != "value_count" or not isinstance(condition, SigmaCorrelationCondition):
        problem = f"correlation type {rule.type} has no sliding window here; only value_count does"
    elif not rule.group_by:
        problem = "a sliding value_count needs group-by"
    elif not isinstance(condition.fieldref, str):
        problem = "a sliding value_count counts one field, not a list of fields"
    elif condition.op not in (SigmaCorrelationConditionOperator.GTE, SigmaCorrelationConditionOperator.GT):
        problem = "a sliding value_count needs gte or gt: fewer than N values is true of almost every window"
    else:
        return
    raise SigmaFeatureNotSupportedByBackendError(f"rule '{rule.title}': {problem}", source=rule.source)
