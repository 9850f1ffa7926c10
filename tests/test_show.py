"""What the program prints, as a person reads it: alerts, the grid of a backtest, problems, and how it ends."""

from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Iterable
from datetime import date
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from events import DENIED, HOUR, MINUTE, REGIONS, denied
from keywatch import ending
from keywatch.hunting.backtest import THRESHOLDS, WINDOWS, Backtest, Cell, RuleResult
from keywatch.hunting.coverage import Coverage
from keywatch.show import grid
from keywatch.show.progress import progress
from packs import SEED, keywatch, one_rule, written

Event = dict[str, Any]
Patch = pytest.MonkeyPatch
ATTACK = [denied(MINUTE * i, i % 6, userAgent=f"agent/{i % 2}") for i in range(12)]
TITLE = "AWS Enumeration Denied in Multiple Regions with Long-Term Key"


def saved(events: list[Event], folder: Path, name: str = "events.json") -> Path:
    path = folder / name
    path.write_text(json.dumps({"Records": events}), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("events", "options", "status"),
    [
        (ATTACK, [], 0),
        (ATTACK, ["--exit-code"], 1),
        (ATTACK[:4], ["--exit-code"], 0),
    ],
)
def test_exit_status_tells_of_alerts_where_that_is_asked_for(
    events: list[Event], options: list[str], status: int, tmp_path: Path
) -> None:
    assert keywatch("hunt", *SEED, *options, saved(events, tmp_path)).exit_code == status


def test_exit_status_tells_that_not_all_was_read_before_it_tells_of_alerts(tmp_path: Path) -> None:
    result = keywatch("hunt", *SEED, "--exit-code", saved(ATTACK, tmp_path), tmp_path / "gone.json")
    assert result.exit_code == 2
    assert result.stderr.splitlines() == [
        f"{tmp_path}/gone.json: can't be read: No such file or directory",
        "1 alert, 12 records, 1 file, 1 problem, named above.",
    ]


def test_no_alerts_are_said(tmp_path: Path) -> None:
    result = keywatch("hunt", *SEED, saved(ATTACK[:4], tmp_path))
    assert (result.stdout, result.stderr) == ("No alerts.\n", "0 alerts, 4 records, 1 file.\n")


#: Text that a terminal would obey: a colour, a title, C1's form of it, text that runs backwards, a line of its own.
HOSTILE = "\x1b[31mred\x1b]0;owned\x07 \x9b1m \u202eback \r\nmedium  forged"
SHOWN = r"\x1b[31mred\x1b]0;owned\x07 \x9b1m \u202eback \r\nmedium  forged"


def test_a_terminal_gets_no_escapes_from_events(tmp_path: Path) -> None:
    path = saved([denied(i, i, arn=HOSTILE) for i in range(5)], tmp_path)
    stdout = keywatch("hunt", *SEED, path, COLUMNS="200").stdout
    assert SHOWN in stdout
    assert not set(HOSTILE) - set(SHOWN) - {"\n"} & set(stdout)
    assert not re.search("^medium +forged", stdout, re.MULTILINE)


def test_a_terminal_gets_no_escapes_and_no_markup_from_rules(tmp_path: Path) -> None:
    title = "[/x] [bold]b[/bold] \x1b[31m"
    rules = written([one_rule({"eventName|startswith": "List"}, title=title, level="low")], tmp_path)
    path = saved(ATTACK[:1], tmp_path)
    for command in ("hunt", "backtest"):
        result = keywatch(command, "--rules", rules, path, COLUMNS="200")
        assert result.exit_code == 0, result.output
        assert r"[/x] [bold]b[/bold] \x1b[31m" in result.stdout
        assert "\x1b" not in result.output


@pytest.mark.parametrize("output_format", ["table", "ndjson", "csv"])
def test_no_format_has_what_a_terminal_obeys(output_format: str, tmp_path: Path) -> None:
    title = "=1+1 \x1b[31m \x7f \x85 \x9b1m \u202e \u2066 \u2028 \U000e0001 ä"
    rules = written([one_rule({"eventName|startswith": "List"}, title=title, level="low")], tmp_path)
    path = saved([denied(0, 0, arn=f"{HOSTILE}{title}")], tmp_path)
    stdout = keywatch("hunt", "--rules", rules, "--format", output_format, path, COLUMNS="200").stdout
    assert stdout.replace("\r\n", "").replace("\n", "").isprintable()
    if output_format == "ndjson":
        [line] = stdout.splitlines()
        assert json.loads(line)["title"] == title
        assert " ä" in line
    if output_format == "csv":
        [row] = csv.DictReader(StringIO(stdout))
        assert row["title"].startswith("'=1+1")


