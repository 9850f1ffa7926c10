r"""Pass over the records that no rule can match, before anything parses them.

Each condition that a rule can't do without gives a set of clues, of which one must stand in the bytes of every record
that the rule matches. Whole files are searched for the words of the most selective set of each rule; records in which
one was found are parsed, and kept if they have a clue of every set. So that nothing is lost:

- JSON can spell a character in several ways. Words hold only characters that have one spelling besides `\u….`, and a
  record with `\u` in it is kept.
- Sigma compares without regard to case. Bytes are compared in lower case, ASCII's; the letters `K` (Kelvin) and `İ`
  are k and i then, and a record with one of them is kept.
- A file whose records can't be told apart by their beginning, `{"eventVersion"`, is parsed whole: where one stands
  elsewhere than at the front and between records, or where what lies between two is not JSON. Inside a text these bytes
  can't stand, because a quote is escaped there.
- A rule that gives no clue, such as one with a regular expression, turns the sift off.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Any, NamedTuple

import orjson
import stringzilla as sz
from sigma.backends.keywatch._sliding import Rule
from sigma.conditions import ConditionAND, ConditionFieldEqualsValueExpression, ConditionOR
from sigma.rule import SigmaRule
from sigma.types import SigmaString

_RECORD = b'{"eventVersion"'
_BEGINNING = b'{"Records":[' + _RECORD
_END = b"]}"
_BETWEEN = b"}," + _RECORD
_ESCAPE = b"\\u"
#: Letters that are one of ASCII in lower case; they are looked for in what is not all ASCII.
_FOLDED = ("\u212a".encode(), "\u0130".encode())
_LOWER = bytes(range(256)).lower()
#: Characters with one spelling in JSON, besides \u….
_UNCLEAR = re.compile(r"[^ !#-.0-\[\]-~]")
#: What stands between a key and what its value begins with.
_GAP = re.compile(rb'\s*:\s*"?')
_SHORTEST, _RARE = 3, 10


class Clue(NamedTuple):
    """What stands in every record that has a value, in lower case: a word; a key before it, if the value begins so."""

    word: bytes
    key: bytes = b""


#: What a rule can't do without: a clue of each set.
Needs = tuple[frozenset[Clue], ...]


class Sift:
    """Finds the records in a file's bytes that some rule may match."""

    def __init__(self, rules: frozenset[Needs] | None) -> None:
        """Take what each rule needs; None keeps every record."""
        self.rules = rules
        self._room = bytearray()

    def survivors(self, data: bytes) -> tuple[list[Any], int] | None:
        """Return the records that some rule may match, parsed, and how many the file has.

        :return: None if the file must be parsed whole.
        """
        end = len(data.rstrip()) - len(_END)
        if self.rules is None or not data.startswith(_BEGINNING) or not data.startswith(_END, end):
            return None
        total = sz.count(data, _RECORD)
        if sz.count(data, _BETWEEN) + 1 != total:
            return None
        lower = self._lower(data)
        unclear = sorted(_places(data, [_ESCAPE] if data.isascii() else [_ESCAPE, *_FOLDED]))
        spans = list(_records(data, end, sorted([*unclear, *_places(lower, self._words)])))
        try:
            records = orjson.loads(b"[" + b",".join(data[start:stop] for start, stop in spans) + b"]")
        except orjson.JSONDecodeError:
            return None
        if len(records) != len(spans):
            return None
        certain = set(_records(data, end, unclear))
        kept = [
            record
            for record, span in zip(records, spans, strict=True)
            if span in certain or self._may_match(bytes(lower[slice(*span)]))
        ]
        return kept, total

    def _lower(self, data: bytes) -> memoryview:
        """Return bytes in lower case, until the next call: room for them is made once, which takes longer than they."""
        if len(self._room) < len(data):
            self._room = bytearray(2 * len(data))
        lower = memoryview(self._room)[: len(data)]
        sz.translate(data, _LOWER, out=lower)
        return lower

    def _may_match(self, record: bytes) -> bool:
        """Tell whether a record, in lower case, has a clue of each set that some rule needs."""
        found: dict[int, bool] = {}
        for needs in self._rules:
            for number in needs:
                if number not in found:
                    found[number] = any(_stands(key, words, record) for key, words in self._sets[number])
                if not found[number]:
                    break
            else:
                return True
        return False

    @cached_property
    def _sets(self) -> list[list[tuple[bytes, tuple[bytes, ...]]]]:
        """All sets of clues, each as keys with the words that may follow."""
        return [
            [(key, tuple(clue.word for clue in need if clue.key == key)) for key in sorted({clue.key for clue in need})]
            for need in self._distinct
        ]

    @cached_property
    def _distinct(self) -> list[frozenset[Clue]]:
        return sorted({need for needs in self.rules or () for need in needs}, key=sorted)

    @cached_property
    def _rules(self) -> list[list[int]]:
        """What each rule needs, as numbers of sets."""
        return [[self._distinct.index(need) for need in needs] for needs in self.rules or ()]

    @cached_property
    def _words(self) -> list[bytes]:
        """The words to look for in a file; one that holds another of them is found with it."""
        words = {clue.word for needs in self.rules or () for clue in max(needs, key=_selectivity)}
        return [word for word in sorted(words) if not any(other in word for other in words - {word})]


