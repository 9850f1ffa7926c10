r"""Values below CloudTrail's open objects in KQL, which can't ask whether one element of a list meets a condition.

What lies at a path is a value, or a list, or the path leads through lists. A list is compared by its JSON, which Kusto
writes without spaces: in it a quote inside a text has a backslash in front, so `,"` and `["` stand only where an
element begins. Where a path leads through a list of objects, its last key is looked for anywhere in that list.
"""

from __future__ import annotations

import json
import re

from sigma.backends.keywatch._regex import flags_of, inside
from sigma.types import (
    SigmaBool,
    SigmaCasedString,
    SigmaExists,
    SigmaNumber,
    SigmaRegularExpression,
    SigmaString,
    SigmaType,
    SpecialChars,
)

_CHARACTER = r'(?:[^"\\]|\\.)'
#: Values that numbers, true and false may have, which have no quotes in JSON.
_BARE = re.compile(r"[-+.\d*?]*|true|false", re.IGNORECASE)
_SIGNS = re.compile(r"[\\^$|?+*()\[\]{}.]")


def texts(expression: str) -> tuple[str, list[tuple[str, str]]]:
    """Return the text at a path, and for each list that may be on the way its text and the last key.

    :param expression: such as `parse_json(RequestParameters)["a"]["b"]`.
    """
    root, keys = expression.partition(")")[0] + ")", re.findall(r'\["([^"]+)"\]', expression)
    ways = ["".join(f'["{key}"]' for key in keys[:number]) for number in range(1, len(keys))]
    return f"tostring({expression})", [(f"tostring({root}{way})", keys[-1]) for way in ways]


def of_list(value: SigmaType, field: str) -> str:
    """Return the regular expression of a list's JSON in which an element matches."""
    return f"{_flags(value)}[\\[,]{_json(value, field)}[,\\]]"


def of_key(key: str, value: SigmaType, field: str) -> str:
    """Return the regular expression of JSON in which a key has a value, or a list with it."""
    if isinstance(value, SigmaExists):
        return f'"{_escaped(key)}":'
    return f'{_flags(value)}"{_escaped(key)}":(?:\\[(?:[^\\]]*,)?)?{_json(value, field)}[,\\]}}]'


def _flags(value: SigmaType) -> str:
    if isinstance(value, SigmaRegularExpression):
        return flags_of(value)
    return "(?s)" if isinstance(value, SigmaCasedString) else "(?is)"


def _json(value: SigmaType, field: str) -> str:
    if isinstance(value, SigmaRegularExpression):
        text = inside(value, field, _CHARACTER, r'"\\')
        number = inside(value, field, r"[-+.\w]", r'",\[\]{}')
        return f'(?:"{text}"|{number})'
    if isinstance(value, SigmaNumber | SigmaBool):
        return f'"?{_escaped(str(value).lower())}"?'
    assert isinstance(value, SigmaString)
    signs = {SpecialChars.WILDCARD_MULTI: f"{_CHARACTER}*", SpecialChars.WILDCARD_SINGLE: _CHARACTER}
    bare = {sign: text.replace(_CHARACTER, r"[-+.\d]") for sign, text in signs.items()}

    def body(signs: dict[SpecialChars, str]) -> str:
        return "".join(
            _escaped(json.dumps(part, ensure_ascii=False)[1:-1]) if isinstance(part, str) else signs[part]  # type: ignore[index]
            for part in value.s
        )

    return f'(?:"{body(signs)}"|{body(bare)})' if _BARE.fullmatch(str(value)) else f'"{body(signs)}"'


def _escaped(text: str) -> str:
    return _SIGNS.sub(lambda sign: "\\" + sign[0], text)