def test_a_terminal_gets_no_escapes_from_problems(tmp_path: Path) -> None:
    rules = written([one_rule({"a\x1b[31mb": "x"}, title="\x1b[31m")], tmp_path)
    stderr = keywatch("hunt", *SEED, "--rules", rules, tmp_path / "gone\x1b[31m\n.json").stderr
    assert r"\x1b[31m" in stderr
    assert "\x1b" not in stderr
    assert rf"{tmp_path}/gone\x1b[31m\n.json: can't be read" in stderr


@pytest.mark.parametrize("command", ["hunt", "backtest"])
def test_rules_that_were_not_tried_are_told_of(command: str, tmp_path: Path) -> None:
    unread = tmp_path / "unread.yml"
    unread.write_text("- 7\n")
    rules = written([one_rule({"nosuch": "x"}, title="Unknown"), one_rule({"eventName": "x"}, name="two")], tmp_path)
    result = keywatch(command, "--rules", unread, "--rules", rules, saved(ATTACK, tmp_path))
    assert result.exit_code == 2
    assert f"{unread}:1: not a Sigma rule" in result.stderr
    assert f"{rules}:" in result.stderr
    assert "field 'nosuch' is not known" in result.stderr
    assert "2 problems, named above." in result.stderr


def test_csv_has_a_row_an_alert_and_json_for_lists(tmp_path: Path) -> None:
    events = [event | {"sourceIPAddress": "=1+1"} for event in ATTACK]
    stdout = keywatch("hunt", *SEED, "--format", "csv", saved(events, tmp_path)).stdout
    [row] = csv.DictReader(StringIO(stdout))
    ndjson = keywatch("hunt", *SEED, "--format", "ndjson", saved(events, tmp_path)).stdout
    [alert] = map(json.loads, ndjson.splitlines())
    assert list(row) == list(alert)
    for name, value in alert.items():
        assert (json.loads(row[name]) if isinstance(value, dict | list) else row[name]) == (
            str(value) if isinstance(value, int) else value
        )
    assert alert["values"] == sorted(REGIONS[:6])
    assert not any(cell.startswith(("=", "+", "-", "@")) for cell in row.values())


def test_csv_of_no_alerts_is_its_header(tmp_path: Path) -> None:
    stdout = keywatch("hunt", *SEED, "--format", "csv", saved(ATTACK[:1], tmp_path)).stdout
    assert stdout.splitlines() == ["rule_id,title,level,group,count,values,first_seen,last_seen,events,evidence"]


def test_what_was_read_is_said_in_full(tmp_path: Path) -> None:
    folder = tmp_path / "AWSLogs" / "111122223333" / "CloudTrail"
    for region, day in (("us-east-1", "2026/11/20"), ("us-east-1", "2026/11/29"), ("eu-west-1", "2026/11/20")):
        (folder / region / day).mkdir(parents=True)
        saved(ATTACK, folder / region / day, f"{region}.json")
    digest = folder.with_name("CloudTrail-Digest")
    digest.mkdir()
    (digest / "111122223333_CloudTrail-Digest_us-east-1.json").write_text("{}")
    result = keywatch("hunt", *SEED, "--to", "2026-11-22", tmp_path)
    assert result.stderr == (
        "1 alert, 24 records, 2 files, 1 file of other days, accounts or Regions passed over, "
        "1 digest files passed over, 12 duplicate events left out.\n"
    )


class Terminal(StringIO):
    """Standard error that a person looks at."""

    def isatty(self) -> bool:
        """Say that a person looks."""
        return True


