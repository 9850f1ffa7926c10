"""No alert is lost between two scheduled runs, and suppression leaves one of each: by the artefacts' own settings."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from sigma.pipelines.keywatch._pack import PACK

import oracle
from engines import Engine, elastic, time_of
from engines.conf import read_conf
from events import HOUR, MINUTE, START, denied
from packs import queries
from schedules import INTERVAL, attacks, planted, runs, watched

Event = dict[str, Any]
RULES = oracle.load(PACK)
NOW = START.timestamp()


@dataclass
class Detection:
    """What a SIEM reads in the artefact of a rule. Seconds."""

    query: str
    interval: int
    look_back: int
    group: str
    suppressed_for: int


def kibana() -> dict[str, Detection]:
    found = {}
    for name, rule in queries("elasticsearch").items():
        assert rule["to"] == "now"
        suppression = rule["alert_suppression"]
        assert suppression["duration"]["unit"] == "m"
        found[name] = Detection(
            rule["query"],
            oracle.seconds(rule["interval"]),
            oracle.seconds(rule["from"].removeprefix("now-")),
            ",".join(suppression["group_by"]),
            suppression["duration"]["value"] * MINUTE,
        )
    return found


def saved_searches() -> dict[str, Detection]:
    found = {}
    for name, text in queries("splunk").items():
        [stanza] = read_conf(text).values()
        assert (stanza["alert.digest_mode"], stanza["realtime_schedule"]) == ("0", "0")
        every = re.fullmatch(r"\*/(\d+) \* \* \* \*", stanza["cron_schedule"])
        back = re.fullmatch(r"-(\d+m)@m", stanza["dispatch.earliest_time"])
        assert every
        assert back
        assert stanza["dispatch.latest_time"] == "now"
        found[name] = Detection(
            stanza["search"],
            int(every[1]) * MINUTE,
            oracle.seconds(back[1]),
            stanza["alert.suppress.fields"],
            oracle.seconds(stanza["alert.suppress.period"]),
        )
    return found


def run(engine: Engine, detection: Detection, arrived: list[Event], now: float) -> list[str]:
    if isinstance(engine, elastic.ESQL):
        engine.node.load(arrived)
        rows = engine.node.query(detection.query, now - detection.look_back, now)
    else:
        shown = [e for e in arrived if now - detection.look_back <= time_of(e) < now]
        rows = list(engine.rows(detection.query, shown))
    return [str(row[detection.group]) for row in rows]


@pytest.mark.parametrize("delay", [0, 15 * MINUTE])
@pytest.mark.parametrize(("name", "artefacts"), [("esql", kibana), ("spl-far-end-out", saved_searches)])
def test_every_attack_is_one_alert(
    name: str, artefacts: Callable[[], dict[str, Detection]], delay: int, engines: Callable[[str], Engine]
) -> None:
    engine, told, events, watching = engines(name), attacks(), planted(), watched()
    detections = {rule: detection for rule, detection in artefacts().items() if rule in watching}
    wanted = {
        rule: list(told[rule])
        if rule in told
        else [event["eventID"] for event in events if oracle.matches(RULES[rule], event)]
        for rule in detections
    }
    alerts: dict[str, dict[str, list[float]]] = {rule: {} for rule in detections}
    for tick in runs(delay, max(detection.look_back for detection in detections.values())):
        arrived = [event for event in events if time_of(event) + delay <= NOW + tick]
        for rule, detection in detections.items():
            assert detection.interval == INTERVAL
            for group in run(engine, detection, arrived, NOW + tick):
                raised = alerts[rule].setdefault(group, [])
                if not raised or tick - raised[-1] >= detection.suppressed_for:
                    raised.append(tick)
    for rule, groups in alerts.items():
        assert {group: len(raised) for group, raised in groups.items()} == dict.fromkeys(wanted[rule], 1), rule
    assert all(wanted[rule] for rule in told)


@pytest.mark.parametrize("name", ["esql"])
def test_suppression_for_the_window_alone_would_repeat_alerts(name: str, engines: Callable[[str], Engine]) -> None:
    """A run looks back further than the window, so the events of a burst are seen for longer than the window."""
    detection = kibana()["correlation_aws_denied_enumeration_multi_region_long_term_key"]
    burst = [denied(i, i) for i in range(8)]
    ticks = range(15 * MINUTE, 3 * HOUR, detection.interval)
    seen = [tick for tick in ticks if run(engines(name), detection, burst, NOW + tick)]
    assert 30 * MINUTE <= seen[-1] - seen[0] < detection.suppressed_for
