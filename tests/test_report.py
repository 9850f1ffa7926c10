"""The report of a backtest: what its pictures and numbers say, by their geometry, and in a real browser."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections import Counter
from datetime import date, timedelta
from html import unescape
from math import log
from pathlib import Path
from xml.etree import ElementTree

import pytest

from conftest import absent
from events import DENIED, MALLORY, REGIONS, TRENT
from keywatch.errors import UserError
from keywatch.hunting.backtest import THRESHOLDS, Backtest, Cell, RuleResult
from keywatch.hunting.hunt import Alert
from keywatch.hunting.report import report

START, END = date(2026, 10, 25), date(2026, 11, 7)  # two weeks, in two months
WINDOWS = ["15m", "30m", "1h"]


def alert(day: int, who: str = MALLORY, values: tuple[str, ...] = ("us-east-1",), **evidence: list[str]) -> Alert:
    """Return an alert of a day, counted from the first."""
    time = f"{START + timedelta(days=day)}T10:00:00Z"
    found = evidence | {"userIdentity.arn": [who]}
    return Alert("id", "Denied", "medium", {"userIdentity.arn": who}, len(values), list(values), time, time, 9, found)


def backtest(alerts: list[Alert], cells: dict[tuple[str, int], Cell] | None = None) -> Backtest:
    """Return a backtest of a rule that counts, and of one of single events."""
    counting = RuleResult(DENIED, "Denied", "medium", 5, "30m", alerts, cells or {})
    return Backtest(START, END, WINDOWS, [counting, RuleResult("single", "Single", "low")], [])


def pictures(page: str, label: str) -> list[ElementTree.Element]:
    """Return the pictures of a label."""
    found = [ElementTree.fromstring(text) for text in re.findall(r"<svg.*?</svg>", page, re.DOTALL)]
    return [picture for picture in found if picture.get("aria-label") == label]


def numbers(element: ElementTree.Element, *names: str) -> list[float]:
    return [float(element.get(name, "")) for name in names]


def cells_of(row: str) -> list[str]:
    """Return the texts of a table's row."""
    return [unescape(re.sub("<.*?>", "", cell)) for cell in re.findall(r"<t[dh].*?>(.*?)</t[dh]>", row, re.DOTALL)]


def rows(page: str) -> list[list[str]]:
    return [cells_of(row) for row in re.findall(r"<tr>(.*?)</tr>", page, re.DOTALL)]


def test_bars_stand_on_their_day_and_are_as_high_as_it_has_alerts() -> None:
    days = Counter({0: 4, 1: 1, 7: 2, 13: 4})  # the last two in another month
    picture, empty = pictures(report(backtest([alert(day) for day in days.elements()]), None), "Alerts by day")
    axis, top = picture.findall("line")
    [ground] = set(numbers(axis, "y1", "y2"))
    [left], [right] = numbers(axis, "x1"), numbers(axis, "x2")
    [ceiling] = set(numbers(top, "y1", "y2"))
    assert ceiling < ground  # a picture's y grows downwards
    bars = picture.findall("rect")
    assert [bar.findtext("title") for bar in bars] == [
        f"{START + timedelta(days=day)}: {count}" for day, count in days.items()
    ]
    for bar, (day, count) in zip(bars, days.items(), strict=True):
        x, y, width, height = numbers(bar, "x", "y", "width", "height")
        assert y + height == pytest.approx(ground)
        assert height == pytest.approx((ground - ceiling) * count / 4, abs=0.01)
        assert x == pytest.approx(left + (right - left) * day / 14, abs=0.01)
        assert 0 < width < (right - left) / 14
    labels = {text.text: numbers(text, "y")[0] for text in picture.findall("text")}
    assert labels["0"] > ground - 10 > labels["4"]
    assert {str(START), str(END)} < set(labels)
    assert not empty.findall("rect")
    single, _ = pictures(report(backtest([alert(3)]), None), "Alerts by day")
    [bar] = single.findall("rect")
    assert numbers(bar, "y", "height") == [ceiling, ground - ceiling]


def height_on_the_axis(count: int, most: int) -> float:
    """Return where between 0 and 1 a count stands on a logarithmic axis that has a 0."""
    return log(1 + count) / log(1 + most)


