r"""Pass over the records that no rule can match, before anything parses them.

Each condition that a rule can't do without gives a set of clues, of which one must hold for every record that the rule
matches. Whole files are searched for the words of the most selective set of each rule; records in which one was found
are decoded, and kept if they have a clue of every set. So that nothing is lost:

- JSON can spell a character in several ways. Words hold only characters that have one spelling besides `\u….`, and a
  record with `\u` in it is decoded.
- Sigma compares without regard to case. Bytes are compared in lower case, ASCII's; the letters `K` (Kelvin) and `İ`
  are k and i then, and a record with one of them is decoded.
- Records are cut out of files of a known form (see `forms`), and all that is cut out is decoded before anything is
  dropped; a file in which that fails is parsed whole, as is one of another form.
- A rule that gives no clue, such as one with a regular expression, turns the search off.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache, partial
from itertools import chain
from typing import Any, NamedTuple

import stringzilla as sz
from sigma.backends.keywatch._correlation import Rule
from sigma.conditions import ConditionAND, ConditionFieldEqualsValueExpression, ConditionOR
from sigma.pipelines.keywatch._fields import cloudtrail, cloudtrail_names
from sigma.rule import SigmaRule
from sigma.types import SigmaString

from keywatch.hunting.columns import NO_JSON, Columns, Row
from keywatch.hunting.forms import Form, form_of

_ESCAPE = b"\\u"
#: Letters that are one of ASCII in lower case; they are looked for in what is not all ASCII.
_FOLDED = ("\u212a".encode(), "\u0130".encode())
_LOWER = bytes(range(256)).lower()
#: Characters that JSON has for itself, or that have another spelling in it besides \u….
_UNCLEAR = re.compile(r"[^!#-+\-.0-9;-Z^-z|~]")
_SHORTEST, _RARE = 3, 10
#: Texts of a column whose clues are remembered: the same few come again and again.
_REMEMBERED = 10_000


class Clue(NamedTuple):
    """What every record with a value has: a word in the text of a field, in lower case, or as what it begins with."""

    field: str
    word: str
    begins: bool


#: What a rule can't do without: a clue of each set.
Needs = tuple[frozenset[Clue], ...]


class Sift:
    """Finds the records in a file's bytes that some rule may match."""

    def __init__(self, rules: Sequence[Needs] | None, columns: Columns) -> None:
        """Take what each rule needs; None keeps every record.

        :param columns: the fields of the rules, and eventName.
        """
        self.columns = columns
        self._everything = rules is None
        self._name = columns.names.index("eventName")
        self._words = _words(rules or ())
        tops = dict.fromkeys(name.partition(".")[0] for name in columns.names if "." in name)
        self._beginnings = [f'"{top}.'.encode() for top in tops]
        bits = {clues: 1 << number for number, clues in enumerate(dict.fromkeys(chain.from_iterable(rules or ())))}
        needed = [0] if rules is None else [sum(bits[clues] for clues in set(rule)) for rule in rules]
        self._suffices = lru_cache(_REMEMBERED)(partial(_suffices, needed))
        self._held = [
            (column, lru_cache(_REMEMBERED)(partial(_held, tests)), sum(bit for bit, _, _ in tests))
            for column, field in enumerate(columns.names)
            if (tests := [(bit, *mine) for clues, bit in bits.items() if any(mine := _of(clues, field))])
        ]

    def survivors(self, data: bytes) -> tuple[list[Row], int] | None:
        """Return the records that some rule may match, and how many the file has.

        :return: None if the file must be parsed whole.
        """
        known = form_of(data, self._beginnings)
        if known is None:
            return None
        form, total = known
        found: Sequence[Any]
        try:
            if self._everything:
                records = form.decoded(data, self.columns)
                total = len(records)
                found = form.each(data) if self.columns.raw else [None] * total
            else:
                found = self._cut(data, form)
                records = self.columns.decode(b"[" + b",".join(found) + b"]")
            if len(records) != len(found):
                return None
        except NO_JSON:
            return None
        rows = []
        for record, raw in zip(records, found, strict=True):
            row = self.columns.row(record, raw)
            if row[self._name] is None:
                return None
            if self.may_match(row):
                rows.append(row)
        return rows, total

    def decoded(self, data: bytes, columns: Columns) -> list[Any]:
        """Return all records of a file that `survivors` takes.

        :raises: one of NO_JSON.
        """
        known = form_of(data, self._beginnings)
        assert known is not None
        return known[0].decoded(data, columns)

    def may_match(self, row: Row) -> bool:
        """Tell whether a record has a clue of each set that some rule needs."""
        bits = 0
        for column, held, _ in self._held:
            bits |= held(row[column])
        return self._suffices(bits)

    def kept(self, texts: Callable[[str], Sequence[str | None] | None], count: int) -> list[bool]:
        """Tell of several records at once whether some rule may match each.

        :param texts: a field → its text in each of the records; None if that is not known.
        """
        all_bits, unknown = [0] * count, 0
        for column, held, bits in self._held:
            found = texts(self.columns.names[column])
            if found is None:
                unknown |= bits
            else:
                all_bits = [bits | held(text) for bits, text in zip(all_bits, found, strict=True)]
        return [self._suffices(bits | unknown) for bits in all_bits]

    def _cut(self, data: bytes, form: Form) -> list[bytes]:
        """Return the records in which a word stands, or what may be spelt otherwise."""
        unclear = [_ESCAPE] if data.isascii() else [_ESCAPE, *_FOLDED]
        places = sorted([*_places(data, unclear), *_places(sz.translate(data, _LOWER), self._words)])
        found, stop = [], 0
        for place in places:
            if place >= stop:
                start, stop = form.record(data, place)
                found.append(data[start:stop])
        return found


