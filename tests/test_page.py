"""The page of a hunt: what it says, in a real browser, and that nothing in events gets out of its place."""

from __future__ import annotations

import json
import re
from html import unescape
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from sigma.pipelines.keywatch._pack import guides
from test_report import DARK, browsed, numbers, on_a_phone, pictures, rows

from events import DENIED, HOUR, MALLORY, MINUTE, REGIONS, TRENT, access, denied
from packs import SEED, keywatch, one_rule, written

Event = dict[str, Any]
HOSTILE = (
    """</title></style><script>document.title='owned'</script><img src=x onerror="document.title='owned'">"'&{{7*7}}"""
)


def hunted(events: list[Event], folder: Path, *options: str | Path) -> Path:
    """Hunt through events; return the page."""
    path, out = folder / "events.json", folder / "alerts.html"
    path.write_text(json.dumps({"Records": events}), encoding="utf-8")
    result = keywatch("hunt", *(options or SEED), "--out", out, path)
    assert result.exit_code == 0, result.output
    return out


def text_of(page: Path) -> str:
    return unescape(re.sub(r"<[^>]*>", "", page.read_text(encoding="utf-8")))


def test_principals_and_regions_have_their_alerts_and_events(tmp_path: Path) -> None:
    events = [denied(MINUTE * i, i) for i in range(5)] + [access(HOUR + i, i % 2, arn=TRENT) for i in range(3)]
    table = rows(hunted(events, tmp_path).read_text())
    assert [MALLORY, "1", "5"] in table
    assert [TRENT, "3", "3"] in table
    assert [REGIONS[0], "3", "3"] in table  # the correlation, and two calls
    assert [REGIONS[4], "1", "1"] in table


def test_bars_stand_where_alerts_begin(tmp_path: Path) -> None:
    events = [access(hours * HOUR, 0) for hours in (0, 0, 0, 30, 60)]
    events = [event | {"eventID": f"{number:08}-1111-4111-a111-111111111111"} for number, event in enumerate(events)]
    [picture] = pictures(hunted(events, tmp_path).read_text(), "Alerts by time")
    axis = picture.findall("line")[0]
    [left], [right] = numbers(axis, "x1"), numbers(axis, "x2")
    bars = picture.findall("rect")
    assert [bar.findtext("title") for bar in bars] == [
        "2026-11-20 10:00: 3", "2026-11-21 16:00: 1", "2026-11-22 22:00: 1",
    ]  # fmt: skip
    for bar, hours in zip(bars, (0, 30, 60), strict=True):
        assert numbers(bar, "x")[0] == pytest.approx(left + (right - left) * hours / 61, abs=0.1)
    heights = [numbers(bar, "height")[0] for bar in bars]
    assert heights[0] == pytest.approx(3 * heights[1], abs=0.05)
    assert isinstance(picture, ElementTree.Element)


def test_a_case_has_its_guide_with_its_own_values(tmp_path: Path) -> None:
    events = [denied(MINUTE * i, i, sourceIPAddress=f"192.0.2.{i}", userAgent="agent/7") for i in range(5)]
    text = " ".join(text_of(hunted(events, tmp_path)).split())
    for title in guides()[DENIED].steps:
        assert title in text
    addresses = ", ".join(f"192.0.2.{i}" for i in range(5))
    assert f"Address {addresses}, client agent/7, VPC endpoint -" in text
    assert f"Principal {MALLORY} (IAMUser) of account {events[0]['recipientAccountId']}" in text
    assert not re.search(r"\{[a-zA-Z.]+\}", text)


def test_no_alerts_are_said(tmp_path: Path) -> None:
    assert "No alerts." in text_of(hunted([denied(0, 0)], tmp_path))


def test_many_cases_are_counted(tmp_path: Path) -> None:
    events = [access(i, 0, arn=f"arn:aws:iam::111122223333:user/{i}") for i in range(203)]
    page = hunted(events, tmp_path)
    assert "And 3 cases more" in text_of(page)
    assert "And 183 more." in text_of(page)
    assert page.read_text().count('<h2 id="case-') == 200


def test_hostile_events_run_nothing_in_a_browser(tmp_path: Path) -> None:
    odd = {"arn": HOSTILE, "userAgent": HOSTILE, "sourceIPAddress": HOSTILE, "errorCode": HOSTILE}
    events = [
        access(i, i, **odd) | {"eventSource": "bedrock.amazonaws.com", "recipientAccountId": HOSTILE} for i in range(3)
    ]
    rule = one_rule({"eventName": events[0]["eventName"]}, title=HOSTILE, description=HOSTILE, level="high")
    page = hunted(events, tmp_path, "--rules", written([rule], tmp_path))
    text = page.read_text(encoding="utf-8")
    assert "<script" not in text
    assert "<img" not in text
    assert not re.search(r"""(?:src|href)=["'](?!#)""", text)
    document = browsed(page, tmp_path)
    assert "<title>Keywatch hunt: 3 alerts</title>" in document
    assert ["principal", HOSTILE] in rows(document)
    assert unescape(document).count(HOSTILE) >= 5


@pytest.mark.parametrize(("options", "background"), [([], "rgb(255, 255, 255)"), ([DARK], "rgb(20, 24, 29)")])
def test_on_a_phone(options: list[str], background: str, tmp_path: Path) -> None:
    long = f"arn:aws:sts::111122223333:assumed-role/{'x' * 64}/{'y' * 64}"
    events = [denied(MINUTE * i, i, arn=long, userAgent="a" * 300) for i in range(9)] + [access(0, 0)]
    assert on_a_phone(hunted(events, tmp_path), tmp_path, *options) == (375, background, [])
