"""The grid of a backtest against the oracle, the thresholds it proposes, and the program."""

from __future__ import annotations

import json
from copy import deepcopy
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from sigma.correlations import SigmaCorrelationTimespan
from sigma.pipelines.keywatch._pack import PACK, guides

import oracle
from events import DENIED, HOUR, INVOCATION_LONG, MINUTE, TRENT, denied, histories
from keywatch.conversion.rules import load_pack
from keywatch.conversion.settings import load_settings
from keywatch.hunting.backtest import THRESHOLDS, Backtest, backtest, write_proposals
from keywatch.hunting.coverage import Coverage
from keywatch.hunting.selection import Selection
from packs import DENIALS, keywatch

Event = dict[str, Any]
RULES = oracle.load(PACK)


def run(folder: Path, events: list[Event], selection: Selection | None = None, *, whole: bool = False) -> Backtest:
    """Backtest one rule that counts; or the whole pack."""
    (folder / "events.json").write_text(json.dumps({"Records": events}), encoding="utf-8")
    values = load_settings(None)
    paths = [str(folder / "events.json")]
    rules = [] if whole else [*map(Path, DENIALS[1::2])]
    return backtest(lambda: load_pack(rules, [], values), values, paths, selection or Selection(), Coverage())


def merged(ends: list[float], window: int) -> list[float]:
    """Return when each alert begins: windows that overlap are one."""
    return [end for number, end in enumerate(ends) if number == 0 or end - window > ends[number - 1]]


@settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck))
@given(events=histories())
def test_cells_are_what_the_oracle_counts(events: list[Event], tmp_path: Path) -> None:
    result = run(tmp_path, events, whole=True)
    for rule in result.rules:
        if rule.window is None:
            assert not rule.cells
            continue
        seen = oracle.seen(RULES[rule.name], RULES, events)
        for window in result.windows:
            for number in (*THRESHOLDS[:3], THRESHOLDS[-1]):
                document = deepcopy(RULES[rule.name])
                document["correlation"]["timespan"] = window
                document["correlation"]["condition"]["gte"] = number
                seconds = SigmaCorrelationTimespan(window).seconds
                crossed = oracle.crossed(document, seen)
                alerts = [(who, at) for who, ends in crossed.items() for at in merged(ends, seconds)]
                cell = rule.cell(window, number)
                assert cell.alerts == len(alerts)
                assert cell.principals == len(crossed)
                assert cell.days == len({datetime.fromtimestamp(at, UTC).date() for _, at in alerts})
        assert rule.threshold is not None
        assert rule.cell(rule.window, rule.threshold).alerts == len(rule.alerts)


def attacks() -> list[Event]:
    """Return three weeks: MALLORY is denied in 8 Regions once, TRENT in 3 every day."""
    day = 24 * HOUR
    events = [denied(MINUTE * i, i) for i in range(8)]
    return events + [denied(n * day + MINUTE * i, i, arn=TRENT) for n in range(21) for i in range(3)]


def test_proposals(tmp_path: Path) -> None:
    result = run(tmp_path, attacks())
    assert (result.start, result.end, result.weeks) == (date(2026, 11, 20), date(2026, 12, 10), 3)
    rule = next(rule for rule in result.rules if rule.name == DENIED)
    assert result.proposal(rule, 100) == 2
    assert result.proposal(rule, 7) == 4  # 22 alerts at 3
    assert result.proposal(rule, 22 / 3) == 2
    assert result.proposal(rule, 0) == 9
    rule.cells = {("30m", number): rule.cell("30m", 2) for number in THRESHOLDS}
    assert result.proposal(rule, 1) is None


