"""Every correlation type means what its definition says: an event completes it in the window that ends with it.

The definitions here are written out over all subsets of a window, and share no code with the backends.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engines import Engine
from events import denied
from keywatch.errors import UserError
from packs import one_rule, written

Event = dict[str, Any]
EngineOf = Callable[[str], Engine]
#: Seconds: the window, but where an engine has none of that length.
WINDOW, WINDOWS = 10, {"datadog": 60}
#: The base rules: one matches an event of its own name; `any` matches each, so that one event can match two.
RULES = {"one": "ListOne", "two": "ListTwo", "three": "ListThree", "any": "List*"}
NAMES = ["ListOne", "ListTwo", "ListThree"]
TOKENS = "additionalEventData.inputTokens"
PRINCIPALS = ["arn:aws:iam::111122223333:user/a", "arn:aws:iam::111122223333:user/b"]
REFUSED = "|".join(
    [
        "has no sliding window here",
        "needs group-by",
        "aliases of fields have no form",
        "not a list of fields",
        "so a chain has 2 rules",
    ]
)
MEASURES = {"value_sum", "value_avg"}
#: Engine → what it has no form for: types, and `aliases` and `ungrouped`.
LACKS: dict[str, set[str]] = {
    "duckdb": set(),
    "athena": set(),
    "lake": set(),
    "securitylake": set(),
    "spl": set(),
    "spl-far-end-out": set(),
    "opensearch": {"aliases"},
    "sentinel": set(),
    "esql": MEASURES,
    "datadog": MEASURES | {"aliases", "ungrouped", "a list of fields", "a chain of three"},
}


#: How many histories are drawn for a case, where a query costs more.
EXAMPLES = {"opensearch": 12, "esql": 12, "sentinel": 25}


def correlation(**says: Any) -> dict[str, Any]:
    group = {} if says.pop("ungrouped", False) else {"group-by": ["userIdentity.arn"]}
    return group | says


CASES: dict[str, dict[str, Any]] = {
    "events": correlation(type="event_count", rules=["any"], condition={"gte": 3}),
    "events of two rules": correlation(type="event_count", rules=["one", "any"], condition={"gt": 2}),
    "events of all": correlation(type="event_count", rules=["any"], condition={"gte": 4}, ungrouped=True),
    "values": correlation(type="value_count", rules=["any"], condition={"field": "awsRegion", "gte": 3}),
    "values of two rules": correlation(
        type="value_count", rules=["one", "two"], condition={"field": "awsRegion", "gte": 2}
    ),
    "values of two fields": correlation(
        type="value_count", rules=["any"], condition={"field": ["userAgent", "awsRegion"], "gte": 3}
    ),
    "a sum": correlation(type="value_sum", rules=["any"], condition={"field": TOKENS, "gte": 30}),
    "a mean": correlation(type="value_avg", rules=["one", "two"], condition={"field": TOKENS, "gt": 20}),
    "all rules": correlation(type="temporal", rules=["one", "two", "three"]),
    "rules that match the same event": correlation(type="temporal", rules=["one", "any"]),
    "two of three": correlation(type="temporal", rules=["one", "two", "three"], condition={"gte": 2}),
    "a condition": correlation(type="temporal", rules=["one", "two", "three"], condition="one and (two or three)"),
    "a chain of two": correlation(type="temporal_ordered", rules=["one", "two"]),
    "a chain of three": correlation(type="temporal_ordered", rules=["three", "one", "two"]),
    "a chain of one event": correlation(type="temporal_ordered", rules=["one", "any"]),
    "a chain in no group": correlation(type="temporal_ordered", rules=["one", "two"], ungrouped=True),
    "another name in each rule": correlation(
        type="temporal",
        rules=["one", "two"],
        aliases={"who": {"one": "userIdentity.arn", "two": "userAgent"}},
        **{"group-by": ["who"]},
    ),
}


def time_of(event: Event) -> int:
    return int(event["eventTime"][17:19]) + 60 * int(event["eventTime"][14:16])


def group_of(says: dict[str, Any], event: Event, rule: str) -> str:
    """Return the group that an event is in by a rule that it matches; an alias may be another field for each rule."""
    if "group-by" not in says:
        return ""
    field = says.get("aliases", {}).get("who", {}).get(rule, "userIdentity.arn")
    return str(event["userIdentity"]["arn"] if field == "userIdentity.arn" else event[field])


def completes(says: dict[str, Any], window: list[tuple[str, Event]]) -> bool:
    """Tell whether what matched in a window, its end included, is what a correlation asks for."""
    rules: list[str] = says["rules"]
    condition: Any = says.get("condition")
    seen = {rule for rule, _ in window}
    if says["type"] in ("event_count", "value_count"):
        fields = condition.get("field", "eventID")
        fields = fields if isinstance(fields, list) else [fields]
        values = {tuple(event[field] for field in fields) for _, event in window}
        return len(values) >= int(condition.get("gte", condition.get("gt", 0) + 1))
    if says["type"] in ("value_sum", "value_avg"):
        # An event that matches two rules, or was delivered twice, is one event.
        events = {event["eventID"]: event["additionalEventData"]["inputTokens"] for _, event in window}
        numbers = [number for number in events.values() if number is not None]
        measured = sum(numbers) / (len(numbers) if says["type"] == "value_avg" else 1) if numbers else 0
        return bool(measured >= condition["gte"] if "gte" in condition else measured > condition["gt"])
    if says["type"] == "temporal_ordered":
        chains = product(*([time_of(event) for rule, event in window if rule == name] for name in rules))
        return any(list(chain) == sorted(chain) for chain in chains)
    if isinstance(condition, str):
        return bool(eval(condition, {}, {name: name in seen for name in rules}))
    return len(seen) >= int((condition or {"gte": len(rules)})["gte"])


def wanted(says: dict[str, Any], events: list[Event], window: int) -> set[str]:
    """Return the groups in which some event completes the correlation, in a window of so many seconds."""
    matches = [
        (rule, event) for event in events for rule in says["rules"] if RULES[rule] in (event["eventName"], "List*")
    ]
    return {
        group
        for end_rule, end in matches
        for group in [group_of(says, end, end_rule)]
        if completes(
            says,
            [
                (rule, event)
                for rule, event in matches
                if group_of(says, event, rule) == group and 0 <= time_of(end) - time_of(event) <= window
            ],
        )
    }


@st.composite
def histories(draw: st.DrawFn, window: int) -> list[Event]:
    """Draw events close to a window's edge, of few names, Regions and principals, some delivered twice."""
    events = []
    for number in range(draw(st.integers(0, 9))):
        second = draw(
            st.sampled_from([0, 1, 5, window - 1, window, window + 1, 2 * window, 2 * window + 1, 4 * window])
        )
        principal = draw(st.sampled_from(PRINCIPALS))
        event = denied(second, draw(st.integers(0, 3)), name=draw(st.sampled_from(NAMES)))
        event |= {"eventID": f"00000000-0000-4000-8000-{number:012}", "userAgent": draw(st.sampled_from(PRINCIPALS))}
        event["userIdentity"] = event["userIdentity"] | {"arn": principal}
        event["additionalEventData"] = {"inputTokens": draw(st.sampled_from([None, 5, 10, 20, 21, 25, 40]))}
        events += [event] * draw(st.sampled_from([1, 1, 1, 2]))
    return events