def _stands(key: bytes, words: tuple[bytes, ...], record: bytes) -> bool:
    """Tell whether one of the words stands in a record, behind the key if there is one."""
    if not key:
        return any(sz.contains(record, word) for word in words)
    place = sz.find(record, key)
    while place >= 0:
        gap = _GAP.match(record, place + len(key))
        if gap and record.startswith(words, gap.end()):
            return True
        place = sz.find(record, key, place + 1)
    return False


def _places(data: bytes | memoryview, words: Iterable[bytes]) -> Iterator[int]:
    for word in words:
        place = sz.find(data, word)
        while place >= 0:
            yield place
            place = sz.find(data, word, place + 1)


def _records(data: bytes, end: int, places: list[int]) -> Iterator[tuple[int, int]]:
    """Yield where each record begins and ends that holds one of the places, which are in order."""
    stop = -1
    for place in places:
        if place > stop:
            start = data.rfind(_RECORD, 0, place + 1)
            after = data.find(_BETWEEN, place)
            stop = after + 1 if after >= 0 else end
            yield start, stop


def needs_of(rules: Iterable[Rule]) -> frozenset[Needs] | None:
    """Return what each of the rules of single events needs; None if one of them gives no clue."""
    found: set[Needs] = set()
    for rule in rules:
        if isinstance(rule, SigmaRule):
            for condition in rule.detection.parsed_condition:
                needs = _needs(condition.parsed)
                if not needs:
                    return None
                found.add(needs)
        else:
            referenced = needs_of(reference.rule for reference in rule.referenced_rules)
            if referenced is None:
                return None
            found |= referenced
    return frozenset(found)


def _needs(condition: object) -> Needs:
    if isinstance(condition, ConditionAND):
        return tuple(need for argument in condition.args for need in _needs(argument))
    if isinstance(condition, ConditionOR):
        alternatives = [_needs(argument) for argument in condition.args]
        if all(alternatives):
            return (frozenset[Clue]().union(*(max(needs, key=_selectivity) for needs in alternatives)),)
    if isinstance(condition, ConditionFieldEqualsValueExpression) and isinstance(condition.value, SigmaString):
        clue = _clue(condition.field, condition.value)
        return (frozenset([clue]),) if clue else ()
    return ()


def _selectivity(clues: frozenset[Clue]) -> tuple[int, int]:
    """Order sets of clues: words long enough to be rare, then few of them, for each is looked for by itself."""
    shortest = min(len(clue.word) for clue in clues)
    return min(shortest, _RARE), -len(clues)


def _clue(field: str, value: SigmaString) -> Clue | None:
    first = value.s[0] if value.s else ""
    beginning = _UNCLEAR.split(first)[0] if isinstance(first, str) else ""
    longest = max(
        (piece for part in value.s if isinstance(part, str) for piece in _UNCLEAR.split(part)), key=len, default=""
    )
    if len(beginning) >= max(_SHORTEST, len(longest) - 1):
        return Clue(beginning.lower().encode(), f'"{field.rpartition(".")[2].lower()}"'.encode())
    return Clue(longest.lower().encode()) if len(longest) >= _SHORTEST else None
