"""What pySigma 1.5 does wrong, mended where a backend can be extended, and the few private members that this takes.

`tests/test_stock.py` has the least input for each defect, and fails when upstream has mended it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self, cast

from sigma.backends.keywatch._correlation import Rule, in_order
from sigma.collection import SigmaCollection
from sigma.conditions import ConditionFieldEqualsValueExpression
from sigma.conversion.base import Backend, TextQueryBackend
from sigma.conversion.state import ConversionState
from sigma.correlations import SigmaCorrelationRule
from sigma.exceptions import SigmaError
from sigma.filters import SigmaFilter  # type: ignore[attr-defined]
from sigma.rule import SigmaRule
from sigma.types import SigmaRegularExpression, SigmaString, SigmaType


class RepairedBackend(TextQueryBackend):
    """A text backend whose order, generated rules and collected errors are right."""

    def convert(self, rule_collection: SigmaCollection, *args: Any, **kwargs: Any) -> Any:
        """Convert a collection, each rule after those that it refers to.

        pySigma 1.5 sorts by an order in which most rules compare as equal, and so can put a correlation first. Mended
        in 2.0.
        """
        rule_collection.resolve_rule_references()
        rule_collection.rules = in_order(rule_collection.rules)
        return super().convert(rule_collection, *args, **kwargs)

    def convert_rule(
        self, rule: SigmaRule, output_format: str | None = None, callback: Callable[..., Any] | None = None
    ) -> list[Any]:
        """Convert a rule. One that a correlation refers to with `generate: true` is an alert by itself too.

        pySigma, 2.0.1 too, leaves the query of such a rule unfinished: it is what the correlation builds on.
        """
        queries = super().convert_rule(rule, output_format, callback)
        if not queries or not rule._backreferences or self.finalize_correlation_subqueries:
            return queries
        states = rule.get_conversion_states()
        return [
            self.finalize_query(rule, query, index, states[index], output_format or self.default_format)
            for index, query in enumerate(queries)
        ]

    def convert_condition_field_eq_val(self, cond: ConditionFieldEqualsValueExpression, state: ConversionState) -> Any:
        """Compare a field with a value.

        pySigma, 2.0.1 too, first goes up to the condition's root for each, to write `not =` as one operator, which no
        backend here does.
        """
        return Backend.convert_condition_field_eq_val(self, cond, state)

    def convert_condition_field_eq_val_str(
        self, cond: ConditionFieldEqualsValueExpression, state: ConversionState
    ) -> Any:
        """Compare a field with a text.

        pySigma, 2.0.1 too, compiles a regular expression of each text first, for expressions that have none here.
        """
        if type(cond.value) is SigmaString:
            cond = instead(cond, cond.field, _NotSought.of(cond.value))
        return super().convert_condition_field_eq_val_str(cond, state)

    def convert_value_re(self, r: SigmaRegularExpression, state: ConversionState) -> Any:
        """Write a regular expression, unless it is none."""
        return "" if r is _NotSought.NONE else super().convert_value_re(r, state)

    def convert_correlation_rule(self, rule: SigmaCorrelationRule, *args: Any, **kwargs: Any) -> list[Any]:
        """Convert a correlation; where errors are collected, collect its own too.

        pySigma, 2.0.1 too, collects those of plain rules only.
        :raises sigma.exceptions.SigmaError: if it can't be converted, and errors are not collected.
        """
        try:
            return super().convert_correlation_rule(rule, *args, **kwargs)
        except SigmaError as error:
            if not self.collect_errors:
                raise
            self.errors.append((cast(Any, rule), error))
            return []


class _NotSought(SigmaString):
    """A text that is not looked for with a regular expression."""

    NONE = SigmaRegularExpression("")

    @classmethod
    def of(cls, text: SigmaString) -> Self:
        """Return the same text so."""
        own = cls.__new__(cls)
        own.s, own.original = text.s, text.original
        return own

    def to_regex(self, custom_escaped: str = "") -> SigmaRegularExpression:
        """Return none."""
        return self.NONE


def instead(cond: Any, field: str, value: SigmaType) -> ConditionFieldEqualsValueExpression:
    """Return a condition on another field, or with another value, in place of one: with what pySigma's parser adds."""
    made = ConditionFieldEqualsValueExpression(field, value)
    made.parent, made.source = getattr(cond, "parent", None), getattr(cond, "source", None)
    return made


def fits(sigma_filter: SigmaFilter, rule: Rule) -> bool:
    """Tell whether a filter changes a rule. pySigma applies filters without saying to which."""
    return bool(sigma_filter._should_apply_on_rule(rule))


def enable_output(rule: Rule) -> None:
    """Have a rule converted, though a correlation refers to it. pySigma can only be told the reverse."""
    rule._output = True
