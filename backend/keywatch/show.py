"""What the program prints: alerts, the grid of a backtest, progress, and what was covered."""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from keywatch.ending import cleaning, say_at_end
from keywatch.errors import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from keywatch.hunting.backtest import Backtest, RuleResult
    from keywatch.hunting.coverage import Coverage
    from keywatch.hunting.hunt import Alert


@contextmanager
def progress(coverage: Coverage) -> Iterator[Callable[[int, int], None] | None]:
    """Show on a terminal how many files were read; have what was covered said when the program is interrupted."""
    say_at_end(lambda: summary(coverage, 0))
    if sys.stderr is None or not sys.stderr.isatty():
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
    parts = [f"{coverage.records} records", f"{coverage.files} files"]
    if coverage.pruned:
        parts.append(f"{coverage.pruned} files of other days, accounts or Regions passed over")
    if coverage.passed:
        kinds = " and ".join(f"{count} {kind}" for kind, count in sorted(coverage.passed.items()))
        parts.append(f"{kinds} passed over")
    if coverage.duplicates:
        parts.append(f"{coverage.duplicates} duplicate events left out")
    if problems:
        parts.append(f"{problems} problems, named above")
    return ", ".join(parts) + "."


def backtest(result: Backtest, most_a_week: float | None) -> None:
    """Print what each rule would have raised, and for those that count the alerts of each threshold and window."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    console = _console()
    console.print(f"{result.start} to {result.end}, {result.weeks:.1f} weeks\n", highlight=False)
    table = Table("Rule", "Set", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("Alerts", "Principals", "Days", "A week"):
        table.add_column(column, justify="right")
    if most_a_week is not None:
        table.add_column(f"For {most_a_week:g} a week")
    for rule in result.rules:
        principals = {who for alert in rule.alerts for who in alert.principals}
        days = {alert.first_seen[:10] for alert in rule.alerts}
        counts = (len(rule.alerts), len(principals), len(days))
        setting = f"{rule.threshold} in {rule.window}" if rule.window else "each event"
        row: list[str | Text] = [
            Text(printable(rule.title)),
            setting,
            *map(str, counts),
            f"{len(rule.alerts) / result.weeks:.1f}",
        ]
        if most_a_week is not None:
            proposal = result.proposal(rule, most_a_week)
            row.append("" if rule.window is None else f"{proposal} in {rule.window}" if proposal else "none")
        table.add_row(*row)
    console.print(table)
    for rule in result.rules:
        if rule.window is not None:
            console.print(Text(printable(rule.title), "italic"), _grid(result, rule), sep="\n")


def _console() -> Console:
    """Return a console that does not hide that standard output was closed."""
    from rich.console import Console

    class Honest(Console):
        def on_broken_pipe(self) -> None:
            raise  # noqa: PLE0704  # rich calls it where it has caught the error

    return Honest()


def _grid(result: Backtest, rule: RuleResult) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from keywatch.hunting.backtest import THRESHOLDS

    table = Table("Threshold", box=box.SIMPLE_HEAD, pad_edge=False)
    for window in result.windows:  # across, so that large numbers fit into 80 columns
        table.add_column(window, justify="right")
    for number in THRESHOLDS:
        cells = []
        for window in result.windows:
            is_set = (window, number) == (rule.window, rule.threshold)
            cells.append(Text(str(rule.cell(window, number).alerts), "reverse" if is_set else ""))
        table.add_row(str(number), *cells)
    return table


def _write_ndjson(alerts: list[Alert]) -> None:
    from keywatch.hunting.hunt import to_ndjson

    for alert in alerts:
        click.echo(to_ndjson(alert))


def _write_csv(alerts: list[Alert]) -> None:
    """Write a row an alert; what is no plain text is JSON, which no spreadsheet takes for a formula."""
    import json
    from dataclasses import asdict, fields

    from keywatch.hunting.hunt import Alert

    writer = csv.DictWriter(sys.stdout, [field.name for field in fields(Alert)])
    writer.writeheader()
    for alert in alerts:
        row = asdict(alert)
        writer.writerow(
            {key: json.dumps(value) if isinstance(value, dict | list) else value for key, value in row.items()}
        )


def _write_table(alerts: list[Alert]) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    if not alerts:
        click.echo("No alerts.")
        return
    table = Table("Level", "Seen", "Alert", box=box.SIMPLE_HEAD, pad_edge=False)
    for alert in alerts:
        seen = alert.first_seen if alert.first_seen == alert.last_seen else f"{alert.first_seen}\n{alert.last_seen}"
        who = ", ".join(alert.principals)
        if alert.values:
            what = f"{alert.count} in one window: {', '.join(alert.values)}; {alert.events} events"
        else:
            what = " in ".join(", ".join(alert.evidence.get(name, [])) for name in ("eventName", "awsRegion"))
        text = Text.assemble(
            (printable(alert.title), "bold"), "\n", printable(who), "\n", printable(what), overflow="fold"
        )
        table.add_row(Text(alert.level, _STYLES.get(alert.level, "")), seen, text)
    _console().print(table)


_STYLES = {"critical": "bold red", "high": "red", "medium": "yellow"}
WRITERS = {"table": _write_table, "ndjson": _write_ndjson, "csv": _write_csv}