def test_lines_show_each_threshold_and_window_on_a_logarithmic_axis() -> None:
    def count(window: str, number: int) -> int:
        return {"15m": 1000, "30m": 100, "1h": 10}[window] // (number - 1)

    cells = {(window, number): Cell(count(window, number)) for window in WINDOWS for number in THRESHOLDS}
    [picture] = pictures(report(backtest([], cells), None), "Alerts against threshold")
    levels = [line for line in picture.findall("line") if line.get("class") == "axis"]
    texts = [text for text in picture.findall("text") if text.get("text-anchor") == "end"]
    assert [text.text for text in texts] == ["0", "1", "10", "100", "1000"]
    ticks = {int(text.text or ""): numbers(level, "y1")[0] for text, level in zip(texts, levels, strict=True)}
    bottom, top = ticks[0], ticks[1000]
    assert bottom > top
    for number, y in ticks.items():
        assert (bottom - y) / (bottom - top) == pytest.approx(height_on_the_axis(number, 1000), abs=0.001)
    columns = {t.text: numbers(t, "x")[0] for t in picture.findall("text") if t.get("text-anchor") == "middle"}
    [left], [right] = numbers(levels[0], "x1"), numbers(levels[0], "x2")
    for number in THRESHOLDS:  # evenly from one edge to the other
        assert columns[str(number)] == pytest.approx(left + (right - left) * (number - 2) / 15, abs=0.01)
    lines = {line.findtext("title") or "": line for line in picture.findall("polyline")}
    assert list(lines) == WINDOWS
    for window, line in lines.items():
        points = [tuple(map(float, point.split(","))) for point in line.get("points", "").split()]
        for number, (x, y) in zip(THRESHOLDS, points, strict=True):
            assert x == columns[str(number)]
            assert (bottom - y) / (bottom - top) == pytest.approx(
                height_on_the_axis(count(window, number), 1000), abs=0.001
            )
    assert [window for window, line in lines.items() if "own" in line.get("class", "").split()] == ["30m"]
    [threshold] = [line for line in picture.findall("line") if line.get("class") == "set"]
    assert numbers(threshold, "x1", "x2") == [columns["5"]] * 2
    assert sorted(numbers(threshold, "y1", "y2")) == [top, bottom]


def test_nothing_to_show_is_a_line_on_the_ground() -> None:
    [picture] = pictures(report(backtest([]), None), "Alerts against threshold")
    [level] = [line for line in picture.findall("line") if line.get("class") == "axis"]
    for line in picture.findall("polyline"):
        heights = {float(point.split(",")[1]) for point in line.get("points", "").split()}
        assert heights == set(numbers(level, "y1"))


def test_the_table_of_numbers_marks_what_is_set() -> None:
    cells = {("30m", 5): Cell(7, 3, 2), ("15m", 5): Cell(8), ("30m", 4): Cell(9)}
    page = report(backtest([], cells), None)
    assert re.findall(r'<td class="n set" title="(.*?)">(.*?)</td>', page) == [("3 principals, 2 days", "7")]
    table = rows(page)
    assert ["Window", *map(str, THRESHOLDS)] in table
    assert ["30m", "0", "0", "9", "7", *["0"] * 12] in table
    assert ["15m", "0", "0", "0", "8", *["0"] * 12] in table


