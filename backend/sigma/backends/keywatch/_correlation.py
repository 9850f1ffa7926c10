"""A typed view of a correlation rule: what it groups by, what it counts and how much of it is an alert."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self
from uuid import NAMESPACE_URL, uuid5

from sigma.correlations import (
    SigmaCorrelationCondition,
    SigmaCorrelationConditionOperator,
    SigmaCorrelationRule,
)
from sigma.pipelines.keywatch._fields import OPTIONAL
from sigma.rule import SigmaRule
from sigma.rule.attributes import SigmaLevel

Rule = SigmaRule | SigmaCorrelationRule


#: What is counted where a condition has a list of fields: a text of their values together, from which each can be told.
COMBINATION = "combination"


@dataclass(frozen=True)
class Correlation:
    """What a correlation says, in the field names that its rule has at the moment."""

    rule: SigmaCorrelationRule
    #: The fields whose values tell one group from another; none puts all events into one group.
    group: tuple[str, ...]
    #: The field whose values are counted or summed up, or COMBINATION; None where events or rules are counted.
    counted: str | None
    #: The fields whose values are counted together; none where it is only one.
    parts: tuple[str, ...]
    #: The least count that is an alert; None where the condition is not a least count.
    least: int | None
    #: The names of the rules referred to, in their order.
    rules: tuple[str, ...]

    @classmethod
    def of(cls, rule: Rule) -> Self | None:
        """Return the view of a correlation; None for a rule of single events."""
        if not isinstance(rule, SigmaCorrelationRule):
            return None
        condition = rule.condition
        counted: str | None = None
        least: int | None = None
        parts: tuple[str, ...] = ()
        if isinstance(condition, SigmaCorrelationCondition):
            fields = condition.fieldref if isinstance(condition.fieldref, list) else [condition.fieldref]
            counted, parts = (COMBINATION, tuple(fields)) if len(fields) > 1 else (fields[0], ())
            beyond = {SigmaCorrelationConditionOperator.GTE: 0, SigmaCorrelationConditionOperator.GT: 1}
            least = condition.count + beyond[condition.op] if condition.op in beyond else None
        rules = tuple(str(ref.rule.name or ref.rule.id) for ref in rule.referenced_rules)
        return cls(rule, tuple(rule.group_by or ()), counted, parts, least, rules)

    @property
    def type(self) -> str:
        """The correlation type, as Sigma's specification names it."""
        return str(self.rule.type)

    @property
    def window(self) -> int:
        """The length of the window, in seconds."""
        return self.rule.timespan.seconds

    @property
    def over_rules(self) -> bool:
        """Whether it matters which rule an event matches."""
        return self.type.startswith("temporal")

    @property
    def needs_ids(self) -> bool:
        """Whether an event must be told from another: where it can be there several times, and counts once."""
        return self.type != "value_count" or len(self.rules) > 1

    @property
    def enough(self) -> int:
        """The count that is an alert; where a condition over rules decides, that of all rules."""
        return len(self.rules) if self.least is None else self.least

    @property
    def keys(self) -> tuple[str, ...]:
        """The fields without which an event takes no part: those of the group, and the one that is counted."""
        if self.counted is None or self.parts:
            return (*self.group, *self.parts)
        return (*self.group, self.counted)

    @property
    def evidence(self) -> list[str]:
        """The fields that an alert shows besides its keys: those of the correlation and of its rules."""
        rules = [reference.rule for reference in self.rule.referenced_rules]
        # What a rule was given because it says nothing is not meant for the correlation, which says something itself.
        asked = [name for rule in rules if OPTIONAL not in rule.custom_attributes for name in rule.fields]
        names = [*self.parts, *asked, *self.rule.fields]
        return [name for name in dict.fromkeys(names) if name not in self.group and name != self.counted]


def in_order(rules: Iterable[Rule]) -> list[Rule]:
    """Return resolved rules so that each stands after those that it refers to."""
    return sorted(rules, key=_depth)


def _depth(rule: Rule) -> int:
    if isinstance(rule, SigmaRule):
        return 0
    return 1 + max((_depth(reference.rule) for reference in rule.referenced_rules), default=0)


def id_of(rule: Rule) -> str:
    """Return a rule's id; one made of its title for one that has none."""
    return str(rule.id or uuid5(NAMESPACE_URL, rule.title))


def level_of(rule: Rule) -> SigmaLevel:
    """Return a rule's level; medium for one that does not say."""
    return rule.level or SigmaLevel.MEDIUM
