"""The alerts of a hunt as one HTML page that opens without network."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain, islice
from string import Formatter
from typing import Any

from sigma.pipelines.keywatch._pack import guides

from keywatch.hunting.alerts import Alerts
from keywatch.hunting.cases import WHO, Case, Values, cases, values_behind
from keywatch.hunting.pages import template
from keywatch.show.cases import facts, listed

_WIDTH, _BARS = 640, 70
#: Cases that are shown, of principals and Regions the most frequent; the others are counted.
_MOST_CASES, _MOST_ROWS = 200, 20
#: Steps of the time line: the first that needs no more than so many bars.
_STEPS = [timedelta(minutes=1), timedelta(minutes=15), timedelta(hours=1), timedelta(hours=6), timedelta(days=1)]
_MOST_BARS = 120
#: From the gravest on.
LEVELS = ("critical", "high", "medium", "low", "informational", "")


@dataclass(frozen=True)
class Bar:
    """The alerts that begin in a step of the time line."""

    start: datetime
    alerts: int
    x: float
    width: float
    y: float
    height: float


def page(alerts: Alerts) -> str:
    """Render the page; `look_behind` was called before."""
    found = cases(alerts)
    shown = list(islice(found, _MOST_CASES))
    more = sum(1 for _ in found)
    values = _behind(alerts, shown)
    times = _rows(alerts, "min(first_seen), max(last_seen)")[0] if alerts.count else (None, None)
    return template("hunt.html.j2").render(
        count=alerts.count,
        start=times[0],
        end=times[1],
        levels=_levels(alerts),
        bars=_bars(alerts, *times) if alerts.count else [],
        width=_WIDTH,
        height=_BARS,
        principals=_most(alerts, WHO),
        regions=_most(alerts, "coalesce(\"awsRegion\", '')"),
        most=_MOST_ROWS,
        cases=[_view(values, case) for case in shown],
        more=more,
    )


def _rows(alerts: Alerts, columns: str, rest: str = "") -> list[tuple[Any, ...]]:
    """Return what a query of the alerts gives."""
    return alerts.connection.execute(f"SELECT {columns} FROM ({alerts.relation()}) {rest}").fetchall()  # noqa: S608


def _levels(alerts: Alerts) -> list[tuple[str, int]]:
    counts = dict.fromkeys(LEVELS, 0)
    for rule, count in _rows(alerts, "rule, count(*)", "GROUP BY rule"):
        level = alerts.rules[rule].level
        counts[level.name.lower() if level else ""] += count
    return [(level or "no level", count) for level, count in counts.items() if count]


def _bars(alerts: Alerts, start: datetime, end: datetime) -> list[Bar]:
    step = next((step for step in _STEPS if (end - start) / step < _MOST_BARS), timedelta(days=7))
    origin = datetime(start.year, start.month, start.day)
    first = origin + (start - origin) // step * step
    number = (end - first) // step + 1
    counts = _rows(
        alerts,
        f"(epoch(first_seen) - epoch(TIMESTAMP '{first}')) // {step.total_seconds()} AS bar, count(*)",
        "GROUP BY bar ORDER BY bar",
    )
    most, width = max(count for _, count in counts), _WIDTH / number
    bars = []
    for place, count in counts:
        height = round(_BARS * count / most, 2)
        x = round(place * width, 2)
        bars.append(Bar(first + int(place) * step, count, x, round(max(width * 0.85, 1), 2), _BARS - height, height))
    return bars


def _most(alerts: Alerts, field: str) -> list[tuple[str, int, int]]:
    """Return what a field has in most alerts, such as principals, with how many alerts and events that is."""
    return alerts.connection.execute(
        f"SELECT {field} AS value, count(DISTINCT (rule, found, CASE WHEN found IS NULL THEN event END)) AS alerts,"  # noqa: S608
        " count(*) FROM behind JOIN cloudtrail ON cloudtrail.rowid = event"
        " GROUP BY value ORDER BY alerts DESC, count(*) DESC, value",
    ).fetchall()


def _steps(case: Case) -> dict[str, str]:
    guide = guides().get(case.rule.name or "")
    return guide.steps if guide is not None else {}


def _behind(alerts: Alerts, shown: list[Case]) -> dict[str, dict[int, Values]]:
    """Return what the fields that guides name have in the events of each case."""
    texts = chain.from_iterable(_steps(case).values() for case in shown)
    fields = dict.fromkeys(name for text in texts for _, name, _, _ in Formatter().parse(text) if name)
    known = {name for name, *_ in alerts.connection.execute("DESCRIBE cloudtrail").fetchall()}
    return {name: values_behind(alerts, name, len(shown)) for name in fields if name in known}


def _view(behind: dict[str, dict[int, Values]], case: Case) -> dict[str, Any]:
    steps = _steps(case)
    values = {name: listed(of_cases.get(case.number)) for name, of_cases in behind.items()}
    return {
        "number": case.number,
        "case": case,
        "who": listed(case.facts.get("principal")),
        "facts": list(facts(case)),
        "description": case.rule.description or "",
        "steps": [(title, _filled(text, values)) for title, text in steps.items()],
    }


def _filled(text: str, values: dict[str, str]) -> list[tuple[str, bool]]:
    """Return the pieces of a step, each with whether it is the alert's own."""
    pieces = []
    for literal, name, _, _ in Formatter().parse(text):
        pieces.append((literal, False))
        if name:
            pieces.append((values.get(name, "-"), True))
    return pieces
