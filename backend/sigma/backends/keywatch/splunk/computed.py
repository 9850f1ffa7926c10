r"""Conditions that Splunk's search command can't say, as expressions of eval.

The command has no regular expressions, no regard to case, no wildcard for one character, no literal asterisk and no
network that is a text, it compares what is no number as text, and it compares no two fields. A field may hold several
values (a list's, under a name with {}), of which one has to match.
"""

from __future__ import annotations

from sigma.backends.keywatch._regex import flags_of
from sigma.exceptions import SigmaFeatureNotSupportedByBackendError
from sigma.types import SigmaCasedString, SigmaFieldReference, SigmaRegularExpression, SigmaString, SpecialChars

_SIGNS = frozenset("\\^$|?*+.()[]{}`\"'#")


def matching(field: str, value: SigmaString | SigmaRegularExpression) -> str:
    """Return the expression that is true where a value of a field matches a text or a regular expression."""
    if isinstance(value, SigmaRegularExpression):
        pattern = flags_of(value) + str(value.regexp).replace("`", "\\x60")
    else:
        pattern = f"{'(?s)' if isinstance(value, SigmaCasedString) else '(?is)'}^{_regex(value)}$"
    return _any(f"match({_name(field)}, {_text(pattern)})")


def comparing(field: str, operator: str, number: object) -> str:
    """Return the expression that is true where a value of a field is a number that is less, or more, than another."""
    return _any(f"tonumber({_name(field)}) {operator} {number}")


def referring(field: str, other: SigmaFieldReference) -> str:
    """Return the expression that is true where a field has the value of another, or begins or ends with it.

    :raises SigmaFeatureNotSupportedByBackendError: for two lists.
    """
    if "{}" in field and "{}" in other.field:
        raise SigmaFeatureNotSupportedByBackendError(
            f"field '{field}': Splunk can't compare each value of a list with each of another ('{other.field}')"
        )
    one, two = f"lower({_name(field)})", f"lower({_name(other.field)})"
    same = f"{one} == {two}"
    if other.starts_with:
        same = f"substr({one}, 1, len({two})) == {two}"
    elif other.ends_with:
        same = f"len({one}) >= len({two}) AND substr({one}, len({one}) - len({two}) + 1) == {two}"
    listed = next((name for name in (field, other.field) if "{}" in name), None)
    return f"isnotnull(mvmap({_name(listed)}, if({same}, 1, null())))" if listed else same


def _any(condition: str) -> str:
    return f"isnotnull(mvfilter({condition}))"


def _name(field: str) -> str:
    return f"'{field}'"


def _text(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _regex(value: SigmaString) -> str:
    signs = {SpecialChars.WILDCARD_MULTI: ".*", SpecialChars.WILDCARD_SINGLE: "."}
    return "".join(
        signs[part]  # type: ignore[index]
        if not isinstance(part, str)
        else "".join(f"\\x{ord(char):02x}" if char in _SIGNS else char for char in part)
        for part in value.s
    )