def test_rules_have_their_alerts_and_how_often_a_week() -> None:
    cells = {("30m", number): Cell(max(0, 7 - number // 2)) for number in THRESHOLDS}
    result = backtest([alert(0), alert(1), alert(1)], cells)
    page = report(result, None)
    assert f"{START} to {END}, 2.0 weeks." in page
    assert ["Denied", "medium", "3", "1.5", "5 in 30m"] in rows(page)
    assert ["Single", "low", "0", "0.0", "each event"] in rows(page)
    assert "Proposed" not in page
    proposing = report(result, 2)
    assert "at most 2 alerts a week" in proposing
    assert ["Denied", "medium", "3", "1.5", "5 in 30m", "6 in 30m"] in rows(proposing)  # 4 alerts in two weeks
    assert ["Single", "low", "0", "0.0", "each event", "–"] in rows(proposing)
    result.rules[0].cells = {("30m", number): Cell(7) for number in THRESHOLDS}
    assert ["Denied", "medium", "3", "1.5", "5 in 30m", "none up to 17"] in rows(report(result, 2))


def test_principals_are_by_their_number_of_alerts_with_all_their_regions() -> None:
    alerts = [alert(0, TRENT, ("eu-west-1", "us-east-1")), alert(1, TRENT, ("ap-south-1", "us-east-1")), alert(2)]
    single = alert(3, "arn:single", (), awsRegion=["sa-east-1"])
    table = rows(report(backtest([single, *alerts]), None))
    begin = table.index(["Principal", "Alerts", "Regions"]) + 1
    assert table[begin : begin + 3] == [
        [TRENT, "2", "ap-south-1, eu-west-1, us-east-1"],
        [MALLORY, "1", "us-east-1"],
        ["arn:single", "1", "sa-east-1"],
    ]


@pytest.mark.parametrize(("number", "said"), [(20, []), (23, ["And 3 more."])])
def test_principals_that_are_left_out_are_counted(number: int, said: list[str]) -> None:
    page = report(backtest([alert(0, f"arn:{who:02}") for who in range(number)]), None)
    assert len(re.findall('<td class="who">', page)) == 20
    assert re.findall(r"And \d+ more\.", page) == said


def test_what_could_not_be_read_is_said() -> None:
    result = backtest([])
    assert "Not read" not in report(result, None)
    result.problems.append(UserError("not <JSON>", Path("a&b.json"), 7))
    assert "<h2>Not read</h2>\n<ul><li>a&amp;b.json:7: not &lt;JSON&gt;</li></ul>" in report(result, None)


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


#: Opens a page as wide as a phone; says how wide it is, and what reaches beyond its edge.
_PHONE = """<!doctype html><iframe src="{page}" style="border:0;width:375px;height:800px"></iframe>
<pre id="said"></pre><script>onload = () => {{
    const page = document.querySelector("iframe").contentDocument, root = page.documentElement;
    const beyond = [...page.body.querySelectorAll("*")].filter(one => one.getBoundingClientRect().right > 375.5
        || one.getBoundingClientRect().left < 0 || one.scrollWidth > one.clientWidth + 1 && one.clientWidth);
    const out = beyond.filter(one => !one.closest("svg")).map(one => one.outerHTML.slice(0, 80));
    said.textContent = JSON.stringify([root.scrollWidth, getComputedStyle(page.body).backgroundColor, out]);
}}</script>"""


def on_a_phone(page: Path, folder: Path, *options: str) -> tuple[int, str, list[str]]:
    """Return how wide a page is on a phone, its background, and what is hidden beyond the edge."""
    frame = folder / "phone.html"
    frame.write_text(_PHONE.format(page=page.as_uri()), encoding="utf-8")
    document = browsed(frame, folder, "--allow-file-access-from-files", "--hide-scrollbars", *options)
    said = re.search(r'<pre id="said">(.+?)</pre>', document, re.DOTALL)
    assert said is not None
    width, background, hidden = json.loads(unescape(said[1]))
    return width, background, hidden


DARK = "--blink-settings=preferredColorScheme=0"


@pytest.mark.parametrize(("options", "background"), [([], "rgb(255, 255, 255)"), ([DARK], "rgb(20, 24, 29)")])
def test_on_a_phone(options: list[str], background: str, tmp_path: Path) -> None:
    cells = {(window, number): Cell(999_999) for window in WINDOWS for number in THRESHOLDS}
    long = f"arn:aws:sts::111122223333:assumed-role/{'x' * 64}/{'y' * 64}"
    result = backtest([alert(0, MALLORY, tuple(REGIONS)), alert(1, long)], cells)
    result.problems.append(UserError("can't be read", Path("/a" * 100)))
    page = tmp_path / "report.html"
    page.write_text(report(result, 1), encoding="utf-8")
    assert on_a_phone(page, tmp_path, *options) == (375, background, [])


def test_in_a_browser(tmp_path: Path) -> None:
    odd = "arn:aws:sts::1:assumed-role/<script>document.title='x'</script>&\"'"
    result = backtest(
        [alert(0, MALLORY, tuple(REGIONS[:8])), alert(1, odd)], {("30m", 4): Cell(1), ("30m", 3): Cell(9)}
    )
    result.rules[0].title = "<script>document.title='y'</script>"
    page = tmp_path / "report.html"
    page.write_text(report(result, 1), encoding="utf-8")
    text = page.read_text(encoding="utf-8")
    assert "http://" not in text
    assert "https://" not in text
    assert "<script" not in text
    document = browsed(page, tmp_path)
    assert f"<title>Keywatch backtest, {START} to {END}</title>" in document
    assert document.count("<polyline") == len(WINDOWS)
    assert ["Principal", "Alerts", "Regions"] in rows(document)
    assert [MALLORY, "1", ", ".join(sorted(REGIONS[:8]))] in rows(document)
    assert [odd, "1", "us-east-1"] in rows(document)
    assert report(result, 1) == text
