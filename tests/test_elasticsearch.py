"""The generated queries, exactly as they stand in the Kibana rules, on a real Elasticsearch node."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sigma.backends.keywatch.elasticsearch.sliding import grain
from sigma.pipelines.keywatch._pack import PACK

import oracle
from engines.elastic import ESQL, Elasticsearch, Lucene
from events import (
    ACCESS_LONG,
    DENIED,
    INVOCATION_LONG,
    MALLORY,
    MINUTE,
    access,
    denied,
    invoked,
    record,
)
from hostile import try_rules
from keywatch.conversion.convert import Conversion, write
from packs import converted, one_rule, queries, written

RULES = oracle.load(PACK)
ARN = "aws.cloudtrail.user_identity.arn"


KIBANA = queries("elasticsearch")


def test_an_alert_row_has_what_kibana_shows(elasticsearch: Elasticsearch) -> None:
    elasticsearch.load(denied(MINUTE * i, i) for i in range(6))
    [row] = elasticsearch.query(KIBANA[DENIED]["query"])
    assert set(KIBANA[DENIED]["investigation_fields"]["field_names"]) <= set(row)


def minutes(text: str) -> int:
    return int(text.removeprefix("now-").removesuffix("m"))


def test_many_principals_of_few_regions_do_not_trip_a_circuit_breaker(elasticsearch: Elasticsearch) -> None:
    """Without leaving them out first, the windows of 10,000 principals with 150,000 events fill 1 GB of heap.

    Here is a thirtieth of both, and a query may take a thirtieth of what it may by default: 60 % of the heap.
    """
    busy = [invoked(i % 3600, i // 3600, arn=f"{MALLORY}-{i % 333}") for i in range(5_000)]
    elasticsearch.load([*busy, *(invoked(i, i) for i in range(4))])
    query = KIBANA[INVOCATION_LONG]["query"]
    few, expand = "\n| WHERE value_count >= 3", "\n| MV_EXPAND slice"
    with limited(elasticsearch, "2%"):
        assert [row[ARN] for row in elasticsearch.query(query)] == [MALLORY]
        with pytest.raises(AssertionError, match="circuit_breaking_exception"):
            elasticsearch.query(query.replace(few + expand, expand))


@contextmanager
def limited(node: Elasticsearch, limit: str) -> Iterator[None]:
    """Have a query take less of the heap than it may by default."""
    try:
        node.call("PUT", "/_cluster/settings", {"transient": {"indices.breaker.request.limit": limit}})
        yield
    finally:
        node.call("PUT", "/_cluster/settings", {"transient": {"indices.breaker.request.limit": None}})


@pytest.mark.parametrize(
    ("window", "seconds"), [(30, 1), (60, 60), (1800, 60), (3600, 60), (7200, 120), (86_400, 1440)]
)
def test_grain(window: int, seconds: int) -> None:
    assert grain(window) == seconds


def test_kibana_rules_have_what_the_import_wants() -> None:
    for name, rule in KIBANA.items():
        json.dumps(rule)
        assert rule["type"] == rule["language"] == "esql"
        assert rule["severity"] in ("low", "medium", "high", "critical")
        assert 0 < rule["risk_score"] <= 100
        window = oracle.seconds(RULES[name]["correlation"]["timespan"]) // 60 if "correlation" in RULES[name] else 0
        assert minutes(rule["from"]) == window + minutes(rule["interval"]) + 15
        assert rule["threat"][0]["framework"] == "MITRE ATT&CK"
        assert all(technique["name"] for tactic in rule["threat"] for technique in tactic["technique"])
        assert "### What to do if it is an attack" in rule["note"]
        _, first, *_ = rule["note"].split("!{investigate")
        assert json.loads(first.strip()[:-1])["providers"][0][0]["value"] == "{{" + ARN + "}}"
        assert {field["name"] for field in rule["required_fields"]} >= {ARN, "cloud.region", "@timestamp"}


def test_rules_have_what_the_loader_of_detection_rules_asks_for() -> None:
    """What `validates_esql_data` in detection_rules/rule.py and tests/test_all_rules.py of elastic/detection-rules ask.

    Read at commit 14cf530 of 2026-08-21, in words of our own.
    """
    prefixes = ("Domain: ", "Data Source: ", "Use Case: ", "Resources: ", "Tactic: ")
    for rule in KIBANA.values():
        query = rule["query"].lower()
        first, *commands = query.split("\n| ")
        assert re.fullmatch(r"from \S+ metadata _id, _index, _version", first)
        assert commands[-1] == "keep *"
        assert all(tag.startswith(prefixes) for tag in rule["tags"])
        assert len(rule["tags"]) == len(set(rule["tags"]))
        assert {"Domain: Cloud", "Data Source: AWS", "Data Source: Amazon Web Services"} <= set(rule["tags"])
        assert {f"Tactic: {entry['tactic']['name']}" for entry in rule["threat"]} <= set(rule["tags"])
        assert ("Resources: Investigation Guide" in rule["tags"]) == bool(rule["note"])
        assert rule["note"].startswith("## Triage and analysis\n")
        assert rule["setup"].startswith("## Setup\n")


def test_each_call_is_one_alert_whatever_the_runs_that_see_it(elasticsearch: Elasticsearch) -> None:
    rule = KIBANA[ACCESS_LONG]
    assert rule["alert_suppression"]["group_by"] == ["event.id"]
    elasticsearch.load([access(0, 0), access(1, 0)])
    rows = elasticsearch.query(rule["query"])
    assert len({row["event.id"] for row in rows}) == len(rows) == 2
    assert all(row["_id"] for row in rows)  # what Kibana tells its alerts apart by


def test_hostile_rules(tmp_path: Path) -> None:
    """A rule is one line, whatever its texts say."""

    def is_one_line(documents: list[dict[str, Any]], conversion: Conversion) -> None:
        path = next(path for path in write(conversion, tmp_path / "out") if path.name == "all.ndjson")
        [line] = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
        rule = json.loads(line)
        assert rule["name"] == documents[1]["title"]
        assert set(rule) == set(KIBANA[DENIED])

    try_rules("elasticsearch", ["kibana"], tmp_path, is_one_line, examples=100)


_STARTS_AND_WAITS = """
import sys, time
from engines import elastic
with elastic.running() as node:
    print(node.url, flush=True)
    time.sleep(600)
