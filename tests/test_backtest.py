"""The grid of a backtest against the oracle, the thresholds it proposes, and its report in a real browser."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from copy import deepcopy
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from sigma.correlations import SigmaCorrelationTimespan
from sigma.pipelines.keywatch._pack import PACK

import oracle
from conftest import absent
from events import DENIED, HOUR, INVOCATION_LONG, MALLORY, MINUTE, REGIONS, TRENT, denied, histories, invoked
from keywatch.conversion.rules import load_pack
from keywatch.conversion.settings import load_settings
from keywatch.hunting.backtest import THRESHOLDS, Backtest, backtest, write_proposals
from keywatch.hunting.records import Coverage, Selection
from keywatch.hunting.report import report

Event = dict[str, Any]
RULES = oracle.load(PACK)
PROGRAM = [sys.executable, "-m", "keywatch.cli"]


def run(folder: Path, events: list[Event], selection: Selection | None = None) -> Backtest:
    (folder / "events.json").write_text(json.dumps({"Records": events}), encoding="utf-8")
    values = load_settings(None)
    paths = [str(folder / "events.json")]
    return backtest(lambda: load_pack([], [], values), values, paths, selection or Selection(), Coverage())


def merged(ends: list[float], window: int) -> list[float]:
    """Return when each alert begins: windows that overlap are one."""
    return [end for number, end in enumerate(ends) if number == 0 or end - window > ends[number - 1]]


@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(events=histories())
def test_cells_are_what_the_oracle_counts(events: list[Event], tmp_path: Path) -> None:
    result = run(tmp_path, events)
    for rule in result.rules:
        if rule.window is None:
            assert not rule.cells
            continue
        for window in result.windows:
            for number in (*THRESHOLDS[:6], THRESHOLDS[-1]):
                document = deepcopy(RULES[rule.name])
                document["correlation"]["timespan"] = window
                document["correlation"]["condition"]["gte"] = number
                seconds = SigmaCorrelationTimespan(window).seconds
                crossed = oracle.crossings(document, RULES, events)
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
    lines = write_proposals(run(tmp_path, attacks()), 1, path)
    after = path.read_text()
    assert "# Ours.\n" in after
    assert "interval: 10m  # agreed with the SOC\n" in after
    assert "# Noisy until the inventory moved.\n" in after
    assert "threshold: 4  # 1 alerts from 2026-11-20 to 2026-12-10, 22 at 3\n" in after
    assert "a guess" not in after
    assert "index: 'aws'\n" in after
    values = load_settings(path)
    assert values["rules"][DENIED] == {"timespan": "30m", "threshold": 4}
    assert values["rules"][INVOCATION_LONG]["enabled"] is False
    assert f"{DENIED}: threshold 4 (1 alerts from 2026-11-20 to 2026-12-10, 22 at 3)" in lines
    unchanged = [line for line in before.splitlines() if "threshold" not in line]
    assert [line for line in after.splitlines() if line in unchanged] == unchanged
    again = path.read_bytes()
    write_proposals(run(tmp_path, attacks()), 1, path)
    assert path.read_bytes() == again


def browsed(page: Path, folder: Path, *options: str) -> str:
    """Open a page in Chromium; return its document as the browser made it."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        absent("no chromium: it opens the report of a backtest (apt install chromium)")
    command = [str(chromium), "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"]
    command += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    command += ["--enable-logging=stderr", f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=3000"]
    done = subprocess.run(
        [*command, *options, "--dump-dom", page.as_uri()], capture_output=True, text=True, check=True, timeout=120
    )
    assert "CONSOLE" not in done.stderr, done.stderr
    return done.stdout


def test_report_in_a_browser(tmp_path: Path) -> None:
    odd = "arn:aws:sts::1:assumed-role/<script>document.title='x'</script>&\"'"
    events = [*attacks(), *(invoked(MINUTE * i, i, arn=odd) for i in range(3))]
    result = run(tmp_path, events)
    page = tmp_path / "report.html"
    page.write_text(report(result, 1), encoding="utf-8")
    text = page.read_text(encoding="utf-8")
    assert "http://" not in text
    assert "https://" not in text
    assert "<script" not in text
    document = browsed(page, tmp_path)
    assert "<title>Keywatch backtest, 2026-11-20 to 2026-12-10</title>" in document
    counting = [rule for rule in result.rules if rule.window]
    assert document.count("<polyline") == len(counting) * len(result.windows)
    assert f'<td class="who">{MALLORY}</td><td class="n">1</td><td>{", ".join(sorted(REGIONS[:8]))}</td>' in document
    assert "&lt;script&gt;" in document
    assert "4 in 30m" in document
    assert report(result, 1) == text


def test_report_without_alerts(tmp_path: Path) -> None:
    result = run(tmp_path, [denied(0, 0)])
    page = tmp_path / "report.html"
    page.write_text(report(result, None), encoding="utf-8")
    assert "Proposed" not in browsed(page, tmp_path)


def program(*arguments: str, status: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([*PROGRAM, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    return done


def test_the_program(tmp_path: Path) -> None:
    (tmp_path / "events.json").write_text(json.dumps(attacks()))
    (tmp_path / "broken.json").write_text("{")
    report_path, written = tmp_path / "report.html", tmp_path / "my.yaml"
    options = ["--max-per-week", "1", "--report", str(report_path), "--write", str(written)]
    done = program("backtest", str(tmp_path / "events.json"), *options)
    assert "AWS Enumeration Denied in Multiple Regions with Long-Term Key" in done.stdout
    assert f"{written}: {DENIED}: threshold 4" in done.stderr
    assert load_settings(written)["rules"][DENIED]["threshold"] == 4
    assert report_path.stat().st_size > 10_000
    assert "broken.json: not JSON" in program("backtest", str(tmp_path), status=2).stderr


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
    done = program("backtest", str(tmp_path / "events.json"), *arguments, status=2)
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_simulated_attacks_are_found_and_nothing_else(tmp_path: Path) -> None:
    done = program("simulate", str(tmp_path / "a"), "--events", "3000", "--days", "8", "--seed", "7")
    planted = [line.split(" ", 1)[1].split(": ")[0] for line in done.stdout.splitlines()]
    assert len(planted) == 14
    hunted = program("hunt", str(tmp_path / "a"), "--format", "ndjson")
    alerts = [json.loads(line) for line in hunted.stdout.splitlines()]
    found = [alert["group"]["userIdentity.arn"] for alert in alerts if "userIdentity.arn" in alert["group"]]
    assert sorted(found) == sorted(planted)
    program("simulate", str(tmp_path / "b"), "--events", "3000", "--days", "8", "--seed", "7")
    files = {path.relative_to(tmp_path / "a"): path.read_bytes() for path in (tmp_path / "a").rglob("*.gz")}
    assert files == {path.relative_to(tmp_path / "b"): path.read_bytes() for path in (tmp_path / "b").rglob("*.gz")}


def test_a_path_that_is_not_there_is_named(tmp_path: Path) -> None:
    done = program("backtest", str(tmp_path / "gone"), status=2)
    assert done.stderr.splitlines() == [
        f"{tmp_path}/gone: can't be read: No such file or directory",
        "there are no events to try the rules on",
    ]
