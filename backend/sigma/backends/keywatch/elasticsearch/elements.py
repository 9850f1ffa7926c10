"""Values as elements of a list in the text that Elastic's integration keeps of an object, in Java's form: [a, b]."""

from __future__ import annotations

from sigma.backends.keywatch._regex import lucene
from sigma.types import SigmaRegularExpression, SigmaString, SpecialChars


def in_list(value: SigmaString) -> list[SigmaString]:
    """Return the patterns of a value as an element of a list in Java's form: [a, b]."""
    anything = SpecialChars.WILDCARD_MULTI
    whole = value.startswith(anything) and value.endswith(anything)
    ends = [("[", "]"), ("[", ", *"), ("*, ", "]"), ("*, ", ", *")]
    cased = type(value)
    return [] if whole else [_joined(cased, before, value, after) for before, after in ends]


def element(value: SigmaRegularExpression, field: str) -> SigmaRegularExpression:
    """Return the regular expression of a list in Java's form of which an element matches one."""
    return SigmaRegularExpression(f"^\\[(.*, )?({lucene(value, field)})(, .*)?\\]$", value.flags)


def _joined(kind: type[SigmaString], before: str, value: SigmaString, after: str) -> SigmaString:
    joined = kind("")
    joined.s = [*SigmaString(before).s, *value.s, *SigmaString(after).s]
    return joined
