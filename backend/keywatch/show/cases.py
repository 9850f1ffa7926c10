"""Cases for a terminal, however narrow: a line for each thing that a person decides by, and none is lost."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import click

from keywatch.errors import printable
from keywatch.hunting.cases import Case, Values
from keywatch.words import counted, wrapped

#: Colours of the levels, as click names them.
_COLOURS = {"critical": "bright_red", "high": "red", "medium": "yellow"}
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
    if case.count is None:
        yield "alerts", str(case.alerts)
    yield "seen", seen
    if case.count is not None:
        values = f": {', '.join(case.values)}" if case.values else ""
        yield "counted", f"{case.count} in one window{values}"
    for label in ("principal", "account", "key", "address", "user agent"):
        yield label, listed(case.facts.get(label))
    yield "called", tally(case.facts.get("called"))
    yield "in", listed(case.facts.get("in"))
    why = f": {tally(case.facts.get('failed'))}" if case.failed else ""
    yield "failed", f"{case.failed} of {counted(case.events, 'call')}{why}"
    yield "worked", str(case.events - case.failed)


def listed(values: Values | None) -> str:
    """Return values as a list in their order; of many, the most frequent, and how many more there are."""
    return _joined(sorted(values.counts), values.more) if values else "-"


def tally(values: Values | None) -> str:
    """Return values with how often each is there, the most frequent first."""
    return _joined([f"{value} ({count})" for value, count in values.counts.items()], values.more) if values else "-"


def _joined(texts: list[str], more: int) -> str:
    return ", ".join(texts) + (f" and {more} more" if more else "") or "-"


def _time(time: object) -> str:
    return f"{time:%Y-%m-%dT%H:%M:%SZ}"