def rules_of(says: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a correlation after its base rules."""
    return [one_rule({"eventName": RULES[name]}, title=name, name=name) for name in says["rules"]]


def needs(says: dict[str, Any]) -> set[str]:
    """Return what a correlation asks of an engine that not all have."""
    condition = says.get("condition", {})
    needed = {"a condition over rules" if isinstance(condition, str) else says["type"]}
    if isinstance(condition, dict) and isinstance(condition.get("field"), list):
        needed.add("a list of fields")
    if says["type"] == "temporal_ordered" and len(says["rules"]) > 2:
        needed.add("a chain of three")
    if "aliases" in says:
        needed.add("aliases")
    if "group-by" not in says:
        needed.add("ungrouped")
    return needed


@pytest.mark.parametrize("engine_name", LACKS)
@pytest.mark.parametrize("case", CASES)
def test_what_is_found_is_what_the_definition_says(
    case: str, engine_name: str, engines: EngineOf, tmp_path: Path
) -> None:
    engine, says, window = engines(engine_name), CASES[case], WINDOWS.get(engine_name, WINDOW)
    correlated = {"title": "Correlation", "name": "correlation", "correlation": says | {"timespan": f"{window}s"}}
    path = written([*rules_of(says), correlated], tmp_path)
    if needs(says) & LACKS[engine_name]:
        with pytest.raises(UserError, match=REFUSED):
            engine.converted(rules=[path])
        return
    conversion = engine.converted(rules=[path])

    name = "who" if "aliases" in says else engine.principal if "group-by" in says else None
    told = drawn(window, EXAMPLES.get(engine_name, 60))
    each = engine.alerts_each(conversion, told, lambda *_: True)
    for events, alerts in zip(told, each, strict=True):
        [rows] = alerts.values()
        found = {str(row[name]) if name else "" for row in rows}
        assert wanted(says, events, window) <= found <= wanted(says, events, window + engine.slack(window)), events


@cache
def drawn(window: int, most: int) -> list[list[Event]]:
    """Return the histories that an engine is asked about in all cases."""
    found = []

    @settings(max_examples=most, deadline=None, suppress_health_check=list(HealthCheck))
    @given(events=histories(window))
    def draw(events: list[Event]) -> None:
        found.append(events)

    draw()
    return found


#: Events of a flood, where the engine only interprets a language. Splunk keeps 10,000 rows of a window.
FLOODS = {"sentinel": 5_000, "datadog": 5_000, "spl": 12_000}


def flooded(window: int) -> dict[str, tuple[dict[str, Any], bool]]:
    """Return correlations over a flood, and whether they are found in it.

    The flood has 14 calls of ListOne a second, in 4 Regions, and one of ListTwo a second before.
    """
    most = 14 * (window + 1)
    regions = {"field": "awsRegion", "gte": 4}
    return {
        "values": (correlation(type="value_count", rules=["one"], condition=regions), True),
        "more values": (correlation(type="value_count", rules=["one"], condition=regions | {"gte": 5}), False),
        "events": (correlation(type="event_count", rules=["one"], condition={"gte": most}), True),
        "more events": (correlation(type="event_count", rules=["one"], condition={"gt": most}), False),
        "tokens": (correlation(type="value_sum", rules=["one"], condition={"field": TOKENS, "gte": most}), True),
        "more tokens": (correlation(type="value_sum", rules=["one"], condition={"field": TOKENS, "gt": most}), False),
        "rules": (correlation(type="temporal", rules=["one", "two"]), True),
        "a rule that matches nothing": (correlation(type="temporal", rules=["one", "three"]), False),
        "a condition": (correlation(type="temporal", rules=["one", "two"], condition="one and two"), True),
        "in order": (correlation(type="temporal_ordered", rules=["two", "one"]), True),
        "in the other order": (correlation(type="temporal_ordered", rules=["one", "two"]), False),
    }


@pytest.mark.parametrize(
    "engine_name", [name for name in LACKS if name not in ("lake", "securitylake", "spl-far-end-out")]
)
def test_a_flood_of_one_principal(engine_name: str, engines: EngineOf, tmp_path: Path) -> None:
    """No type loses events to a cap, and none costs more than in proportion to them."""
    engine, window = engines(engine_name), WINDOWS.get(engine_name, WINDOW)
    events = [
        denied(1 + number // 14, number % 4, name="ListOne")
        | {"eventID": f"00000000-0000-4000-8000-{number:012}", "additionalEventData": {"inputTokens": 1}}
        for number in range(FLOODS.get(engine_name, 50_000) // 14 * 14)
    ]
    events.insert(0, denied(0, 0, name="ListTwo"))
    cases = {name: case for name, case in flooded(window).items() if not needs(case[0]) & LACKS[engine_name]}
    rules = [
        {"title": name, "name": name, "correlation": says | {"timespan": f"{window}s"}}
        for name, (says, _) in cases.items()
    ]
    conversion = engine.converted(rules=[written([*rules_of({"rules": ["one", "two", "three"]}), *rules], tmp_path)])
    found = engine.found(conversion, events)
    titles = {conversion.rules[name].title: bool(alerts) for name, alerts in found.items()}
    assert titles == {name: wanted for name, (_, wanted) in cases.items()}


def straddling(names: list[str]) -> list[Event]:
    """Return events around the edge of a minute, 5 seconds apart, in Regions of their own."""
    return [
        denied(50 + 5 * number, number, name=name) | {"eventID": f"00000000-0000-4000-8000-{number:012}"}
        for number, name in enumerate(names)
    ]


@pytest.mark.parametrize(
    ("says", "names"),
    [
        (correlation(type="value_count", rules=["one"], condition={"field": "awsRegion", "gte": 5}), ["ListOne"] * 5),
        (correlation(type="event_count", rules=["one"], condition={"gte": 5}), ["ListOne"] * 5),
        (correlation(type="temporal", rules=["one", "two"]), ["ListOne", "ListOne", "ListTwo", "ListTwo", "ListTwo"]),
    ],
    ids=lambda value: value["type"] if isinstance(value, dict) else "",
)
def test_what_the_stock_conversion_misses(
    says: dict[str, Any], names: list[str], engines: EngineOf, tmp_path: Path
) -> None:
    engine, events = engines("esql"), straddling(names)
    correlated = {"title": "Correlation", "name": "correlation", "correlation": says | {"timespan": "1m"}}
    path = written([*rules_of(says), correlated], tmp_path)
    [[query]] = engine.converted(rules=[path], method="stats").queries.values()
    assert list(engine.rows(query, events)) == []
    [[query]] = engine.converted(rules=[path]).queries.values()
    assert len(list(engine.rows(query, events))) == 1
    # Without the edge, both find it.
    inside = [event | {"eventTime": event["eventTime"].replace("10:01", "10:00")} for event in events]
    [[query]] = engine.converted(rules=[path], method="stats").queries.values()
    assert len(list(engine.rows(query, inside))) == 1
