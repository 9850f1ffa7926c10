"""Rules by the names that a person gives: their name, ID, title or file, and their level."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sigma.backends.keywatch._correlation import Rule, level_of
from sigma.rule.attributes import SigmaLevel

from keywatch.conversion.rules import Pack
from keywatch.errors import UserError
from keywatch.words import nothing_called


def choose(pack: Pack, names: Iterable[str], least: str | None = None) -> None:
    """Leave only some rules as alerts.

    :param names: of the rules; all if there are none.
    :param least: a level, as Sigma names it; a rule that says none is medium.
    :raises UserError: if no rule has one of the names, or none is left.
    """
    found = {id(rule) for name in names for rule in named(name, pack.outputs())}
    for rule in pack.outputs():
        below = least is not None and level_of(rule).value < SigmaLevel[least.upper()].value
        if below or (found and id(rule) not in found):
            pack.left_out.add(id(rule))
    if pack.left_out and not pack.outputs():
        raise UserError(f"no rule is left: none of those that are asked for has the level {least}, or a higher one")


def named(name: str, rules: Iterable[Rule]) -> list[Rule]:
    """Return the rules that a name is of.

    :raises UserError: if there is none.
    """
    called: dict[str, list[Rule]] = {}
    for rule in rules:
        for one in dict.fromkeys(map(str.casefold, _names(rule))):
            called.setdefault(one, []).append(rule)
    if name.casefold() in called:
        return called[name.casefold()]
    choices = dict.fromkeys(one for of_name in called.values() for rule in of_name for one in _names(rule))
    raise UserError(nothing_called("rule", name, choices, "keywatch rules"))


def name_of(rule: Rule) -> str:
    """Return what a rule is called by: its name, or its file's, or its title."""
    return next(iter(_names(rule)))


def _names(rule: Rule) -> Iterator[str]:
    yield from filter(None, [rule.name, rule.source.path.stem if rule.source else None, rule.title])
    yield from [str(rule.id)] if rule.id else []
