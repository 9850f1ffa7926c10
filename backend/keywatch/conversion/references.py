"""Correlations and the rules that they refer to, before pySigma resolves them."""

from __future__ import annotations

from collections import defaultdict

from sigma.backends.keywatch._correlation import Rule
from sigma.correlations import SigmaCorrelationRule

from keywatch.conversion.decoration import WRITTEN_ID
from keywatch.conversion.problems import located
from keywatch.errors import UserError

#: How many correlations may stand on each other: pySigma goes through them by recursion.
_DEEPEST = 16


def resolvable(rules: list[Rule], problems: list[UserError]) -> tuple[list[Rule], list[SigmaCorrelationRule]]:
    """Part the rules from the correlations that need a rule which is not there, or themselves."""
    left_out: list[SigmaCorrelationRule] = []
    # Some packs refer to rules by their titles, or by ids that are none, as far as they have no names.
    wanted = {reference for rule in rules for reference in references(rule)}
    for rule in rules:
        if rule.name is None:
            others = (rule.title, rule.custom_attributes.get(WRITTEN_ID))
            rule.name = next((name for name in others if isinstance(name, str) and name in wanted), None)
    known = {key: rule for rule in rules for key in (rule.name, str(rule.id)) if key}
    depths = _depths(rules, known)
    for rule in rules:
        if isinstance(rule, SigmaCorrelationRule) and depths.get(id(rule), 0) > _DEEPEST:
            problems.append(located(f"rule '{rule.title}' stands on more than {_DEEPEST} correlations", rule.source))
            left_out.append(rule)
    waiting = [rule for rule in rules if isinstance(rule, SigmaCorrelationRule) and id(rule) not in depths]
    while waiting:
        rule, problem = next((rule, problem) for rule in waiting if (problem := _unresolvable(rule, known, depths)))
        problems.append(located(problem, rule.source))
        left_out.append(rule)
        waiting.remove(rule)
        known = {key: other for key, other in known.items() if other is not rule}
    gone = set(map(id, left_out))
    return [rule for rule in rules if id(rule) not in gone], left_out


def _depths(rules: list[Rule], known: dict[str, Rule]) -> dict[int, int]:
    """Return on how many correlations each rule stands, by its identity; without those that can't be resolved."""
    missing = {id(rule): len(set(references(rule))) for rule in rules}
    above: dict[int, list[Rule]] = defaultdict(list)
    for rule in rules:
        for reference in set(references(rule)) & known.keys():
            above[id(known[reference])].append(rule)
    depths = {id(rule): 0 for rule in rules if not missing[id(rule)]}
    todo = [rule for rule in rules if not missing[id(rule)]]
    while todo:
        rule = todo.pop()
        for other in above[id(rule)]:
            missing[id(other)] -= 1
            if not missing[id(other)]:
                below = (depths[id(known[reference])] for reference in references(other))
                depths[id(other)] = 1 + max(below)
                todo.append(other)
    return depths


def _unresolvable(rule: SigmaCorrelationRule, known: dict[str, Rule], depths: dict[int, int]) -> str | None:
    """Say what a rule needs that is not there; None if it is another rule's fault that comes first."""
    seen: set[int] = set()
    todo: list[Rule] = [rule]
    while todo:
        for reference in references(todo.pop()):
            if reference not in known:
                return f"Rule '{reference}' not found in rule collection"
            other = known[reference]
            if other is rule:
                return f"rule '{rule.title}' refers to itself, by way of '{reference}'"
            if id(other) not in seen and id(other) not in depths:
                seen.add(id(other))
                todo.append(other)
    return None


def references(rule: Rule) -> list[str]:
    """Return the names or ids of the rules that a rule refers to, before they are resolved."""
    if not isinstance(rule, SigmaCorrelationRule):
        return []
    if rule.rules is not None:
        return [reference.reference for reference in rule.rules]
    return list(getattr(rule.condition, "get_referenced_rules", list)())
