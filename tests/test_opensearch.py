"""OpenSearch's monitors: by the Alerting plugin's own parser, and run page by page and run after run on a real node."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sigma.pipelines.keywatch._pack import PACK

import oracle
from engines import opensearch, time_of, value_of
from engines.opensearch import Cluster
from events import ACCESS_LONG, DENIED, MALLORY, MINUTE, START, access, denied
from hostile import try_rules, value_rule
from keywatch.conversion.convert import Conversion
from packs import one_rule, queries, written
from schedules import attacks, planted, runs, watched

RULES = oracle.load(PACK)
ARN = "userIdentity.arn"


MONITORS = queries("opensearch")


def wrong(change: Callable[[dict[str, Any], dict[str, Any]], object]) -> str:
    monitor = deepcopy(MONITORS[DENIED])
    change(monitor, monitor["triggers"][0]["bucket_level_trigger"])
    return json.dumps(monitor)


def test_the_plugins_parser_takes_them(parse: Callable[..., list[str]], tmp_path: Path) -> None:
    texts = [json.dumps(monitor) for monitor in MONITORS.values()]
    assert parse(opensearch.PARSER, texts, tmp_path) == [""] * len(texts)


def test_the_plugins_parser_tells_what_is_wrong(parse: Callable[..., list[str]], tmp_path: Path) -> None:
    changes: list[Callable[[dict[str, Any], dict[str, Any]], object]] = [
        lambda monitor, _: monitor.update(enabeld=True),
        lambda monitor, _: monitor["schedule"]["period"].update(unit="MINUTE"),
        lambda monitor, _: opensearch.monitor_search(monitor).update(quary={}),
        lambda _, trigger: trigger.pop("condition"),
        lambda _, trigger: trigger["condition"].update(parent_bucket_pat="x"),
        lambda _, trigger: trigger["actions"][0].update(destination="x"),
    ]
    said = parse(opensearch.PARSER, [wrong(change) for change in changes], tmp_path)
    assert all(said), said


def test_no_principal_is_lost_between_pages(opensearch_node: Cluster) -> None:
    arns = [f"{MALLORY}-{number}" for number in range(1100)]
    least = RULES[DENIED]["correlation"]["condition"]["gte"]
    events = [
        denied(region, region, arn=arn, userAgent=f"agent/{arn}/{region}")
        for number, arn in enumerate(arns)
        for region in range(least - number % 2)
    ]
    rows = opensearch.OpenSearch(opensearch_node).rows(MONITORS[DENIED], events)
    assert sorted(row[ARN] for row in rows) == sorted(arns[::2])


def test_the_bare_search_finds_what_is_there_now(opensearch_node: Cluster) -> None:
    now = datetime.now(UTC)
    events = [
        denied(0, region, arn=arn)
        | {"eventTime": (now - timedelta(minutes=ago + 5 * region)).strftime("%Y-%m-%dT%H:%M:%SZ")}
        for arn, ago in ((MALLORY, 1), (f"{MALLORY}-yesterday", 24 * 60))
        for region in range(5)
    ]
    opensearch_node.load(events)
    answer = opensearch_node.call("POST", f"/{opensearch.INDEX}/_search", queries("opensearch", "dsl")[DENIED])
    assert [bucket["key"][ARN] for bucket in answer["aggregations"]["principals"]["buckets"]] == [MALLORY]


@pytest.mark.parametrize("delay", [0, 15 * MINUTE])
def test_every_attack_is_one_new_alert(delay: int, opensearch_node: Cluster) -> None:
    """An alert is new where the run before did not find its bucket, as the plugin has it."""
    told, events, watching = attacks(), planted(), watched()
    monitors = {rule: monitor for rule, monitor in MONITORS.items() if rule in watching}
    found: dict[str, set[str]] = {rule: set() for rule in monitors}
    new: dict[str, list[str]] = {rule: [] for rule in monitors}
    for tick in runs(delay, 90 * MINUTE):
        now = START.timestamp() + tick
        arrived = [event for event in events if time_of(event) + delay <= now]
        opensearch_node.load(arrived)
        if not arrived:
            continue
        for rule, monitor in monitors.items():
            assert monitor["schedule"] == {"period": {"interval": 15, "unit": "MINUTES"}}
            rows = opensearch.run(opensearch_node, monitor, now)
            keys = {row[ARN if rule in told else "principal"] for row in rows}
            new[rule] += keys - found[rule]
            found[rule] = keys
            if rule not in told:
                # A principal's calls are one alert for as long as the look-back has one of them.
                recent = [event for event in arrived if now - time_of(event) <= 30 * MINUTE]
                seen = [event for event in recent if oracle.matches(RULES[rule], event)]
                counts = Counter(value_of(event, ARN) for event in seen)
                assert {row["principal"]: row["event_count"] for row in rows} == counts
    for rule, raised in new.items():
        if rule in told:
            assert sorted(raised) == sorted(told[rule]), rule


def test_a_flood_of_single_events_is_an_alert_for_each_principal(opensearch_node: Cluster) -> None:
    """Above 50 alerts the plugin says the same on every run: 51 calls of one principal in half an hour are one."""
    calls = [access(20 * number, 0) for number in range(80)]
    nobody = [
        access(0, 0, userIdentity={"type": "AWSAccount", "accessKeyId": "AKIAEXAMPLE"}, sourceIPAddress="192.0.2.7")
    ]
    opensearch_node.load([*calls, *nobody])
    rows = opensearch.run(opensearch_node, MONITORS[ACCESS_LONG], time_of(calls[-1]))
    assert {row["principal"]: row["event_count"] for row in rows} == {MALLORY: 80, "192.0.2.7": 1}
    [row] = [row for row in rows if row["principal"] == MALLORY]
    assert len(row["eventID"]) == 10


def test_networks_are_patterns(opensearch_node: Cluster, tmp_path: Path) -> None:
    document = one_rule({"eventName": "PutUseCaseForModelAccess", "sourceIPAddress|cidr": "10.0.0.0/7"})
    events = [access(n, 0, sourceIPAddress=ip) for n, ip in enumerate(("10.1.1.1", "11.1.1.1", "12.1.1.1"))]
    [monitor] = queries("opensearch", rules=[written([document], tmp_path)]).values()
    rows = opensearch.OpenSearch(opensearch_node).rows(monitor, events)
    assert {row["eventID"] for row in rows} == {event["eventID"] for event in events[:2]}


def test_a_page_has_no_more_buckets_than_opensearch_gives(tmp_path: Path) -> None:
    """search.max_buckets is 65,535 by default."""
    document = one_rule({"eventName": "x"}, fields=[f"requestParameters.f{number}" for number in range(40)])
    [monitor] = queries("opensearch", rules=[written([document], tmp_path)]).values()
    for searched in (monitor, *MONITORS.values()):
        page = opensearch.monitor_search(searched)["aggregations"]["principals"]
        values = sum(part["terms"]["size"] for part in page["aggregations"].values() if "terms" in part)
        assert 100 < page["composite"]["size"] * (1 + values) < 65_535


def test_scripts_are_the_same_for_all_rules_that_count_and_for_all_chains() -> None:
    """OpenSearch compiles 75 different ones in five minutes."""
    metrics = [
        aggregation["scripted_metric"]
        for monitor in MONITORS.values()
        for buckets in opensearch.monitor_search(monitor)["aggregations"].values()
        for aggregation in buckets["aggregations"].values()
        if "scripted_metric" in aggregation
    ]
    assert len(metrics) == sum("correlation" in RULES[name] for name in MONITORS)
    assert len({json.dumps(metric | {"params": None}) for metric in metrics}) == 2


@pytest.mark.parametrize("text", ["aa", "ab", "ä{{", "a*"])
@pytest.mark.parametrize("modifier", ["", "|contains", "|cased"])
def test_the_longest_value_that_opensearch_takes(
    text: str, modifier: str, opensearch_node: Cluster, tmp_path: Path
) -> None:
    longest = 300 if "*" in text or modifier == "|contains" else 1000
    # In a regular expression ä has four signs, { has two, and each of the asterisks of contains has two.
    longest = longest * 3 // 8 - 3 if "{" in text else longest - 2 * (modifier == "|contains")
    value = (text * 500)[:longest]
    [monitor] = queries("opensearch", rules=[written([value_rule(value, modifier)], tmp_path)]).values()
    assert opensearch.OpenSearch(opensearch_node).rows(monitor, [denied(0, 0)]) == []


@pytest.mark.parametrize(("said", "found"), [(True, [0]), ("true", [0]), ("TRUE", [0]), ("no", []), (None, [2])])
def test_fields_that_are_true_or_false(said: Any, found: list[int], opensearch_node: Cluster, tmp_path: Path) -> None:
    document = one_rule({"additionalEventData.callWithBearerToken": said})
    events = [denied(0, 0, additionalEventData={"callWithBearerToken": value}) for value in (True, False)]
    events.append(denied(0, 0))
    [monitor] = queries("opensearch", rules=[written([document], tmp_path)]).values()
    rows = opensearch.OpenSearch(opensearch_node).rows(monitor, events)
    assert [row["eventID"] for row in rows] == [events[number]["eventID"] for number in found]


def test_hostile_rules(parse: Callable[..., list[str]], tmp_path: Path) -> None:
    texts: list[str] = []
    messages: set[str] = set()

    def collect(_: Any, conversion: Conversion) -> None:
        [[monitor]] = conversion.queries.values()
        texts.append(json.dumps(monitor))
        [action] = monitor["triggers"][0]["bucket_level_trigger"]["actions"]
        messages.add(action["message_template"]["source"])

    try_rules("opensearch", ["monitor"], tmp_path, collect, examples=40)
    assert parse(opensearch.PARSER, texts, tmp_path) == [""] * len(texts)
    assert len(messages) == 1  # nothing of the rule's own texts is in a template
