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

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache, partial
from itertools import chain, compress
from typing import Any

import stringzilla as sz

from keywatch.hunting.columns import NO_JSON, Columns, Values, text
from keywatch.hunting.forms import Form, form_of
from keywatch.hunting.needs import Clue, Needs, bits_held, of_field, selectivity

_ESCAPE = b"\\u"
#: Letters that are one of ASCII in lower case; they are looked for in what is not all ASCII.
_FOLDED = ("\u212a".encode(), "\u0130".encode())
_LOWER = bytes(range(256)).lower()
#: Texts of a column whose clues are remembered: the same few come again and again.
_REMEMBERED = 10_000


class Sift:
    """Finds the records in a file's bytes that some rule may match."""

    def __init__(self, rules: Sequence[Needs] | None, columns: Columns) -> None:
        """Take what each rule needs; None keeps every record.

        :param columns: the fields of the rules, and eventName.
        """
        self.columns = columns
        self._everything = rules is None
        self._named = Columns(["eventName"])
        self._words = _words(rules or ())
        tops = dict.fromkeys(name.partition(".")[0] for name in columns.names if "." in name)
        self._beginnings = [f'"{top}.'.encode() for top in tops]
        bits = {clues: 1 << number for number, clues in enumerate(dict.fromkeys(chain.from_iterable(rules or ())))}
        needed = [0] if rules is None else [sum(bits[clues] for clues in set(rule)) for rule in rules]
        self._suffices = lru_cache(_REMEMBERED)(partial(_suffices, needed))
        self._held = {
            field: (lru_cache(_REMEMBERED)(partial(bits_held, tests)), sum(bit for bit, _, _ in tests))
            for field in columns.names
            if (tests := [(bit, *mine) for clues, bit in bits.items() if any(mine := of_field(clues, field))])
        }
        self._tested = Columns(self._held)
        self._tests = [self._held[field][0] for field in self._tested.names]

    def survivors(self, data: bytes) -> tuple[Values, int] | None:
        """Return what the records have that some rule may match, and how many the file has.

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
                found = form.each(data) if self.columns.raw else records
            else:
                found = self._cut(data, form)
                records = self.columns.decode(b"[" + b",".join(found) + b"]")
            if len(records) != len(found):
                return None
        except NO_JSON:
            return None
        [names] = self._named.values(records)
        return None if None in names else (self.sifted(records, found), total)

    def decoded(self, data: bytes, columns: Columns) -> list[Any]:
        """Return all records of a file that `survivors` takes.

        :raises: one of NO_JSON.
        """
        known = form_of(data, self._beginnings)
        assert known is not None
        return known[0].decoded(data, columns)

    def sifted(self, records: Sequence[Any], raws: Sequence[Any]) -> Values:
        """Return what those of some records have that some rule may match."""
        if not self._everything:
            kept = list(map(self._may_match, zip(*self._tested.values(records), strict=True)))
            records, raws = list(compress(records, kept)), list(compress(raws, kept))
        return self.columns.values(records, raws)

    def _may_match(self, values: Sequence[Any]) -> bool:
        """Tell by the fields that are tested whether a record has a clue of each set that some rule needs."""
        bits = 0
        for held, value in zip(self._tests, values, strict=True):
            bits |= held(text(value))
        return self._suffices(bits)

    def kept(self, texts: Callable[[str], Sequence[str | None] | None], count: int) -> list[bool]:
        """Tell of several records at once whether some rule may match each.

        :param texts: a field → its text in each of the records; None if that is not known.
        """
        all_bits, unknown = [0] * count, 0
        for field, (held, bits) in self._held.items():
            found = texts(field)
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


def _suffices(needed: list[int], bits: int) -> bool:
    """Tell whether a record that has clues of these sets has what some rule needs."""
    return any(bits & rule == rule for rule in needed)


def _words(rules: Sequence[Needs]) -> list[bytes]:
    """Return the words to look for in a file; one that holds another of them is found with it."""
    chosen = [_spelt(max(needs, key=selectivity)) for needs in rules]
    uses = Counter(chain.from_iterable(chosen))
    for number, needs in enumerate(rules):
        uses.subtract(chosen[number])
        # Words that are looked for anyway cost nothing more.
        anyway = (words for words in map(_spelt, needs) if all(uses[word] for word in words))
        chosen[number] = next(anyway, chosen[number])
        uses.update(chosen[number])
    found: list[bytes] = []
    for word in sorted(set(chain.from_iterable(chosen)), key=lambda word: (len(word), word)):
        found += [] if any(other in word for other in found) else [word]
    return found


def _spelt(clues: frozenset[Clue]) -> frozenset[bytes]:
    return frozenset(clue.word.encode() for clue in clues)


def _places(data: bytes, words: Iterable[bytes]) -> Iterator[int]:
    for word in words:
        place = sz.find(data, word)
        while place >= 0:
            yield place
            place = sz.find(data, word, place + 1)
