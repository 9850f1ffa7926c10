"""Values in the text that Elastic's integration keeps of an object, in Java's form: {key=value, list=[a, b]}."""

from __future__ import annotations

import re

from sigma.backends.keywatch._regex import lucene
from sigma.types import SigmaRegularExpression, SigmaString, SpecialChars

#: A key in JSON, and a comma that stands between two things, not in a text.
_KEY, _COMMA = re.compile(r'"([^"]+)":'), re.compile(r',(?=["{\[])')


def in_list(value: SigmaString) -> list[SigmaString]:
    """Return the patterns of a value as an element of a list in Java's form: [a, b]."""
    anything = SpecialChars.WILDCARD_MULTI
    whole = value.startswith(anything) and value.endswith(anything)
    ends = [("[", "]"), ("[", ", *"), ("*, ", "]"), ("*, ", ", *")]
    cased = type(value)
    return [] if whole else [_joined(cased, before, value, after) for before, after in ends]


def in_java(value: SigmaString) -> list[SigmaString]:
    """Return the patterns of a part of an object's JSON that has a key in it, in Java's form: {key=value, …}."""
    anything = SpecialChars.WILDCARD_MULTI
    text = "".join(part for part in value.s if isinstance(part, str))
    if list(value.s) != [anything, text, anything] or not _KEY.search(text):
        return []
    # In Java's form a text has no quotes: where one ends, a comma or a brace follows.
    ends = [",", "}"] if text.endswith('"') else [""]
    java = _KEY.sub(r"\1=", _COMMA.sub(", ", text)).replace('"', "")
    return [_joined(type(value), "*", _plain(java + end), "*") for end in ends]


def element(value: SigmaRegularExpression, field: str) -> SigmaRegularExpression:
    """Return the regular expression of a list in Java's form of which an element matches one."""
    return SigmaRegularExpression(f"^\\[(.*, )?({lucene(value, field)})(, .*)?\\]$", value.flags)


def _plain(text: str) -> SigmaString:
    plain = SigmaString("")
    plain.s = (text,)
    return plain


def _joined(kind: type[SigmaString], before: str, value: SigmaString, after: str) -> SigmaString:
    joined = kind("")
    joined.s = [*SigmaString(before).s, *value.s, *SigmaString(after).s]
    return joined
