"""How far a hunt is, and what it has covered."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from keywatch.ending import cleaning, say_at_end
from keywatch.hunting.coverage import Coverage
from keywatch.words import counted


@contextmanager
def progress(coverage: Coverage, *, quiet: bool = False) -> Iterator[Callable[[int, int], None] | None]:
    """Show on a terminal how many files were read; have what was covered said when the program is interrupted."""
    say_at_end(lambda: summary(coverage, 0))
    if quiet or sys.stderr is None or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn("Reading"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar, cleaning(bar.stop):
        task = bar.add_task("", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def summary(coverage: Coverage, problems: int) -> str:
    """Say what was read."""
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
