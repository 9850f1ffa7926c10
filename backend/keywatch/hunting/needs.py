"""What each rule can't do without: words of which a record has some if the rule matches it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import NamedTuple

from sigma.backends.keywatch._correlation import Rule
from sigma.conditions import ConditionAND, ConditionFieldEqualsValueExpression, ConditionOR
from sigma.pipelines.keywatch._fields import cloudtrail, cloudtrail_names
from sigma.rule import SigmaRule
from sigma.types import SigmaString

#: Characters that JSON has for itself, or that have another spelling in it besides \u….
_UNCLEAR = re.compile(r"[^!#-+\-.0-9;-Z^-z|~]")
_SHORTEST, _RARE = 3, 10


class Clue(NamedTuple):
    """What every record with a value has: a word in the text of a field, in lower case, or as what it begins with."""

    field: str
    word: str
    begins: bool


#: Where a converted rule carries its needs.
_NEEDS = "keywatch_needs"
#: What a rule can't do without: a clue of each set.
Needs = tuple[frozenset[Clue], ...]


def needs_of(rules: Iterable[Rule]) -> list[Needs] | None:
    """Return what each of the rules of single events needs; None if one of them gives no clue."""
    found: dict[Needs, None] = {}
    for rule in rules:
        if isinstance(rule, SigmaRule):
            for needs in _of_rule(rule):
                if not needs:
                    return None
                found[needs] = None
        else:
            referenced = needs_of(reference.rule for reference in rule.referenced_rules)
            if referenced is None:
                return None
            found |= dict.fromkeys(referenced)
    return list(found)


def _of_rule(rule: SigmaRule) -> list[Needs]:
    """Return what each condition of a converted rule needs; found once, as it is asked for several times."""
    if _NEEDS not in rule.custom_attributes:
        names = cloudtrail_names(rule)
        rule.custom_attributes[_NEEDS] = [_needs(one.parsed, names) for one in rule.detection.parsed_condition]
    needs: list[Needs] = rule.custom_attributes[_NEEDS]
    return needs


def named(names: Sequence[str]) -> Callable[[Iterable[Needs] | None], bool]:
    """Return what tells whether an event with one of some names may have what one of some rules needs.

    :param names: values of eventName.
    """
    lowered = {name: name.lower() for name in names}
    unclear = {name for name in names if not name.isascii()}  # their letters may fold in other ways

    @cache
    def having(clue: Clue) -> frozenset[str]:
        has = str.startswith if clue.begins else str.__contains__
        return frozenset(unclear.union(name for name, lower in lowered.items() if has(lower, clue.word)))

    def may_match(rules: Iterable[Needs] | None) -> bool:
        return rules is None or any(fitting(needs) for needs in rules)

    def fitting(needs: Needs) -> frozenset[str]:
        of_names = [clues for clues in needs if all(clue.field == "eventName" for clue in clues)]
        return frozenset(names).intersection(*(frozenset().union(*map(having, clues)) for clues in of_names))

    return may_match


def of_field(clues: frozenset[Clue], field: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return those of a set of clues that are a field's: with what its text begins, what it holds."""
    mine = sorted(clue for clue in clues if clue.field == field)
    return tuple(clue.word for clue in mine if clue.begins), tuple(clue.word for clue in mine if not clue.begins)


def bits_held(tests: list[tuple[int, tuple[str, ...], tuple[str, ...]]], text: str | None) -> int:
    """Return the bits of the sets that have a clue in a field's text. If letters may fold in other ways, all do."""
    if text is None:
        return 0
    lower = text.lower()
    return sum(
        bit
        for bit, beginnings, words in tests
        if lower.startswith(beginnings) or any(word in lower for word in words) or not text.isascii()
    )


def _needs(condition: object, names: dict[str, str]) -> Needs:
    if isinstance(condition, ConditionAND):
        return tuple(need for argument in condition.args for need in _needs(argument, names))
    if isinstance(condition, ConditionOR):
        alternatives = [_needs(argument, names) for argument in condition.args]
        if all(alternatives):
            return (frozenset[Clue]().union(*(max(needs, key=selectivity) for needs in alternatives)),)
    if isinstance(condition, ConditionFieldEqualsValueExpression) and isinstance(condition.value, SigmaString):
        clue = _clue(names.get(condition.field, condition.field), condition.value)
        return (frozenset([clue]),) if clue else ()
    return ()


def selectivity(clues: frozenset[Clue]) -> tuple[int, int]:
    """Order sets of clues: words long enough to be rare, then few of them, for each is looked for by itself."""
    shortest = min(len(clue.word) for clue in clues)
    return min(shortest, _RARE), -len(clues)


def _clue(field: str, value: SigmaString) -> Clue | None:
    first = value.s[0] if value.s else ""
    beginning = _UNCLEAR.split(first)[0] if isinstance(first, str) else ""
    longest = max(
        (piece for part in value.s if isinstance(part, str) for piece in _UNCLEAR.split(part)), key=len, default=""
    )
    # What lies below an open object may be a list, whose text begins otherwise.
    is_plain = field in cloudtrail()["fields"]
    if is_plain and len(beginning) >= max(_SHORTEST, len(longest) - 1):
        return Clue(field, beginning.lower(), begins=True)
    return Clue(field, longest.lower(), begins=False) if len(longest) >= _SHORTEST else None
