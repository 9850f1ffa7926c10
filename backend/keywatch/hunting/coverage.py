"""What a hunt has read, what it passed over, and what it could not read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING

from keywatch.errors import UserError

if TYPE_CHECKING:
    from keywatch.hunting.selection import There

#: Up to so many equal problems are told one by one; of more, the first few and how many there are.
_MOST, _FIRST = 10, 3


class Problems:
    """Problems in the order in which their kinds were met. Of equal ones only the first are kept, and a count."""

    def __init__(self) -> None:
        """Begin without a problem."""
        self._kinds: dict[str, tuple[int, list[UserError]]] = {}

    def append(self, problem: UserError, kind: str | None = None, count: int = 1) -> None:
        """Note a problem.

        :param kind: what equal problems have in common; the message if None.
        :param count: how many problems this one stands for.
        """
        self._add(kind or problem.message, count, [problem])

    def update(self, other: Problems) -> None:
        """Note all that others have noted."""
        for kind, (count, first) in other._kinds.items():
            self._add(kind, count, first)

    def move(self, lines: int) -> None:
        """Add to the lines in which they are."""
        for _, first in self._kinds.values():
            for problem in first:
                problem.line = problem.line and problem.line + lines

    def _add(self, kind: str, count: int, problems: list[UserError]) -> None:
        before, first = self._kinds.get(kind, (0, []))
        self._kinds[kind] = before + count, [*first, *problems][:_MOST]

    def __iter__(self) -> Iterator[UserError]:
        """Yield a problem for each line that is to be told."""
        for count, first in self._kinds.values():
            if count == len({problem.place for problem in first}):
                yield from first
            else:
                places = list(dict.fromkeys(problem.place for problem in first))
                also = f", also {', '.join(places[1:_FIRST])}" if len(places) > 1 else ""
                yield UserError(f"{first[0].message} ({count} times{also})", first[0].path, first[0].line)

    def __len__(self) -> int:
        """Return how many problems there are."""
        return sum(count for count, _ in self._kinds.values())


@dataclass
class Scan:
    """A statement that an engine runs: the rules that it asks for, and what it has read so far."""

    rules: int
    bytes: int = 0
    events: int = 0


@dataclass
class Coverage:
    """What was read, and what could not be."""

    files: int = 0
    records: int = 0
    #: Line ends in what was read of a file of which other processes read the rest.
    lines: int = 0
    #: What was passed over because it is known to hold no CloudTrail events, by kind.
    passed: Counter[str] = field(default_factory=Counter)
    #: Files of other days, accounts or Regions than those that were selected.
    pruned: int = 0
    duplicates: int = 0
    #: Days of delivery, where the paths tell.
    days: set[date] = field(default_factory=set)
    problems: Problems = field(default_factory=Problems)
    #: What was asked of an engine.
    scans: list[Scan] = field(default_factory=list)
    #: What a selection had to choose from; None if everything is wanted.
    there: There | None = None

    def add(self, other: Coverage) -> None:
        """Add what a worker read."""
        self.files += other.files
        self.records += other.records
        self.passed += other.passed
        self.problems.update(other.problems)
        if self.there is not None and other.there is not None:
            self.there.add(other.there)
