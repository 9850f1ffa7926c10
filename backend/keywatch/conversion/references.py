"""Correlations and the rules that they refer to, before pySigma resolves them."""

from __future__ import annotations

from sigma.backends.keywatch._correlation import Rule
from sigma.correlations import SigmaCorrelationRule

from keywatch.conversion.problems import located
from keywatch.errors import UserError


def resolvable(rules: list[Rule], problems: list[UserError]) -> tuple[list[Rule], list[SigmaCorrelationRule]]:
    """Part the rules from the correlations that need a rule which is not there, or themselves."""
    left_out: list[SigmaCorrelationRule] = []
    # Some packs refer to rules by their titles, as far as they have no names.
    wanted = {reference for rule in rules for reference in references(rule)}
    for rule in rules:
        if rule.name is None and rule.title in wanted:
            rule.name = rule.title
    while True:
        known = {key: rule for rule in rules for key in (rule.name, str(rule.id)) if key}
        for rule in rules:
            if isinstance(rule, SigmaCorrelationRule) and (problem := _unresolvable(rule, known)):
                problems.append(located(problem, rule.source))
                left_out.append(rule)
                rules = [other for other in rules if other is not rule]
                break
        else:
            return rules, left_out


def _unresolvable(rule: SigmaCorrelationRule, known: dict[str, Rule]) -> str | None:
    seen: list[Rule] = []
    todo: list[Rule] = [rule]
    while todo:
        for reference in references(todo.pop()):
            if reference not in known:
                return f"Rule '{reference}' not found in rule collection"
            if known[reference] is rule:
                return f"rule '{rule.title}' refers to itself, by way of '{reference}'"
            if not any(known[reference] is other for other in seen):
                seen.append(known[reference])
                todo.append(known[reference])
    return None


def references(rule: Rule) -> list[str]:
    """Return the names or ids of the rules that a rule refers to, before they are resolved."""
    if not isinstance(rule, SigmaCorrelationRule):
        return []
    if rule.rules is not None:
        return [reference.reference for reference in rule.rules]
    return list(getattr(rule.condition, "get_referenced_rules", list)())
