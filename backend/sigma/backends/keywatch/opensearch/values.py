"""Values in Query DSL: patterns, regular expressions, and what OpenSearch can't compare with."""

from __future__ import annotations

import re
from typing import Any

from sigma.backends.keywatch.opensearch.sliding import Json
from sigma.exceptions import SigmaFeatureNotSupportedByBackendError
from sigma.types import SigmaString, SpecialChars

#: Characters of a text, and of a pattern, that OpenSearch makes an automaton of: it refuses texts of more than 1000,
#: and patterns that are complex, which none of 300 is.
_LONGEST_TEXT, _LONGEST_PATTERN = 1000, 300
#: What the name of an object ends in whose whole content is meant.
INSIDE = ".*"
_ANY = SpecialChars.WILDCARD_MULTI
#: Signs that mean something in Lucene's regular expressions.
_REGEX_SIGNS = frozenset('.?+*|{}[]()"\\#@&<>~^$')


def inside(field: str, value: SigmaString) -> Json:
    """Look for a word in the texts and in the names of what is in an object.

    :raises SigmaFeatureNotSupportedByBackendError: for anything that may be more than a part of a word.
    """
    word = "".join(part for part in value.s if isinstance(part, str))
    if list(value.s) != [_ANY, word, _ANY] or not re.fullmatch("[A-Za-z0-9]+", word):
        raise SigmaFeatureNotSupportedByBackendError(
            f"field '{field.removesuffix(INSIDE)}': OpenSearch has no text of a whole object; it can find a word of "
            "letters and digits in one (contains)"
        )
    texts = {"query": f"*{word}*", "fields": [field], "analyze_wildcard": True, "lenient": True}
    names = [{"exists": {"field": f"{field.removesuffix('*')}*{word}*"}}]
    return {"bool": {"should": [{"query_string": texts}, *names], "minimum_should_match": 1}}


def boolean(field: str, value: SigmaString) -> Json:
    """Compare a field that is true or false with a text.

    :raises SigmaFeatureNotSupportedByBackendError: for a pattern.
    """
    if value.contains_special():
        raise SigmaFeatureNotSupportedByBackendError(
            f"field '{field}' is true or false in OpenSearch, and has no pattern"
        )
    text = text_of(value).lower()
    return {"term": {field: {"value": text == "true"}}} if text in ("true", "false") else {"match_none": {}}


def unsupported(field: str, what: str) -> SigmaFeatureNotSupportedByBackendError:
    """Return the error for what Query DSL has no form for."""
    return SigmaFeatureNotSupportedByBackendError(
        f"field '{field}': OpenSearch's queries have no {what} as Sigma means it"
    )


def text_of(value: SigmaString) -> str:
    """Return the text of a value without wildcards."""
    return "".join(map(str, value.s))


def pattern(value: SigmaString) -> str:
    """Return a pattern of the query `wildcard`."""
    return limited(value, value.convert(add_escaped="\\"))


def limited(value: SigmaString, text: str) -> str:
    """Return the text that a query has for a value, unless it is too long, escapes counted."""
    longest = _LONGEST_PATTERN if value.contains_special() else _LONGEST_TEXT
    if len(text) > longest:
        raise SigmaFeatureNotSupportedByBackendError(
            f"value '{str(value)[:20]}…' has {len(text)} characters; OpenSearch compares with up to {longest}"
        )
    return text


def is_variable(value: SigmaString) -> bool:
    """Tell whether a monitor would take a part of a value for a variable: they are filled in wherever they stand."""
    return "{{" in str(value)


def regex(value: SigmaString, *, cased: bool = False) -> str:
    """Return a regular expression, with both cases of letters beyond ASCII unless the case matters."""
    signs: dict[Any, str] = {SpecialChars.WILDCARD_MULTI: ".*", SpecialChars.WILDCARD_SINGLE: "."}
    return limited(
        value,
        "".join(signs.get(part) or "".join(_either_case(char, cased=cased) for char in str(part)) for part in value.s),
    )


def _either_case(char: str, *, cased: bool) -> str:
    if not cased and not char.isascii() and char.lower() != char.upper():
        return f"[{char.lower()}{char.upper()}]"
    return "\\" + char if char in _REGEX_SIGNS else char
