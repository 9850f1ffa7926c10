"""What an alert says, on every engine whose alerts are rows."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from conftest import CORRELATING
from engines import Engine
from engines.conf import read_conf
from events import (
    DENIED,
    HOUR,
    INVOCATION_LONG,
    LISTED_THEN_INVOKED,
    MALLORY,
    MINUTE,
    REGIONS,
    START,
    TRENT,
    VOLUME,
    denied,
    invoked,
    listed,
)
from packs import only, queries

ACCESS, CLIENT = {"errorCode": "AccessDenied"}, {"errorCode": "Client.UnauthorizedOperation"}
EVERY = pytest.mark.parametrize("name", [name for name in CORRELATING if name != "datadog"])


def moment(value: Any) -> datetime:
    """Return a time that an engine gave as such, or as a text."""
    time = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    return time if time.tzinfo else time.replace(tzinfo=START.tzinfo)


@EVERY
def test_an_alert_says_what_happened(name: str, engines: Callable[[str], Engine]) -> None:
    engine = engines(name)
    events = [denied(MINUTE * i, i % 6, userAgent=f"agent/{i % 2}") for i in range(12)]
    [row] = engine.alerts(only(engine.pack, DENIED), events)[DENIED]
    assert row[engine.principal] == MALLORY
    assert (row["value_count"], row["event_count"]) == (6, 12)
    assert sorted(row[engine.region]) == sorted(REGIONS[:6])
    assert sorted(row[engine.agent]) == ["agent/0", "agent/1"]
    assert (moment(row["first_seen"]), moment(row["last_seen"])) == (START, START + timedelta(minutes=11))


#: What can't say how the calls ended: ES|QL has no row left of an event of a chain.
UNTOLD = {("esql", LISTED_THEN_INVOKED)}
#: Rule → how many calls it is asked about.
COUNTS = {DENIED: 36, INVOCATION_LONG: 36, VOLUME: 510, LISTED_THEN_INVOKED: 36}


@EVERY
@pytest.mark.parametrize("rule", COUNTS)
def test_an_alert_counts_how_the_calls_of_each_region_ended(
    name: str, rule: str, engines: Callable[[str], Engine]
) -> None:
    engine = engines(name)
    made, often, once = (denied, ACCESS, CLIENT) if rule == DENIED else (invoked, ACCESS, {})
    calls = [(second, REGIONS[second % 5], once if second == 7 else often) for second in range(COUNTS[rule])]
    events = [made(second, region, **error) for second, region, error in calls]
    if rule == LISTED_THEN_INVOKED:
        calls.append((0, REGIONS[0], {}))
        events.append(listed(0, REGIONS[0]))
    [row] = engine.alerts(only(engine.pack, rule), events)[rule]
    if (name, rule) in UNTOLD:
        assert "outcomes" not in row
        return
    expected: dict[str, list[datetime]] = {}
    for second, region, error in calls:
        ended = f"{region} {error.get('errorCode', 'success')}"
        expected.setdefault(ended, []).append(START + timedelta(seconds=second))
    told = [re.fullmatch(r"(.*): (\d+) \((.*) to (.*)\)", text) for text in row["outcomes"]]
    assert {one[1]: (int(one[2]), moment(one[3]), moment(one[4])) for one in told if one} == {
        ended: (len(times), min(times), max(times)) for ended, times in expected.items()
    }


def block(text: str, heading: str) -> str:
    """Return the code that comes first after a heading."""
    return text.split(f"# {heading}\n", 1)[1].split("```")[1].partition("\n")[2]


def page(name: str) -> str:
    return (Path(__file__).parents[1] / "docs" / f"{name}.md").read_text(encoding="utf-8")


def drilldown() -> str:
    [stanza] = read_conf(queries("splunk", "savedsearches")[DENIED]).values()
    drilldowns = json.loads(stanza["action.notable.param.drilldown_searches"])
    [search] = [one["search"] for one in drilldowns if "first" in one["name"]]
    return str(search).replace("$userIdentity_arn$", "ARN")


NEW = "What is new for a principal"
#: Engine → the query that says what is new for a principal, as it is given to people, with all of the time.
FIRST_SEEN: dict[str, Callable[[], str]] = {
    "spl": drilldown,
    "esql": lambda: block(queries("elasticsearch")[DENIED]["note"], "Where was this principal seen first?").replace(
        "@timestamp >= NOW() - 30 days AND ", ""
    ),
    "sentinel": lambda: block(page("sentinel"), NEW).replace("TimeGenerated > ago(30d) and ", ""),
    "athena": lambda: block(page("athena"), NEW),
}


@pytest.mark.parametrize("name", FIRST_SEEN)
def test_what_is_new_for_a_principal_comes_first(name: str, engines: Callable[[str], Engine]) -> None:
    events = [
        denied(0, 0),
        denied(HOUR, 1, sourceIPAddress="203.0.113.9", userAgent="new"),
        denied(2 * HOUR, 0),
        denied(3 * HOUR, 2, arn=TRENT),
    ]
    rows = list(engines(name).rows(FIRST_SEEN[name]().replace("ARN", MALLORY), events))
    found = [
        (
            set(map(str, row.values())) & {REGIONS[0], REGIONS[1], "new"},
            moment(row["first_seen"]),
            moment(row["last_seen"]),
        )
        for row in rows
    ]
    assert found == [
        ({REGIONS[1], "new"}, START + timedelta(hours=1), START + timedelta(hours=1)),
        ({REGIONS[0]}, START, START + timedelta(hours=2)),
    ]


# An alert of the others speaks of all that a run looks back to, which is little more than a window.
@pytest.mark.parametrize("name", ["duckdb", "athena", "lake", "securitylake"])
def test_events_outside_the_windows_are_no_evidence(name: str, engines: Callable[[str], Engine]) -> None:
    engine = engines(name)
    early, late = denied(0, 0, userAgent="too early"), denied(3 * HOUR, 1, userAgent="too late")
    events = [early, *(denied(HOUR + i, i) for i in range(5)), late]
    [row] = engine.alerts(only(engine.pack, DENIED), events)[DENIED]
    assert row["event_count"] == 5
    assert row[engine.agent] == ["aws-cli/2.15"]
    assert (moment(row["first_seen"]) - START, moment(row["last_seen"]) - START) == (
        timedelta(hours=1),
        timedelta(hours=1, seconds=4),
    )
