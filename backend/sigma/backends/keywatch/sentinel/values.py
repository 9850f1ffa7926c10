"""Values in KQL, whose operators ignore the case of ASCII letters only."""

from __future__ import annotations

from sigma.backends.keywatch._regex import of_wildcards
from sigma.exceptions import SigmaFeatureNotSupportedByBackendError
from sigma.types import SigmaCasedString, SigmaString, SpecialChars

#: (wildcard in front, wildcard behind) → operator that ignores the case of ASCII letters, operator that does not.
_OPERATORS = {
    (False, False): ("=~", "=="),
    (False, True): ("startswith", "startswith_cs"),
    (True, False): ("endswith", "endswith_cs"),
    (True, True): ("contains", "contains_cs"),
}


def literal(text: str) -> str:
    """Quote a text for KQL. Control characters are refused before."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def comparison(field: str, value: SigmaString) -> str:
    """Write a comparison with a text, without regard to case unless the case matters.

    :raises SigmaFeatureNotSupportedByBackendError: for an empty text.
    """
    if not len(value):
        raise SigmaFeatureNotSupportedByBackendError("an empty text is no value in Sentinel; use null")
    cased = isinstance(value, SigmaCasedString)
    parts = list(value.s)
    if all(part is SpecialChars.WILDCARD_MULTI for part in parts):
        return f"isnotempty({field})"
    wild = (parts[0] is SpecialChars.WILDCARD_MULTI, parts[-1] is SpecialChars.WILDCARD_MULTI)
    texts = parts[wild[0] : len(parts) - wild[1]]
    if not all(isinstance(part, str) for part in texts):
        flags = "(?s)" if cased else "(?is)"
        return f"{field} matches regex {literal(f'{flags}^{of_wildcards(value)}$')}"
    text = literal("".join(map(str, texts)))
    if not cased and not text.isascii():
        field, text = f"tolower({field})", f"tolower({text})"
    return f"{field} {_OPERATORS[wild][cased or not text.isascii()]} {text}"