def _of(clues: frozenset[Clue], field: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return those of a set of clues that are a field's: with what its text begins, what it holds."""
    mine = sorted(clue for clue in clues if clue.field == field)
    return tuple(clue.word for clue in mine if clue.begins), tuple(clue.word for clue in mine if not clue.begins)


def _held(tests: list[tuple[int, tuple[str, ...], tuple[str, ...]]], text: str | None) -> int:
    """Return the bits of the sets that have a clue in a field's text. If letters may fold in other ways, all do."""
    if text is None:
        return 0
    lower = text.lower()
    return sum(
        bit
        for bit, beginnings, words in tests
        if lower.startswith(beginnings) or any(word in lower for word in words) or not text.isascii()
    )


def _suffices(needed: list[int], bits: int) -> bool:
    """Tell whether a record that has clues of these sets has what some rule needs."""
    return any(bits & rule == rule for rule in needed)


def needs_of(rules: Iterable[Rule]) -> list[Needs] | None:
    """Return what each of the rules of single events needs; None if one of them gives no clue."""
    found: dict[Needs, None] = {}
    for rule in rules:
        if isinstance(rule, SigmaRule):
            names = cloudtrail_names(rule)
            for condition in rule.detection.parsed_condition:
                needs = _needs(condition.parsed, names)
                if not needs:
                    return None
                found[needs] = None
        else:
            referenced = needs_of(reference.rule for reference in rule.referenced_rules)
            if referenced is None:
                return None
            found |= dict.fromkeys(referenced)
    return list(found)


def _needs(condition: object, names: dict[str, str]) -> Needs:
    if isinstance(condition, ConditionAND):
        return tuple(need for argument in condition.args for need in _needs(argument, names))
    if isinstance(condition, ConditionOR):
        alternatives = [_needs(argument, names) for argument in condition.args]
        if all(alternatives):
            return (frozenset[Clue]().union(*(max(needs, key=_selectivity) for needs in alternatives)),)
    if isinstance(condition, ConditionFieldEqualsValueExpression) and isinstance(condition.value, SigmaString):
        clue = _clue(names.get(condition.field, condition.field), condition.value)
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
    # What lies below an open object may be a list, whose text begins otherwise.
    is_plain = field in cloudtrail()["fields"]
    if is_plain and len(beginning) >= max(_SHORTEST, len(longest) - 1):
        return Clue(field, beginning.lower(), begins=True)
    return Clue(field, longest.lower(), begins=False) if len(longest) >= _SHORTEST else None


def _words(rules: Iterable[Needs]) -> list[bytes]:
    """Return the words to look for in a file; one that holds another of them is found with it."""
    words = {clue.word.encode() for needs in rules for clue in max(needs, key=_selectivity)}
    return [word for word in sorted(words) if not any(other in word for other in words - {word})]


def _places(data: bytes, words: Iterable[bytes]) -> Iterator[int]:
    for word in words:
        place = sz.find(data, word)
        while place >= 0:
            yield place
            place = sz.find(data, word, place + 1)
