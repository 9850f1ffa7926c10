"""What a backtest has found, for a terminal: each rule, and the alerts of each threshold and window."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from keywatch.errors import printable
from keywatch.hunting.backtest import THRESHOLDS, Backtest, RuleResult
from keywatch.words import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

#: From so many columns on, what is said of a rule stands in one row.
_WIDE = 120
#: From so many columns on, a grid's numbers have room for seven digits beside the word Threshold.
_ROOMY = 80


class _Honest(Console):
    """A console that does not hide that standard output was closed."""

    def on_broken_pipe(self) -> None:
        raise  # noqa: PLE0704  # rich calls it where it has caught the error


def backtest(result: Backtest, most_a_week: float | None) -> None:
    """Print what each rule would have raised, and for those that count the alerts of each threshold and window."""
    console = _Honest()
    console.print(f"{result.start} to {result.end}, {result.weeks:.1f} weeks\n", highlight=False)
    if console.width >= _WIDE:
        console.print(_table(result, most_a_week))
    else:
        for line in _lines(result, most_a_week):
            console.print(line, overflow="fold")
        console.print()
    for rule in result.rules:
        if rule.window is not None:
            console.print(Text(printable(rule.title), "italic"), _grid(result, rule, console.width), sep="\n")


def _table(result: Backtest, most_a_week: float | None) -> Table:
    table = Table("Rule", "Set", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("Alerts", "Principals", "Days", "A week"):
        table.add_column(column, justify="right")
    if most_a_week is not None:
        table.add_column(f"For {most_a_week:g} a week")
    for rule in result.rules:
        row: list[str | Text] = [Text(printable(rule.title)), _setting(rule), *map(str, _counts(rule))]
        row.append(f"{len(rule.alerts) / result.weeks:.1f}")
        if most_a_week is not None:
            row.append(_proposal(result, rule, most_a_week))
        table.add_row(*row)
    return table


def _lines(result: Backtest, most_a_week: float | None) -> Iterator[Text]:
    """Yield two lines on each rule, which hold on a narrow terminal what the table has."""
    for rule in result.rules:
        alerts, principals, days = _counts(rule)
        said = (
            f"{_setting(rule)}: {counted(alerts, 'alert')}, {counted(principals, 'principal')}, {counted(days, 'day')}"
        )
        said += f", {len(rule.alerts) / result.weeks:.1f} a week"
        if most_a_week is not None and rule.window is not None:
            said += f"; for {most_a_week:g} a week: {_proposal(result, rule, most_a_week)}"
        yield Text(printable(rule.title), "bold")
        yield Text(f"  {said}")


def _setting(rule: RuleResult) -> str:
    return f"{rule.threshold} in {rule.window}" if rule.window else printable(rule.when)


def _counts(rule: RuleResult) -> tuple[int, int, int]:
    """Return how many alerts, principals and days a rule has."""
    principals = {who for alert in rule.alerts for who in alert.principals}
    return len(rule.alerts), len(principals), len({alert.first_seen[:10] for alert in rule.alerts})


def _proposal(result: Backtest, rule: RuleResult, most_a_week: float) -> str:
    if rule.window is None:
        return ""
    proposal = result.proposal(rule, most_a_week)
    return f"{proposal} in {rule.window}" if proposal else "none"


def _grid(result: Backtest, rule: RuleResult, width: int) -> Table:
    roomy = width >= _ROOMY
    table = Table("Threshold" if roomy else "≥", box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, int(roomy), 0, 0))
    for window in result.windows:  # across, so that large numbers fit
        table.add_column(window, justify="right")
    for number in THRESHOLDS:
        cells = []
        for window in result.windows:
            is_set = (window, number) == (rule.window, rule.threshold)
            cells.append(Text(str(rule.cell(window, number).alerts), "reverse" if is_set else ""))
        table.add_row(str(number), *cells)
    return table
