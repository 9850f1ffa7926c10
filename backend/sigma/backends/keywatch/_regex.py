r"""Sigma's regular expressions, which are PCRE's, in dialects that have less.

They are searched for anywhere in a text, with regard to case unless the flag i is set.
"""

from __future__ import annotations

import re
from typing import Any

from sigma.exceptions import SigmaFeatureNotSupportedByBackendError
from sigma.types import SigmaCasedString, SigmaRegularExpression, SigmaRegularExpressionFlag, SigmaString, SpecialChars

#: What finite automata can't do, in front of what follows it: looking around, references, atomic and named groups.
_BEYOND = re.compile(r"\\.|(?P<beyond>\(\?(?!:|P<\w+>))|(?P<possessive>[*+?}]\+)", re.DOTALL)
_REFERENCE = re.compile(r"\\[1-9kKgGZhHRXN]")
#: Besides, what automata without look-around for words have no sign for.
_LUCENE_LACKS = re.compile(r"\\[AzZbBpPQEXRNhHvVC]")
_TOKEN = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\(\?:|\(\?P<\w+>|[*+?}]\?|.", re.DOTALL)
#: What a class consists of.
_ITEM = re.compile(r"\\.|[^\\]-[^\\]|.", re.DOTALL)
_WILDCARD = re.compile(r"(?P<any>\.[*+]?\??)|(?P<text>\\[^\w\s]|[^\\*+?{}\[\]()|^$.])|.", re.DOTALL)
_ANY: dict[str, list[SpecialChars]] = {
    ".": [SpecialChars.WILDCARD_SINGLE],
    ".*": [SpecialChars.WILDCARD_MULTI],
    ".+": [SpecialChars.WILDCARD_SINGLE, SpecialChars.WILDCARD_MULTI],
    ".*?": [SpecialChars.WILDCARD_MULTI],
    ".+?": [SpecialChars.WILDCARD_SINGLE, SpecialChars.WILDCARD_MULTI],
}
#: Signs of Lucene's regular expressions that mean something, and nothing in PCRE.
_LUCENE_SIGNS = frozenset('@&<>~#"')
_CLASSES = {"d": "0-9", "w": "A-Za-z0-9_", "s": " \\t\\n\\r"}


def re2(value: SigmaRegularExpression, field: str) -> str:
    """Return a regular expression for RE2, which has PCRE's syntax as far as it goes.

    :raises SigmaFeatureNotSupportedByBackendError: for what RE2 can't say.
    """
    pattern = str(value.regexp)
    _refuse_beyond(pattern, field)
    return flags_of(value) + pattern


def of_wildcards(value: SigmaString) -> str:
    """Return a regular expression of a text with wildcards, without its ends. pySigma escapes `.` and `*` by itself."""
    return value.convert(wildcard_multi=".*", wildcard_single=".", add_escaped="\\^$|?+()[]{}")


def flags_of(value: SigmaRegularExpression) -> str:
    """Return the flags of a regular expression as they stand in front of it: (?is)."""
    flags = "".join(sorted(value.sigma_to_re_flag[flag] for flag in value.flags))
    return f"(?{flags})" if flags else ""


def lucene(value: SigmaRegularExpression, field: str) -> str:
    """Return a regular expression for Lucene: of a whole text, without classes and lazy repetitions.

    The flag i is left to the query, but for classes, which Lucene 9 compares with regard to case all the same.
    :raises SigmaFeatureNotSupportedByBackendError: for what Lucene can't say.
    """
    begin, tokens, end = _anchored(value, field)
    if SigmaRegularExpressionFlag.IGNORECASE in value.flags:
        tokens = [_both_cases(token) if token.startswith("[") else token for token in tokens]
    written = "".join(_lucene_token(token) for token in tokens)
    return ("" if begin else ".*") + (f"({written})" if _has_alternatives(tokens) else written) + ("" if end else ".*")


def inside(value: SigmaRegularExpression, field: str, character: str, kept_out: str) -> str:
    r"""Return a regular expression of a whole text that stands inside another, and does not reach beyond its end.

    :param character: the expression of any one character of such a text.
    :param kept_out: the characters, as they stand in a class, that are none of them.
    :raises SigmaFeatureNotSupportedByBackendError: for what RE2 can't say, and anchors that are not at the ends.
    """
    begin, tokens, end = _anchored(value, field)
    written = "".join(_bounded(token, character, kept_out) for token in tokens)
    return ("" if begin else f"{character}*") + f"(?:{written})" + ("" if end else f"{character}*")


def _bounded(token: str, character: str, kept_out: str) -> str:
    if token == ".":
        return character
    if token.startswith("[^"):
        return f"[^{kept_out}{token[2:]}"
    return f"[^{kept_out}\\{token[1].lower()}]" if token in ("\\W", "\\D", "\\S") else token


def _anchored(value: SigmaRegularExpression, field: str) -> tuple[bool, list[str], bool]:
    """Return whether an expression is of a text's beginning, what it consists of, and whether it is of its end.

    :raises SigmaFeatureNotSupportedByBackendError: for an anchor elsewhere, and for what only PCRE has.
    """
    _refuse_beyond(str(value.regexp), field)
    # CloudTrail's texts have no lines, so that a dot matches every character of them anyway.
    if SigmaRegularExpressionFlag.MULTILINE in value.flags:
        raise _refused(field, "its flags have none like them there")
    pattern = str(value.regexp)
    begin, end = pattern.startswith("^"), pattern.endswith("$") and not pattern.endswith("\\$")
    tokens = _TOKEN.findall(pattern[begin : len(pattern) - end])
    if (begin or end) and _has_alternatives(tokens):
        raise _refused(field, "an anchor beside an alternative has no meaning there; put the alternatives into a group")
    if "^" in tokens or "$" in tokens:
        raise _refused(field, "^ and $ have a meaning only at its ends there")
    for token in filter(_LUCENE_LACKS.fullmatch, tokens):
        raise _refused(field, f"'{token}' has no form there")
    return begin, tokens, end


def wildcards(value: SigmaRegularExpression, field: str) -> SigmaCasedString:
    """Return a regular expression as a text with wildcards, which it is where it has texts and any characters only.

    :raises SigmaFeatureNotSupportedByBackendError: for any other.
    """
    many = SpecialChars.WILDCARD_MULTI
    pattern = str(value.regexp)
    begin, end = pattern.startswith("^"), pattern.endswith("$") and not pattern.endswith("\\$")
    parts: list[Any] = [] if begin else [many]
    for found in _WILDCARD.finditer(pattern[begin : len(pattern) - end]):
        if found["text"] is None and found["any"] not in _ANY:
            raise _refused(field, f"'{found[0]}' has no form there")
        parts += [found["text"].removeprefix("\\")] if found["text"] else _ANY[found["any"]]
    if value.flags - {SigmaRegularExpressionFlag.DOTALL}:
        raise _refused(field, "its flags have none like them there")
    text = SigmaCasedString("")
    text.s = parts if end else [*parts, many]
    return text


def _has_alternatives(tokens: list[str]) -> bool:
    """Tell whether alternatives stand outside groups."""
    depth = 0
    for token in tokens:
        depth += (token in ("(", "(?:") or token.startswith("(?P<")) - (token == ")")
        if token == "|" and depth == 0:
            return True
    return False


def _both_cases(token: str) -> str:
    """Return a class of characters with their other case beside them."""
    items = [item for item in _ITEM.findall(token[1:-1]) if not item.startswith("\\")]
    others = [other for item in items if (other := item.swapcase()) != item and other[0] <= other[-1]]
    return token[:-1] + "".join(others) + "]"


def _lucene_token(token: str) -> str:
    kind = token[1:2] if token.startswith("\\") else ""
    if token in _LUCENE_SIGNS:
        token = "\\" + token
    elif token == "(?:" or token.startswith("(?P<"):
        token = "("
    elif token[1:] == "?" and token[0] in "*+?}":
        token = token[0]  # what is matched is the same, lazily or not
    elif token.startswith("["):
        token = re.sub(r"\\([dws])", lambda found: _CLASSES[found[1]], token)
    elif kind and kind.lower() in _CLASSES:
        token = f"[{'^' if kind.isupper() else ''}{_CLASSES[kind.lower()]}]"
    return token


def _refuse_beyond(pattern: str, field: str) -> None:
    for found in _BEYOND.finditer(pattern):
        if found["beyond"] or found["possessive"]:
            raise _refused(field, f"'{found[0]}' has no form there")
    for token in _TOKEN.findall(pattern):
        if _REFERENCE.fullmatch(token):
            raise _refused(field, f"'{token}' has no form there")


def _refused(field: str, reason: str) -> SigmaFeatureNotSupportedByBackendError:
    return SigmaFeatureNotSupportedByBackendError(
        f"regular expression of field '{field}': the target's are of another dialect, and {reason}; use contains, "
        "startswith, endswith or wildcards"
    )
