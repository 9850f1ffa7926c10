"""Athena's SQL and CloudTrail Lake's run on Trino as they are, and say what happened."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from engines import Engine
from engines.athena import Athena
from events import DENIED, VOLUME, denied
from packs import one_rule, queries, written

EngineOf = Callable[[str], Engine]


def test_days_are_parameters() -> None:
    for query in queries("athena").values():
        assert query.count('"timestamp" BETWEEN ? AND ?') == query.count("?") / 2 == 1


def test_what_is_to_be_filled_in_stands_once() -> None:
    for query in queries("athena", "sql-lake").values():
        assert [query.count(name) for name in ("$EDS_ID", "$FROM", "$TO")] == [1, 1, 1]
        # The other signs of this kind are the roots of JSON paths, which envsubst leaves alone.
        assert len(re.findall(r"\$[A-Z]", query)) == 3


def test_a_correlation_reads_its_events_twice(engines: EngineOf) -> None:
    """What is read costs money on Athena. The page has what all rules read."""
    engine, texts = engines("athena"), queries("athena")
    assert isinstance(engine, Athena)
    for name in (DENIED, VOLUME, "correlation_aws_bedrock_catalogue_then_invocation_long_term_key"):
        assert len(re.findall("(?:TableScan|ScanFilter)", engine.plan(texts[name]))) == 2
    reads = sum(2 if "present AS" in text else 1 for text in texts.values())
    page = (Path(__file__).parents[1] / "docs" / "trino.md").read_text(encoding="utf-8")
    assert f"would read {reads} times as much" in page


def test_fields_that_only_lake_has_or_has_otherwise(engines: EngineOf, tmp_path: Path) -> None:
    text = """title: Writes
logsource: {product: aws, service: cloudtrail}
fields: [userIdentity.sessionContext.attributes.creationDate, readOnly]
detection:
    selection: {managementEvent: true, readOnly: false}
    condition: selection
"""
    (tmp_path / "writes.yml").write_text(text, encoding="utf-8")
    session = {"sessionContext": {"attributes": {"creationDate": "2026-11-20T09:00:00Z"}}}
    events = [denied(0, 0, readOnly=read, managementEvent=True, identity=session) for read in (True, False)]
    [[row]] = engines("lake").alerts(engines("lake").converted(rules=[tmp_path]), events).values()
    assert row["eventID"] == events[1]["eventID"]
    assert row["userIdentity.sessionContext.attributes.creationDate"] == "2026-11-20T09:00:00Z"
    assert row["readOnly"] == "false"


#: What requestParameters holds, and whether a rule that looks for x in a.b finds it.
BELOW = [
    ({"a": {"b": "x"}}, True),
    ({"a": {"b": "y"}}, False),
    ({"a": {"b": ["y", "x"]}}, True),
    ({"a": [{"b": "y"}, {"b": "x"}]}, True),
    ({"a": [{"b": ["x"]}, "x"]}, True),
    ({"a": {"b": {"x": "x"}}}, False),
    ({"a": {"b": 7}}, False),
    ({"a": {"b": None}}, False),
    ({"a": "x"}, False),
    ({"b": "x"}, False),
    ({}, False),
    (None, False),
    # Cut off, as CloudTrail cuts off what is too long: no JSON.
    ({"a": '{"b": "x"'}, False),
    ('{"a": {"b": "x"}, "c', False),
]


@pytest.mark.parametrize("name", ["athena", "lake", "securitylake"])
@pytest.mark.parametrize("negated", [False, True])
def test_what_lies_below_an_object(negated: bool, name: str, engines: EngineOf, tmp_path: Path) -> None:
    rule = one_rule({"requestParameters.a.b": ["x", "z"]})
    rule["detection"]["condition"] = "not a" if negated else "a"
    engine = engines(name)
    events = [denied(0, 0, requestParameters=value) for value, _ in BELOW]
    [found] = engine.found(engine.converted(rules=[written([rule], tmp_path)]), events).values()
    wanted = {event["eventID"] for event, (_, finds) in zip(events, BELOW, strict=True) if finds != negated}
    assert {*found} == wanted
