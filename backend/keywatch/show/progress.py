"""How far a hunt is, and what it has covered."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from keywatch.ending import cleaning, say_at_end
from keywatch.hunting.coverage import Coverage
from keywatch.words import counted

#: Bytes of a terabyte, as the dearer reading of a price has it, and the least that Athena charges for a query.
_TB, _LEAST = 10**12, 10**7


@contextmanager
def progress(coverage: Coverage, *, quiet: bool = False) -> Iterator[Callable[[int, int], None] | None]:
    """Show on a terminal how many files were read; have what was covered said when the program is interrupted."""
    say_at_end(lambda: summary(coverage, 0))
    if quiet or sys.stderr is None or not sys.stderr.isatty():
        yield None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

    with _bar(TextColumn("Reading"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()) as update:
        yield lambda done, total: update(completed=done, total=total)


@contextmanager
def engine_progress(
    coverage: Coverage, usd_per_tb: float | None, *, quiet: bool = False
) -> Iterator[Callable[[str], None] | None]:
    """Show on a terminal how far an engine is; have what was covered said when the program is interrupted."""
    say_at_end(lambda: summary(coverage, 0, usd_per_tb))
    if quiet or sys.stderr is None or not sys.stderr.isatty():
        yield None
        return
    from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

    with _bar(SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn()) as update:
        yield lambda state: update(description=state)


@contextmanager
def _bar(*columns: Any) -> Iterator[Callable[..., None]]:
    from rich.console import Console
    from rich.progress import Progress

    with Progress(*columns, console=Console(stderr=True), transient=True) as bar, cleaning(bar.stop):
        yield partial(bar.update, bar.add_task("", total=None))


def statements(coverage: Coverage) -> Iterator[str]:
    """Say what each of several statements has read, a line each."""
    from rich.filesize import decimal

    for number, scan in enumerate(coverage.scans if len(coverage.scans) > 1 else (), 1):
        rules, events = counted(scan.rules, "rule"), counted(scan.events, "event")
        yield f"Statement {number}: {rules}, {events}, {decimal(scan.bytes)} scanned."


def _scanned(coverage: Coverage, usd_per_tb: float | None) -> Iterator[str]:
    from rich.filesize import decimal

    yield counted(sum(scan.events for scan in coverage.scans), "event")
    yield counted(len(coverage.scans), "statement")
    yield f"{decimal(sum(scan.bytes for scan in coverage.scans))} scanned"
    if usd_per_tb is not None:
        cost = usd_per_tb * sum(max(scan.bytes, _LEAST) for scan in coverage.scans) / _TB
        yield f"{cost:.5f} USD at {usd_per_tb:.2f} USD per TB"


def summary(coverage: Coverage, problems: int, usd_per_tb: float | None = None) -> str:
    """Say what was read.

    :param usd_per_tb: what an engine takes for the bytes that it scans, if it takes something.
    """
    if coverage.scans:
        parts = list(_scanned(coverage, usd_per_tb))
    else:
        parts = [counted(coverage.records, "record"), counted(coverage.files, "file")]
    if coverage.pruned:
        parts.append(f"{counted(coverage.pruned, 'file')} of other days, accounts or Regions passed over")
    if coverage.passed:
        kinds = " and ".join(f"{count} {kind}" for kind, count in sorted(coverage.passed.items()))
        parts.append(f"{kinds} passed over")
    if coverage.duplicates:
        parts.append(f"{counted(coverage.duplicates, 'duplicate event')} left out")
    if problems:
        parts.append(f"{counted(problems, 'problem')}, named above")
    return ", ".join(parts) + "."
