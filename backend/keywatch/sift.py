r"""Pass over the records that no rule can match, before anything parses them.

Each condition that a rule can't do without gives a set of patterns, of which one must stand in the bytes of every
record that the rule matches. Whole files are scanned for the most selective set of each rule; records in which one was
found are scanned for the others. So that nothing is lost:

- JSON can spell a character in several ways. Patterns hold only characters that have one spelling besides `\u….`, and a
  record with `\u` in it is kept.
- Sigma compares without regard to case, and the letters `K` (Kelvin) and `İ` are k and i then. A record with one of
  them is kept.
- A file whose records can't be told apart by their beginning, `{"eventVersion"`, is parsed whole. Inside a text these
  bytes can't stand, because a quote is escaped there; as a part of a record they can, and are looked for.
- A rule that gives no pattern, such as one with a regular expression, turns the sift off.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterable
from functools import cache, cached_property
from itertools import accumulate

import hyperscan
from sigma.backends.keywatch._sliding import Rule
from sigma.conditions import ConditionAND, ConditionFieldEqualsValueExpression, ConditionOR
from sigma.rule import SigmaRule
from sigma.types import SigmaString

_RECORD = b'{"eventVersion"'
_BEGINNING = b'{"Records":[' + _RECORD
_END = b"}]}"
#: A beginning of a record where none of the list's own can be; the first of the list is one too.
_NESTED = r'[\[:]\s*\{"eventVersion"'
_ALWAYS_KEPT = (r"\\u", "\u212a", "\u0130")
#: Characters with one spelling in JSON, besides \u….
_UNCLEAR = re.compile(r"[^ !#-.0-\[\]-~]")
_SHORTEST = 3


#: What a rule can't do without: a pattern of each set.
Needs = tuple[frozenset[str], ...]
#: Bytes → where each pattern that stands in them ends, and which it is.
Scan = Callable[[bytes], list[tuple[int, str]]]


class Sift:
    """Finds the records in a file's bytes that some rule may match."""

    def __init__(self, rules: frozenset[Needs] | None) -> None:
        """Take what each rule needs; None keeps every record."""
        self.rules = rules

    def survivors(self, data: bytes) -> list[bytes] | None:
        """Return the bytes of each record that some rule may match; None if the file must be parsed whole."""
        end = len(data.rstrip())
        if self.rules is None or not data.startswith(_BEGINNING) or not data.endswith(_END, 0, end):
            return None
        hits = self._files(data)
        if sum(pattern == _NESTED for _, pattern in hits) != 1:
            return None
        records: list[bytes] = []
        last = -1
        for position, pattern in sorted(hits):
            if pattern == _NESTED or position <= last:
                continue
            start = data.rfind(_RECORD, 0, position)
            after = data.find(_RECORD, position)
            last = after if after >= 0 else end - len("]}")
            records.append(data[start:last].rstrip(b", \t\r\n"))
        return self._that_may_match(records)

    @staticmethod
    def count(data: bytes) -> int:
        """Return how many records there are in a file that was sifted."""
        return data.count(_RECORD)

    def _that_may_match(self, records: list[bytes]) -> list[bytes]:
        """Return those of some records that have all that a rule needs. One scan of many is faster than many scans."""
        ends = list(accumulate(len(record) + 1 for record in records))
        found: list[set[str]] = [set() for _ in records]
        for position, pattern in self._records(b"\0".join(records)):
            found[bisect_left(ends, position)].add(pattern)
        return [record for record, patterns in zip(records, found, strict=True) if self._suffices(frozenset(patterns))]

    @cache  # noqa: B019  # there is one sift in a process, and the same few sets come again and again
    def _suffices(self, found: frozenset[str]) -> bool:
        return not found.isdisjoint(_ALWAYS_KEPT) or any(
            not any(found.isdisjoint(need) for need in needs) for needs in self.rules or ()
        )

    @cached_property
    def _files(self) -> Scan:
        best = [max(needs, key=_selectivity) for needs in self.rules or ()]
        return _scanner([_NESTED, *_ALWAYS_KEPT, *sorted(frozenset[str]().union(*best))])

    @cached_property
    def _records(self) -> Scan:
        needed = frozenset[str]().union(*(need for needs in self.rules or () for need in needs))
        return _scanner([*_ALWAYS_KEPT, *sorted(needed)])


def needs_of(rules: Iterable[Rule]) -> frozenset[Needs] | None:
    """Return what each of the rules of single events needs; None if one of them gives no pattern."""
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
            return (frozenset[str]().union(*(max(needs, key=_selectivity) for needs in alternatives)),)
    if isinstance(condition, ConditionFieldEqualsValueExpression) and isinstance(condition.value, SigmaString):
        pattern = _pattern(condition.field, condition.value)
        return (frozenset([pattern]),) if pattern else ()
    return ()


def _selectivity(patterns: frozenset[str]) -> int:
    return min(map(len, patterns))


def _scanner(patterns: list[str]) -> Scan:
    database = hyperscan.Database(mode=hyperscan.HS_MODE_BLOCK)
    database.compile(
        expressions=[pattern.encode() for pattern in patterns],
        ids=list(range(len(patterns))),
        flags=hyperscan.HS_FLAG_CASELESS,
    )

    def scan(data: bytes) -> list[tuple[int, str]]:
        hits: list[tuple[int, str]] = []
        database.scan(data, match_event_handler=lambda number, _, to, *__: hits.append((to, patterns[number])))
        return hits

    return scan


def _pattern(field: str, value: SigmaString) -> str | None:
    first = value.s[0] if value.s else ""
    beginning = _UNCLEAR.split(first)[0] if isinstance(first, str) else ""
    longest = max(
        (piece for part in value.s if isinstance(part, str) for piece in _UNCLEAR.split(part)), key=len, default=""
    )
    if len(beginning) >= max(_SHORTEST, len(longest) - 1):
        key = field.rpartition(".")[2]
        return rf'"{_literal(key)}"\s*:\s*"?{_literal(beginning)}'
    return _literal(longest) if len(longest) >= _SHORTEST else None


def _literal(text: str) -> str:
    """Return a text for a pattern of Hyperscan's, which knows no other escapes of signs than these."""
    return "".join(char if char.isalnum() or char in " _-:=@" else rf"\x{ord(char):02x}" for char in text)
