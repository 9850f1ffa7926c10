"""How often a rule would have alerted, and on whom, with other thresholds and windows."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sigma.backends.keywatch._correlation import Correlation, Rule
from sigma.correlations import SigmaCorrelationRule, SigmaCorrelationTimespan

from keywatch.conversion.convert import convert
from keywatch.conversion.describing import raised_when
from keywatch.conversion.rules import Pack
from keywatch.conversion.targets import TARGETS
from keywatch.errors import UserError
from keywatch.files import replace as replace_file
from keywatch.hunting.alerts import Alerts
from keywatch.hunting.coverage import Coverage
from keywatch.hunting.hunt import Alert, decoded
from keywatch.hunting.loading import Progress, loaded
from keywatch.hunting.reading import UNPACK_LIMIT
from keywatch.hunting.selection import Selection
from keywatch.words import counted

if TYPE_CHECKING:
    import duckdb

WINDOWS = ("5m", "15m", "30m", "1h", "6h", "1d")
#: Up to the number of Regions that are enabled by default.
THRESHOLDS = range(2, 18)
_GRID = replace(TARGETS["duckdb"], backends={"duckdb.KeywatchGridBackend": "cloudtrail_duckdb"})


@dataclass(frozen=True)
class Cell:
    """What a rule would have raised with one threshold and one window."""

    alerts: int = 0
    principals: int = 0
    days: int = 0


@dataclass
class RuleResult:
    """What a rule would have raised. One that no threshold is tried for has none, and no window and no cells."""

    name: str
    title: str
    level: str
    threshold: int | None = None
    window: str | None = None
    alerts: list[Alert] = field(default_factory=list)
    cells: dict[tuple[str, int], Cell] = field(default_factory=dict)
    #: What raises an alert, where no threshold says it.
    when: str = "each event"

    def cell(self, window: str, threshold: int) -> Cell:
        """Return what was raised with a window and a threshold."""
        return self.cells.get((window, threshold), Cell())


@dataclass
class Backtest:
    """What the rules would have raised over a span of days, both included."""

    start: date
    end: date
    windows: list[str]
    rules: list[RuleResult]
    problems: list[UserError]

    @property
    def weeks(self) -> float:
        """The length of the span."""
        return ((self.end - self.start).days + 1) / 7

    def proposal(self, rule: RuleResult, most_a_week: float) -> int | None:
        """Return the lowest threshold, with the rule's own window, that keeps alerts to a rate; None if none does."""
        if rule.window is None:
            return None
        most = most_a_week * self.weeks
        return next((number for number in THRESHOLDS if rule.cell(rule.window, number).alerts <= most), None)


def backtest(
    load: Callable[[], Pack],
    settings: dict[str, Any],
    paths: Iterable[str],
    selection: Selection,
    coverage: Coverage,
    progress: Progress | None = None,
    limit: int = UNPACK_LIMIT,
) -> Backtest:
    """Run the rules as they are set, and on a grid of thresholds and windows, over one reading of the files.

    :param load: reads the rules; it is called for each window, because a rule can be converted once.
    :param limit: the bytes up to which a file is unpacked.
    :raises UserError: if there is no event, so that nothing can be said.
    """
    pack = load()
    conversion = convert(pack, TARGETS["duckdb"], settings)
    results = {rule.title: _result(name, rule) for name, rule in conversion.rules.items()}
    with loaded(conversion, paths, selection, coverage, progress, limit) as connection:
        start, end = _span(connection, selection, coverage)
        for alert in decoded(Alerts(connection, conversion, coverage)):
            results[alert.title].alerts.append(alert)
        connection.execute("CREATE TABLE thresholds AS SELECT unnest($1::INTEGER[]) AS threshold", [list(THRESHOLDS)])
        own = {result.window for result in results.values() if result.window}
        windows = sorted({*WINDOWS, *own}, key=lambda spec: SigmaCorrelationTimespan(spec).seconds)
        for window in windows:
            _fill(connection, load(), settings, window, results)
    problems = [*pack.problems, *conversion.problems, *coverage.problems]
    return Backtest(start, end, windows, list(results.values()), problems)


