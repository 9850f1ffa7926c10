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
    SigmaExtendedCorrelationCondition,
    SigmaRuleReference,
)
from sigma.pipelines.keywatch._fields import OPTIONAL, below, cloudtrail, cloudtrail_names
from sigma.rule import SigmaRule
from sigma.rule.attributes import SigmaLevel

Rule = SigmaRule | SigmaCorrelationRule


#: What is counted where a condition has a list of fields: a text of their values together, from which each can be told.
COMBINATION = "combination"
#: The column in which an alert says how many events of each Region failed with what, or worked, and from when to when.
OUTCOMES = "outcomes"
#: How an event that has no error ended. The add-on for Splunk writes the same.
SUCCESS = "success"


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
        rules = tuple(name_of(reference.rule) for reference in rule.referenced_rules)
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
    def kind(self) -> str:
        """The type, and whether a condition over rules decides: what pySigma has a template for."""
        extended = isinstance(self.rule.condition, SigmaExtendedCorrelationCondition)
        return f"{self.type}_extended" if extended else self.type

    @property
    def inner(self) -> tuple[Self, ...]:
        """The correlations among the rules referred to, each once."""
        references = {id(reference.rule): reference.rule for reference in self.rule.referenced_rules}
        return tuple(view for rule in references.values() if (view := type(self).of(rule)))

    def aliases_in(self, reference: SigmaRuleReference) -> dict[str, str]:
        """Return alias → the field that it stands for in a rule referred to.

        Aliases may know the rule by its name, and the list of rules by its id: pySigma resolves only the latter.
        """
        known = (reference.reference, reference.rule.name, str(reference.rule.id))
        return {
            alias.alias: field
            for alias in self.rule.aliases
            for rule, field in alias.mapping.items()
            if rule.reference in known
        }

    @property
    def reach(self) -> int:
        """How many seconds before an event there may be what it completes: correlations inside begin earlier."""
        reaches: dict[int, int] = {}
        for rule in [*below(self.rule), self.rule]:
            if isinstance(rule, SigmaCorrelationRule):
                inside = max((reaches.get(id(reference.rule), 0) for reference in rule.referenced_rules), default=0)
                reaches[id(rule)] = rule.timespan.seconds + inside
        return reaches[id(self.rule)]

    @property
    def over_rules(self) -> bool:
        """Whether it matters which rule an event matches."""
        return self.type.startswith("temporal")

    @property
    def tagged(self) -> bool:
        """Whether an event is there once for each of the rules that it matches."""
        return self.over_rules or bool(self.rule.aliases) or bool(self.inner)

    @property
    def needs_ids(self) -> bool:
        """Whether an event must be told from another: where it can be there several times, and counts once."""
        return self.type != "value_count" or len(self.rules) > 1 or self.tagged

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
        rules = below(self.rule)
        # What a rule was given because it says nothing is not meant for the correlation, which says something itself.
        asked = [name for rule in rules if OPTIONAL not in rule.custom_attributes for name in rule.fields]
        names = [*self.parts, *asked, *self.rule.fields]
        return [name for name in dict.fromkeys(names) if name not in self.group and name != self.counted]

    @property
    def outcome(self) -> tuple[str, str] | None:
        """The fields that say where an event was and how it ended; None if an alert does not have both.

        The events of a correlation inside have only what it groups by.
        """
        names = cloudtrail_names(self.rule)
        found = {names.get(field): field for field in (*self.keys, *self.evidence)}
        region, error = map(found.get, cloudtrail()["outcome"])
        return (region, error) if region and error and not self.inner else None


def name_of(rule: Rule) -> str:
    """Return what another rule refers to a rule by."""
    return str(rule.name or rule.id)


def in_order(rules: Iterable[Rule]) -> list[Rule]:
    """Return resolved rules so that each stands after those that it refers to."""
    depths: dict[int, int] = {}

    def depth(rule: Rule) -> int:
        for one in [*below(rule), rule]:
            references = getattr(one, "referenced_rules", ())
            depths[id(one)] = 1 + max((depths[id(reference.rule)] for reference in references), default=-1)
        return depths[id(rule)]

    return sorted(rules, key=depth)


def id_of(rule: Rule) -> str:
    """Return a rule's id; one made of its title for one that has none."""
    return str(rule.id or uuid5(NAMESPACE_URL, rule.title))


def level_of(rule: Rule) -> SigmaLevel:
    """Return a rule's level; medium for one that does not say."""
    return rule.level or SigmaLevel.MEDIUM