"""


@pytest.mark.skipif("ELASTICSEARCH_URL" in os.environ, reason="ELASTICSEARCH_URL names a node, so none is started")
def test_nothing_is_left_of_a_run_that_is_killed(elasticsearch: Elasticsearch, tmp_path: Path) -> None:
    environment = os.environ | {"TMPDIR": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    run = subprocess.Popen([sys.executable, "-c", _STARTS_AND_WAITS], stdout=subprocess.PIPE, env=environment)
    assert run.stdout
    url = run.stdout.readline().decode().strip()
    assert Elasticsearch(url).call("GET", "/_cluster/health")["number_of_nodes"] == 1
    run.kill()
    run.wait()
    deadline = time.monotonic() + 30
    while list(tmp_path.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(OSError, match="refused"):
        Elasticsearch(url).call("GET", "/_cluster/health")


def test_a_part_of_an_objects_json_is_found_in_the_text_that_java_makes_of_it(
    elasticsearch: Elasticsearch, tmp_path: Path
) -> None:
    objects: list[dict[str, Any]] = [
        {"port": 22, "state": "Open"},
        {"list": [{"state": "Open", "port": 22}]},
        {"port": 2, "state": "Opened"},
        {"policy": '{"port":22,"state":"Open"}'},
        {"port": {"state": "open"}},
    ]
    events = [record(0, "us-east-1", "Call", "ec2.amazonaws.com") | {"requestParameters": one} for one in objects]
    elasticsearch.load(events)
    for part in ('"port":22', '"state":"Open"', '"port":22,"state":"Op', '"port":{"state":', '[{"state":"Open",'):
        rule = one_rule({"requestParameters|contains": part})
        [query] = queries("elasticsearch", "esql", rules=[written([rule], tmp_path)]).values()
        meant = {event["eventID"] for event in events if oracle.matches(rule, event)}
        assert meant
        assert {row["event.id"] for row in elasticsearch.query(query)} == meant, part


@pytest.mark.parametrize("output_format", ["esql", "lucene"])
def test_one_of_an_events_resources_has_to_match(
    output_format: str, elasticsearch: Elasticsearch, tmp_path: Path
) -> None:
    object_, bucket = (
        {"ARN": f"arn:aws:s3:::{name}", "type": f"AWS::S3::{kind}"}
        for name, kind in [("b/o", "Object"), ("b", "Bucket")]
    )
    lists: list[Any] = [[object_, bucket], [bucket], [object_], None, [{"accountId": "111122223333"}]]
    events = [record(0, "us-east-1", "Call", "s3.amazonaws.com") | {"resources": one} for one in lists]
    node = ESQL(elasticsearch) if output_format == "esql" else Lucene(elasticsearch)
    for key, value in (
        ("resources.ARN", "arn:aws:s3:::b"),
        ("resources.ARN|startswith", "arn:aws:s3:::b/"),
        ("resources.ARN|endswith", ":b"),
        ("resources.ARN|exists", False),
        ("resources.type", ["AWS::S3::Object", "AWS::EC2::Instance"]),
        ("resources.accountId", "111122223333"),
    ):
        rule = one_rule({key: value})
        conversion = converted("elasticsearch", output_format, rules=[written([rule], tmp_path)])
        meant = {event["eventID"] for event in events if oracle.matches(rule, event)}
        assert meant
        [found] = node.found(conversion, events).values()
        assert set(found) == meant, key
