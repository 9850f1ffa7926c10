"""What an alert says, on every engine whose alerts are rows."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from conftest import CORRELATING
from engines import Engine, only
from events import DENIED, HOUR, MALLORY, MINUTE, REGIONS, START, denied

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
