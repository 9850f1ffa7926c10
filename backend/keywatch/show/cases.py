"""Cases for a terminal, however narrow: a line for each thing that a person decides by, and none is lost."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import click

from keywatch.errors import printable
from keywatch.hunting.cases import Case
from keywatch.words import counted, wrapped

#: Colours of the levels, as click names them.
_COLOURS = {"critical": "bright_red", "high": "red", "medium": "yellow"}
#: Of more values than these, the others are counted.
_MOST = 10
_INDENT, _LABEL = 2, 11
_NARROWEST = 40


def blocks(cases: Iterable[Case], width: int) -> Iterator[str]:
    """Yield the text of each case.

    :param width: the columns of the terminal.
    """
    width = max(width, _NARROWEST)
    for case in cases:
        level = case.level or "no level"
        title = wrapped(f"{level}  {printable(case.rule.title)}", width, others=" " * _INDENT)
        yield click.style(level, _COLOURS.get(case.level), bold=True) + title.removeprefix(level)
        for label, text in facts(case):
            first = f"{'':{_INDENT}}{label:{_LABEL}}"
            yield wrapped(printable(text), width, first, " " * len(first))
        yield ""


def facts(case: Case) -> Iterator[tuple[str, str]]:
    """Yield what a case says, each with its label."""
    seen = f"{_time(case.first_seen)}"
    if case.last_seen != case.first_seen:
        seen += f" to {_time(case.last_seen)}"
    if case.found is None:
        yield "alerts", str(case.alerts)
    yield "seen", seen
    if case.found is not None:
        values = f": {listed(case.values)}" if case.values else ""
        yield "counted", f"{case.count} in one window{values}"
    yield "principal", listed(case.principals)
    yield "account", listed(case.accounts)
    yield "key", listed(case.keys)
    yield "address", listed(case.addresses)
    yield "user agent", listed(case.agents)
    yield "called", tally(case.calls)
    yield "in", listed(case.regions)
    yield (
        "failed",
        f"{case.failed} of {counted(case.events, 'call')}{f': {tally(case.failures)}' if case.failed else ''}",
    )
    yield "worked", str(case.events - case.failed)


def listed(values: list[str]) -> str:
    """Return values as a list; of many, how many more there are."""
    more = len(values) - _MOST
    return ", ".join(values[:_MOST]) + (f" and {more} more" if more > 0 else "") or "-"


def tally(counts: dict[str, int]) -> str:
    """Return values with how often each is there, the most frequent first."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return listed([f"{value} ({count})" for value, count in ordered])


def _time(time: object) -> str:
    return f"{time:%Y-%m-%dT%H:%M:%SZ}"
