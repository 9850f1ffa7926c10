"""The backtest as one HTML page that opens without network."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import date, timedelta
from math import log1p
from typing import Any

from keywatch.hunting.backtest import THRESHOLDS, Backtest, RuleResult
from keywatch.hunting.pages import template

_WIDTH, _HEIGHT, _BARS = 640, 180, 70
_MOST_PRINCIPALS = 20


@dataclass(frozen=True)
class Line:
    """A window's alerts against the threshold: the points of a polyline."""

    window: str
    own: bool
    points: str


@dataclass(frozen=True)
class Bar:
    """The alerts of a day."""

    day: date
    alerts: int
    x: float
    width: float
    y: float
    height: float


def report(result: Backtest, most_a_week: float | None) -> str:
    """Render the page.

    :param most_a_week: the rate that thresholds are proposed for; none are proposed without.
    """
    return template("report.html.j2").render(
        result=result,
        most_a_week=most_a_week,
        thresholds=THRESHOLDS,
        width=_WIDTH,
        height=_HEIGHT,
        bars=_BARS,
        rules=[_view(result, rule, most_a_week) for rule in result.rules],
    )


def _view(result: Backtest, rule: RuleResult, most_a_week: float | None) -> dict[str, Any]:
    most = max((cell.alerts for cell in rule.cells.values()), default=0)
    principals = Counter(who for alert in rule.alerts for who in alert.principals)
    regions: dict[str, set[str]] = {}
    for alert in rule.alerts:
        for who in alert.principals:
            regions.setdefault(who, set()).update(alert.values or alert.evidence.get("awsRegion", []))
    return {
        "rule": rule,
        "proposal": None if most_a_week is None else result.proposal(rule, most_a_week),
        "bars": _bars(result, rule),
        "lines": _lines(result, rule, most),
        "ticks": [(number, _height(number, most)) for number in (0, 1, 10, 100, 1000, 10_000) if number <= most],
        "columns": [(number, _column(number)) for number in THRESHOLDS],
        "principals": [
            (who, count, sorted(regions[who])) for who, count in sorted(principals.items(), key=lambda p: (-p[1], p[0]))
        ][:_MOST_PRINCIPALS],
        "more": max(0, len(principals) - _MOST_PRINCIPALS),
    }


def _bars(result: Backtest, rule: RuleResult) -> list[Bar]:
    days = [result.start + timedelta(days=number) for number in range((result.end - result.start).days + 1)]
    counts = Counter(alert.first_seen[:10] for alert in rule.alerts)
    most = max(counts.values(), default=0)
    width = _WIDTH / len(days)
    bars = []
    for number, day in enumerate(days):
        alerts = counts[day.isoformat()]
        height = round(_BARS * alerts / max(most, 1), 2)
        bars.append(Bar(day, alerts, round(number * width, 2), round(width * 0.85, 2), _BARS - height, height))
    return bars


def _lines(result: Backtest, rule: RuleResult, most: int) -> list[Line]:
    lines: list[Line] = []
    for window in result.windows if rule.window else ():
        heights = [_height(rule.cell(window, number).alerts, most) for number in THRESHOLDS]
        points = " ".join(f"{_column(number)},{height}" for number, height in zip(THRESHOLDS, heights, strict=True))
        lines.append(Line(window, window == rule.window, points))
    return lines


def _column(threshold: int) -> float:
    return round((threshold - THRESHOLDS[0]) * _WIDTH / (len(THRESHOLDS) - 1), 2)


def _height(count: int, most: int) -> float:
    """Return how far from the top a count stands: on a logarithmic axis, from 0 at the bottom."""
    return round(_HEIGHT * (1 - log1p(count) / log1p(most)), 2) if most else _HEIGHT