def test_a_terminal_shows_how_many_files_were_read(monkeypatch: Patch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with progress(Coverage()) as shown:
        assert shown is not None
        shown(2, 5)
    assert "Reading" in terminal.getvalue()
    assert "2/5" in terminal.getvalue()
    assert terminal.getvalue().endswith("\x1b[2K")  # nothing of it stays
    monkeypatch.setattr(sys, "stderr", StringIO())
    with progress(Coverage()) as shown:
        assert shown is None


def test_who_interrupts_hears_what_was_covered() -> None:
    """What is said then; tests/test_ends.py interrupts."""
    with progress(Coverage(records=7, files=2)):
        assert ending._covered is not None
        assert ending._covered() == "7 records, 2 files."


def two_weeks() -> list[Event]:
    """Return 14 days: MALLORY is denied in 8 Regions on the first and the second, and in 3 on the last one."""
    day = 24 * HOUR
    days = [denied(n * day + MINUTE * i, i) for n in (0, 1) for i in range(8)]
    return days + [denied(13 * day + MINUTE * i, i) for i in range(3)]


def rows_of(lines: Iterable[str]) -> dict[str, list[str]]:
    """Return the cells of a table's lines by the first cell; of lines that begin alike, the first."""
    found: dict[str, list[str]] = {}
    for line in lines:
        first, *rest = re.split(r"\s{2,}", line.strip())
        found.setdefault(first, rest)
    return found


def test_a_backtest_tells_how_often_a_week(tmp_path: Path) -> None:
    result = keywatch("backtest", *SEED, "--max-per-week", "1.5", saved(two_weeks(), tmp_path), COLUMNS="200")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[0] == "2026-11-20 to 2026-12-03, 2.0 weeks"
    rows = rows_of(result.stdout.splitlines())
    assert rows["Rule"] == ["Set", "Alerts", "Principals", "Days", "A week", "For 1.5 a week"]
    assert rows[TITLE] == ["5 in 30m", "2", "1", "2", "1.0", "2 in 30m"]
    single = "AWS Bedrock Model Access API Called with Long-Term Key"
    assert rows[single] == ["each event", "0", "0", "0", "0.0"]


def test_a_narrow_terminal_has_all_that_a_wide_one_has(tmp_path: Path) -> None:
    result = keywatch("backtest", *SEED, "--max-per-week", "1.5", saved(two_weeks(), tmp_path), COLUMNS="60")
    assert max(map(len, result.stdout.splitlines())) <= 60
    said = " ".join(result.stdout.split())
    figures = "5 in 30m: 2 alerts, 1 principal, 2 days, 1.0 a week; for 1.5 a week: 2 in 30m"
    assert f"{TITLE} {figures}" in said
    assert "AWS Bedrock Model Access API Called with Long-Term Key each event: 0 alerts" in said


def test_a_rate_that_no_threshold_keeps_to_is_said(tmp_path: Path) -> None:
    events = [denied(MINUTE * i, i) for i in range(17)]
    result = keywatch("backtest", *SEED, "--max-per-week", "0", saved(events, tmp_path), COLUMNS="200")
    assert rows_of(result.stdout.splitlines())[TITLE][-1] == "none"


def grid_of(output: str) -> list[str]:
    """Return the lines of the grid of denials, which ends with the threshold 17."""
    lines = output.splitlines()
    start = max(number for number, line in enumerate(lines) if TITLE[:50] in line)
    end = next(number for number, line in enumerate(lines[start:], start + 1) if line.strip().startswith("17 "))
    return lines[start:end]


@pytest.mark.parametrize("columns", ["60", "80", "200"])
def test_the_grid_has_the_alerts_of_each_threshold_and_window(columns: str, tmp_path: Path) -> None:
    result = keywatch("backtest", *SEED, saved(two_weeks(), tmp_path), COLUMNS=columns)
    rows = {first: rest for first, *rest in filter(None, map(str.split, grid_of(result.stdout)))}
    assert rows.pop("≥" if columns == "60" else "Threshold") == ["5m", "15m", "30m", "1h", "6h", "1d"]
    # Eight Regions a minute apart are six within five minutes, both ends included.
    assert [rows[str(number)][0] for number in range(2, 18)] == ["3", "3", "2", "2", "2", *["0"] * 11]
    assert [rows[str(number)][2] for number in range(2, 18)] == ["3", "3", *["2"] * 5, *["0"] * 9]


def test_the_grid_marks_what_is_set(tmp_path: Path) -> None:
    result = keywatch("backtest", *SEED, saved(two_weeks(), tmp_path), COLUMNS="200", FORCE_COLOR="1", TERM="xterm")
    [line] = [line for line in grid_of(result.stdout) if "\x1b[7m" in line]
    before, _, after = line.partition("\x1b[7m")
    assert before.split() == ["5", "2", "2"]  # the threshold, and the windows before 30m
    assert after.split("\x1b")[0].strip() == "2"


@pytest.mark.parametrize("columns", ["60", "80"])
def test_numbers_are_whole(columns: str, capsys: pytest.CaptureFixture[str], monkeypatch: Patch) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    numbers = {("1d", number): Cell(10_000_000 - number) for number in THRESHOLDS}
    cells = numbers | {(window, number): Cell(9_999_999) for window in WINDOWS[:-1] for number in THRESHOLDS}
    rule = RuleResult(DENIED, TITLE, "medium", 5, "30m", [], cells)
    day = date(2026, 11, 20)
    grid.backtest(Backtest(day, day, list(WINDOWS), [rule], []), None)
    rows = {first: rest for first, *rest in filter(None, map(str.split, grid_of(capsys.readouterr().out)))}
    for number in THRESHOLDS:
        assert rows[str(number)] == [*["9999999"] * 5, str(10_000_000 - number)]
