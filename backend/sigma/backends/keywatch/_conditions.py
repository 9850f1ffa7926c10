"""What a correlation asks for: the comparison with a number, and the condition over rules, as a target writes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from sigma.backends.keywatch._correlation import Correlation, name_of
from sigma.correlations import (
    CorrelationConditionOR,
    SigmaCorrelationCondition,
    SigmaCorrelationConditionOperator,
    SigmaExtendedCorrelationCondition,
    SigmaRuleReference,
)

T = TypeVar("T")
#: The types that measure values, and may compare with what is no whole number.
MEASURES = ("value_sum", "value_avg")


def passes(correlation: Correlation) -> str:
    """Write the comparison with the number that a correlation asks for."""
    return " ".join(map(str, asked(correlation)))


def asked(correlation: Correlation) -> tuple[str, int]:
    """Return the comparison that a correlation asks for, and the number.

    A sum or a mean need be no whole number, so more than 20 is not at least 21.
    """
    condition = correlation.rule.condition
    if correlation.type in MEASURES and isinstance(condition, SigmaCorrelationCondition):
        more = condition.op == SigmaCorrelationConditionOperator.GT
        return ">" if more else ">=", condition.count
    return ">=", correlation.enough


def condition_over_rules(
    correlation: Correlation, met: Sequence[str], both: str = "AND", either: str = "OR"
) -> str | None:
    """Write a condition over rules; None where a correlation has none.

    :param met: for each rule, in their order, the condition that it is in the window.
    """
    return folded(correlation, met, *(partial(_bracketed, joiner) for joiner in (both, either)))


def _bracketed(joiner: str, args: list[str]) -> str:
    return "(" + f" {joiner} ".join(args) + ")"


def folded(
    correlation: Correlation, met: Sequence[T], both: Callable[[list[T]], T], either: Callable[[list[T]], T]
) -> T | None:
    """Make one value of a condition over rules; None where a correlation has none.

    :param met: the value of each rule, in their order.
    """
    condition = correlation.rule.condition
    if not isinstance(condition, SigmaExtendedCorrelationCondition):
        return None
    of_rule = dict(zip(correlation.rules, met, strict=True))

    def value(node: object) -> T:
        if isinstance(node, SigmaRuleReference):
            rule = getattr(node, "rule", None)
            return of_rule[name_of(rule) if rule else node.reference]
        fold = either if isinstance(node, CorrelationConditionOR) else both
        return fold([value(arg) for arg in getattr(node, "args", ())])

    return value(condition.parsed)
