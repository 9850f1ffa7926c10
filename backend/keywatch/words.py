"""Words that a person reads: counts with their nouns, and the name that was probably meant."""

from __future__ import annotations

from collections.abc import Iterable

#: More names than these are not listed: a command lists them.
_LISTED = 20
#: So many names that hold what was given may be meant, where none is spelt nearly like it.
_MEANT = 3


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: `1 alert`, `2 alerts`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def nothing_called(kind: str, name: str, names: Iterable[str], listing: str = "") -> str:
    """Say that nothing has a name, which name was probably meant, and which there are.

    :param kind: what the name should be one of, such as `target`.
    :param listing: the command that lists the names, where there are many.
    """
    from difflib import get_close_matches

    spelt = {one.casefold(): one for one in names}
    near = get_close_matches(name.casefold(), spelt, 1) or [one for one in spelt if name.casefold() in one][:_MEANT]
    several = len(spelt) > _LISTED and listing
    there = f"`{listing}` lists them" if several else f"choose from: {', '.join(spelt.values()) or '(none)'}"
    meant = f"; did you mean {' or '.join(repr(spelt[one]) for one in near)}?" if near else ""
    return f"there is no {kind} '{name}'; {there}{meant}"


def wrapped(text: str, width: int, first: str = "", others: str = "") -> str:
    """Return a text in lines that are no longer than a width; names with hyphens stay whole.

    :param first: stands in front of the first line, `others` in front of all others.
    """
    import textwrap

    return textwrap.fill(text, width, initial_indent=first, subsequent_indent=others, break_on_hyphens=False)