def test_writing_proposals_leaves_the_rest_of_the_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    before = f"""# Ours.
schedule:
    interval: 10m  # agreed with the SOC
rules:
    # Noisy until the inventory moved.
    {DENIED}:
        timespan: 30m
        threshold: 12  # a guess
    {INVOCATION_LONG}:
        enabled: false
splunk:
    index: 'aws'
"""
    path.write_text(before)
    lines = write_proposals(run(tmp_path, attacks(), whole=True), 1, path)
    after = path.read_text()
    assert "# Ours.\n" in after
    assert "interval: 10m  # agreed with the SOC\n" in after
    assert "# Noisy until the inventory moved.\n" in after
    assert "threshold: 4  # 1 alert from 2026-11-20 to 2026-12-10, 22 at 3\n" in after
    assert "a guess" not in after
    assert "index: 'aws'\n" in after
    values = load_settings(path)
    assert values["rules"][DENIED] == {"timespan": "30m", "threshold": 4}
    assert values["rules"][INVOCATION_LONG]["enabled"] is False
    assert f"{DENIED}: threshold 4 (1 alert from 2026-11-20 to 2026-12-10, 22 at 3)" in lines
    types = {name: RULES[name].get("correlation", {}).get("type") for name in guides()}
    assert {line.split(":")[0] for line in lines} == {name for name, kind in types.items() if kind == "value_count"}
    assert len(lines) == len(set(lines))
    unchanged = [line for line in before.splitlines() if "threshold" not in line]
    assert [line for line in after.splitlines() if line in unchanged] == unchanged
    again = path.read_bytes()
    write_proposals(run(tmp_path, attacks(), whole=True), 1, path)
    assert path.read_bytes() == again


@pytest.mark.parametrize(
    ("start", "end", "span"),
    [
        (None, None, (date(2026, 11, 20), date(2026, 12, 10))),
        (datetime(2026, 11, 10), None, (date(2026, 11, 10), date(2026, 12, 10))),
        (None, datetime(2026, 12, 25), (date(2026, 11, 20), date(2026, 12, 24))),  # events before the 25th
        (None, datetime(2026, 12, 25, 0, 0, 1), (date(2026, 11, 20), date(2026, 12, 25))),
        (datetime(2026, 11, 22, 12), datetime(2026, 11, 24), (date(2026, 11, 22), date(2026, 11, 23))),
        (datetime(2027, 1, 1), datetime(2027, 1, 2), (date(2027, 1, 1), date(2027, 1, 1))),
    ],
)
def test_the_span_is_what_was_asked_for_or_else_what_is_there(
    start: datetime | None, end: datetime | None, span: tuple[date, date], tmp_path: Path
) -> None:
    result = run(tmp_path, attacks(), Selection(start, end))
    assert (result.start, result.end) == span
    assert result.weeks == ((span[1] - span[0]).days + 1) / 7


def test_the_program(tmp_path: Path) -> None:
    (tmp_path / "events.json").write_text(json.dumps(attacks()))
    (tmp_path / "broken.json").write_text("{")
    report_path, written = tmp_path / "report.html", tmp_path / "my.yaml"
    options = ["--max-per-week", "1", "--report", str(report_path), "--write", str(written)]
    done = keywatch("backtest", tmp_path / "events.json", *options)
    assert done.exit_code == 0, done.output
    assert "AWS Enumeration Denied in Multiple Regions with Long-Term Key" in done.stdout
    assert f"{written}: {DENIED}: threshold 4" in done.stderr
    assert load_settings(written)["rules"][DENIED]["threshold"] == 4
    assert "with at most 1 alert a week" in report_path.read_text()
    done = keywatch("backtest", *DENIALS, tmp_path)
    assert done.exit_code == 2
    assert "broken.json:1: not JSON" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--write", "x.yaml"], "--write needs --max-per-week"),
        (["--report", "/dev/full"], "/dev/full: can't be written: No space left on device"),
        (["--max-per-week", "1", "--write", "/dev/full/x"], "can't be "),
        (["--from", "2030-01-01", "--to", "2029-01-01"], "there are no events to try the rules on"),
    ],
)
def test_errors_are_one_line(arguments: list[str], says: str, tmp_path: Path) -> None:
    (tmp_path / "events.json").write_text(json.dumps(attacks()))
    done = keywatch("backtest", *DENIALS, tmp_path / "events.json", *arguments)
    assert done.exit_code == 2
    lines = done.stderr.splitlines()
    assert says in lines[-1]
    assert len(lines) == 1 + ("--from" in arguments)  # a selection that leaves nothing is told of too


def test_a_path_that_is_not_there_is_named(tmp_path: Path) -> None:
    done = keywatch("backtest", tmp_path / "gone")
    assert done.exit_code == 2
    assert done.stderr.splitlines() == [
        f"{tmp_path}/gone: can't be read: No such file or directory",
        "there are no events to try the rules on",
    ]
