"""Texts and names in SQL."""

from __future__ import annotations

from sigma.types import SigmaString

#: The group of all events, where a correlation groups by nothing.
ALL_EVENTS = '"all events"'


def literal(text: str) -> str:
    """Quote a string for SQL."""
    return "'" + text.replace("'", "''") + "'"


def lower_literal(text: str) -> str:
    """Quote a string that is compared in lower case: the engine folds letters beyond ASCII itself."""
    return literal(text.lower()) if text.isascii() else f"lower({literal(text)})"


def like_pattern(value: SigmaString) -> str:
    """Return a value as a LIKE pattern, with a backslash as the escape sign."""
    return value.convert(wildcard_multi="%", wildcard_single="_", add_escaped="\\")


def quoted(name: str) -> str:
    """Quote the name of a column."""
    return '"' + name.replace('"', '""') + '"'