def write_proposals(
    result: Backtest, most_a_week: float, path: Path, settings: dict[str, Any] | None = None
) -> list[str]:
    """Put the proposed thresholds into a settings file, each with its reason as a comment, and leave the rest alone.

    :param settings: those of the backtest. A window that they set is put into the file too: the figures are for it.
    :return: a line on each rule: what was written, or why nothing was.
    :raises UserError: if the file can't be read as settings, or can't be written.
    """
    from keywatch.conversion.editing import EditingError, with_setting
    from keywatch.conversion.settings import load_settings

    own = load_settings(path if path.is_file() else None)["rules"]
    text = path.read_bytes().decode() if path.is_file() else ""
    lines = []
    for rule in result.rules:
        proposal = result.proposal(rule, most_a_week)
        if rule.window is None:
            continue
        if proposal is None:
            lines.append(f"{rule.name}: no threshold up to {THRESHOLDS[-1]} keeps it to {most_a_week:g} a week")
            continue
        reason = _reason(result, rule, proposal)
        window = (settings or {"rules": {}})["rules"].get(rule.name, {}).get("timespan")
        try:
            if window and window != own.get(rule.name, {}).get("timespan"):
                text = with_setting(text, ["rules", rule.name, "timespan"], window)
            text = with_setting(text, ["rules", rule.name, "threshold"], proposal, reason)
        except EditingError as error:
            raise UserError(f"can't be edited without changing more of it; put in yourself: {error}", path) from error
        lines.append(f"{rule.name}: threshold {proposal} ({reason})")
    replace_file(path, text)
    return lines


def _reason(result: Backtest, rule: RuleResult, proposal: int) -> str:
    assert rule.window is not None
    alerts = rule.cell(rule.window, proposal).alerts
    text = f"{counted(alerts, 'alert')} from {result.start} to {result.end}"
    if proposal > THRESHOLDS[0]:
        text += f", {rule.cell(rule.window, proposal - 1).alerts} at {proposal - 1}"
    return text


def _result(name: str, rule: Rule) -> RuleResult:
    result = RuleResult(rule.name or name, rule.title, rule.level.name.lower() if rule.level else "")
    result.when = raised_when(rule)
    correlation = Correlation.of(rule)
    if correlation is not None and _has_grid(correlation):
        result.threshold, result.window = correlation.least, _spelt(correlation.rule.timespan)
    return result


def _has_grid(correlation: Correlation) -> bool:
    """Tell whether thresholds of the grid say something about a correlation: hundreds of events are none of them.

    Nor do windows that become those of the correlations inside too.
    """
    if correlation.inner:
        return False
    if correlation.type == "event_count":
        return correlation.least is not None and correlation.least <= THRESHOLDS[-1]
    return correlation.type == "value_count"


def _spelt(timespan: SigmaCorrelationTimespan) -> str:
    """Return a window as the grid spells it: `24h` is the column `1d`, not one of its own."""
    return next(
        (window for window in WINDOWS if SigmaCorrelationTimespan(window).seconds == timespan.seconds), timespan.spec
    )


def _fill(
    connection: duckdb.DuckDBPyConnection,
    pack: Pack,
    settings: dict[str, Any],
    window: str,
    results: dict[str, RuleResult],
) -> None:
    """Fill the cells of all thresholds for one window."""
    for rule in pack.in_order():
        if isinstance(rule, SigmaCorrelationRule):
            rule.timespan = SigmaCorrelationTimespan(window)
    conversion = convert(pack, _GRID, settings)
    for name, queries in conversion.queries.items():
        rule = conversion.rules[name]
        if results[rule.title].window is None:
            continue
        rows = [row for query in queries for row in connection.execute(query).fetchall()]
        for number in THRESHOLDS:
            alerts = [(principal, time) for threshold, principal, time in rows if threshold == number]
            results[rule.title].cells[window, number] = Cell(
                alerts=len(alerts),
                principals=len({principal for principal, _ in alerts}),
                days=len({time.date() for _, time in alerts}),
            )


def _span(connection: duckdb.DuckDBPyConnection, selection: Selection, coverage: Coverage) -> tuple[date, date]:
    """Return the first and the last day that the events are from: those asked for, or what paths and events say."""
    row = connection.execute('SELECT min("eventTime"), max("eventTime") FROM cloudtrail').fetchone()
    assert row is not None
    days = {time.date() for time in row if time is not None} | coverage.days
    start = selection.start.date() if selection.start else min(days, default=None)
    end = (selection.end - timedelta(seconds=1)).date() if selection.end else max(days, default=None)
    if start is None or end is None or end < start:
        raise UserError("there are no events to try the rules on")
    return start, end
