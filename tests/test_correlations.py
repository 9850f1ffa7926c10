"""Every correlation type means what its definition says: an event completes it in the window that ends with it.

The definitions here are written out over all subsets of a window, and share no code with the backends.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from engines import Engine
from events import denied, drawn
from keywatch.errors import UserError
from keywatch.hunting.cases import cases, look_behind
from keywatch.hunting.coverage import Coverage
from keywatch.hunting.hunt import decoded, hunting
from keywatch.hunting.selection import Selection
from packs import attempted, converted, one_rule, queries, written

Event = dict[str, Any]
EngineOf = Callable[[str], Engine]
#: Seconds: the window, but where an engine has none of that length.
WINDOW, WINDOWS = 10, {"datadog": 60}
#: A window that every engine has, and half of it, and a quarter.
COMMON = 7200
#: The base rules: one matches an event of its own name; `any` matches each, so that one event can match two.
RULES = {"one": "ListOne", "two": "ListTwo", "three": "ListThree", "any": "List*"}
WHO = {"who": {"one": "userIdentity.arn", "two": "userAgent"}}
NAMES = ["ListOne", "ListTwo", "ListThree"]
TOKENS = "additionalEventData.inputTokens"
PRINCIPALS = ["arn:aws:iam::111122223333:user/a", "arn:aws:iam::111122223333:user/b"]
REFUSED = "|".join(
    [
        "has no sliding window here",
        "needs group-by",
        "aliases of fields have no form",
        "a correlation among its rules has no form",
        "not a list of fields",
        "so a chain has 2 rules",
    ]
)
MEASURES = {"value_sum", "value_avg"}
NESTED = "a correlation of correlations"
#: Engine → what it has no form for: types, and `aliases` and `ungrouped`.
LACKS: dict[str, set[str]] = {
    "duckdb": set(),
    "athena": set(),
    "lake": set(),
    "securitylake": set(),
    "spl": {NESTED},
    "spl-far-end-out": {NESTED},
    "opensearch": {"aliases", NESTED},
    "sentinel": set(),
    "esql": MEASURES | {NESTED},
    "datadog": MEASURES | {"aliases", "ungrouped", "a list of fields", "a chain of three", NESTED},
}


#: How many histories are drawn for a case, where a query costs more.
EXAMPLES = {"opensearch": 12, "esql": 12, "sentinel": 25}


def correlation(**says: Any) -> dict[str, Any]:
    group = {} if says.pop("ungrouped", False) else {"group-by": ["userIdentity.arn"]}
    return group | says


#: Correlations that others have among their rules; their window is half as long.
INNER: dict[str, dict[str, Any]] = {
    "many": correlation(type="event_count", rules=["any"], condition={"gte": 2}),
    "regions": correlation(
        type="value_count",
        rules=["one", "two"],
        condition={"field": "awsRegion", "gte": 2},
        **{"group-by": ["userIdentity.arn", "userAgent"]},
    ),
    "tokens": correlation(type="value_avg", rules=["any"], condition={"field": TOKENS, "gt": 20}),
    "both": correlation(type="temporal", rules=["one", "any"]),
    "chain": correlation(type="temporal_ordered", rules=["many", "three"]),
    "choice": correlation(
        type="temporal", rules=["one", "two", "three"], condition="one and (two or three)", ungrouped=True
    ),
    "alias": correlation(type="temporal_ordered", rules=["one", "two"], aliases=WHO, **{"group-by": ["who"]}),
}
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
        aliases=WHO,
        **{"group-by": ["who"]},
    ),
    "a sum of what two rules match": correlation(
        type="value_sum",
        rules=["one", "any"],
        condition={"field": TOKENS, "gte": 60},
        aliases={"who": {"one": "userIdentity.arn", "any": "userIdentity.arn"}},
        **{"group-by": ["who"]},
    ),
    "one, and then a chain that begins with many": correlation(type="temporal_ordered", rules=["one", "chain"]),
    "events that complete rules": correlation(type="event_count", rules=["both"], condition={"gte": 3}),
    "Regions and a mean": correlation(type="temporal", rules=["regions", "tokens"]),
    "a choice, in no group": correlation(
        type="event_count", rules=["choice", "three"], condition={"gt": 2}, ungrouped=True
    ),
    "an alias of an alias": correlation(
        type="temporal",
        rules=["alias", "three"],
        aliases={"who": {"alias": "who", "three": "userIdentity.arn"}},
        **{"group-by": ["who"]},
    ),
}


def time_of(event: Event) -> int:
    return int(event["eventTime"][17:19]) + 60 * int(event["eventTime"][14:16])


def group_of(says: dict[str, Any], event: Event, rule: str) -> tuple[str, ...]:
    """Return the group that an event is in by a rule that it matches; an alias may be another field for each rule."""
    meant = {alias: fields[rule] for alias, fields in says.get("aliases", {}).items()}
    fields = [meant.get(name, name) for name in says.get("group-by", [])]
    return tuple(event["userIdentity"]["arn"] if field == "userIdentity.arn" else event[field] for field in fields)


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
    if says["type"] in MEASURES:
        # An event that matches two rules, or was delivered twice, is one event.
        numbers = {event["eventID"]: event["additionalEventData"]["inputTokens"] for _, event in window}.values()
        measured = sum(numbers) / (len(numbers) if says["type"] == "value_avg" else 1)
        return bool(measured >= condition["gte"] if "gte" in condition else measured > condition["gt"])
    if says["type"] == "temporal_ordered":
        chains = product(*([time_of(event) for rule, event in window if rule == name] for name in rules))
        return any(list(chain) == sorted(chain) for chain in chains)
    if isinstance(condition, str):
        return bool(eval(condition, {}, {name: name in seen for name in rules}))
    return len(seen) >= int((condition or {"gte": len(rules)})["gte"])


def completing(says: dict[str, Any], events: list[Event], window: int) -> list[tuple[tuple[str, ...], Event]]:
    """Return the events that complete a correlation, in a window of so many seconds, each with its group."""
    matches: list[tuple[str, Event]] = []
    for rule in says["rules"]:
        if inner := INNER.get(rule):
            # An alias is what the next correlation knows a group by.
            for group, event in completing(inner, events, window // 2):
                matches.append((rule, event | dict(zip(inner.get("group-by", []), group, strict=True))))
        else:
            matches += [(rule, event) for event in events if RULES[rule] in (event["eventName"], "List*")]
    if says["type"] in MEASURES:  # what has no number takes no part
        matches = [match for match in matches if match[1]["additionalEventData"]["inputTokens"] is not None]
    return [
        (group, end)
        for end_rule, end in matches
        for group in [group_of(says, end, end_rule)]
        # A chain is completed by the last event of it.
        if says["type"] != "temporal_ordered" or end_rule == says["rules"][-1]
        if completes(
            says,
            [
                (rule, event)
                for rule, event in matches
                if group_of(says, event, rule) == group and 0 <= time_of(end) - time_of(event) <= window
            ],
        )
    ]


def wanted(says: dict[str, Any], events: list[Event], window: int) -> set[str]:
    """Return the groups in which some event completes the correlation, in a window of so many seconds."""
    return {" ".join(group) for group, _ in completing(says, events, window)}


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


def rules_of(says: dict[str, Any], window: int = WINDOW) -> list[dict[str, Any]]:
    """Return the rules that a correlation stands on."""
    rules: dict[str, dict[str, Any]] = {}
    for name in says["rules"]:
        if inner := INNER.get(name):
            rules |= {rule["name"]: rule for rule in rules_of(inner, window // 2)}
            rules[name] = {"title": name, "name": name, "correlation": inner | {"timespan": f"{window // 2}s"}}
        else:
            rules[name] = one_rule({"eventName": RULES[name]}, title=name, name=name)
    return list(rules.values())


def correlated(says: dict[str, Any], window: int) -> list[dict[str, Any]]:
    """Return a correlation after the rules that it stands on, with a window of so many seconds."""
    rule = {"title": "Correlation", "name": "correlation", "correlation": says | {"timespan": f"{window}s"}}
    return [*rules_of(says, window), rule]


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
    if inside := [INNER[name] for name in says["rules"] if name in INNER]:
        needed |= {NESTED}.union(*map(needs, inside))
    return needed


@pytest.mark.parametrize("engine_name", LACKS)
@pytest.mark.parametrize("case", CASES)
def test_what_is_found_is_what_the_definition_says(
    case: str, engine_name: str, engines: EngineOf, tmp_path: Path
) -> None:
    engine, says, window = engines(engine_name), CASES[case], WINDOWS.get(engine_name, WINDOW)
    if needs(says) & LACKS[engine_name]:
        path = written(correlated(says, COMMON), tmp_path)
        with pytest.raises(UserError, match=REFUSED):
            engine.converted(rules=[path])
        return
    conversion = engine.converted(rules=[written(correlated(says, window), tmp_path)])

    name = "who" if "aliases" in says else engine.principal if "group-by" in says else None
    told = some_histories(window, EXAMPLES.get(engine_name, 60))
    each = engine.alerts_each(conversion, told)
    for events, alerts in zip(told, each, strict=True):
        [rows] = alerts.values()
        found = {str(row[name]) if name else "" for row in rows}
        assert wanted(says, events, window) <= found <= wanted(says, events, window + engine.slack(window)), events


@cache
def some_histories(window: int, most: int) -> list[list[Event]]:
    """Return the histories that an engine is asked about in all cases."""
    return drawn(histories(window), most)


#: Events of a flood: more than engines keep of a window, such as Splunk's 10,000 rows. Fewer where the engine only
#: interprets a language.
FLOOD, FLOODS = 11_000, {"sentinel": 2_000, "datadog": 2_000, "spl": 2_000}


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
        "many, and then one": (correlation(type="temporal_ordered", rules=["many", "one"]), True),
        "many, and then another": (correlation(type="temporal_ordered", rules=["many", "two"]), False),
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
        for number in range(FLOODS.get(engine_name, FLOOD) // 14 * 14)
    ]
    events.insert(0, denied(0, 0, name="ListTwo"))
    cases = {name: case for name, case in flooded(window).items() if not needs(case[0]) & LACKS[engine_name]}
    rules = [
        {"title": name, "name": name, "correlation": says | {"timespan": f"{window}s"}}
        for name, (says, _) in cases.items()
    ]
    names = [name for says, _ in cases.values() for name in says["rules"]]
    conversion = engine.converted(rules=[written([*rules_of({"rules": names}, window), *rules], tmp_path)])
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
@pytest.mark.parametrize("name", ["esql"])
def test_what_the_stock_conversion_misses(
    name: str, says: dict[str, Any], names: list[str], engines: EngineOf, tmp_path: Path
) -> None:
    engine, events = engines(name), straddling(names)
    rule = {"title": "Correlation", "name": "correlation", "correlation": says | {"timespan": "1m"}}
    path = written([*rules_of(says), rule], tmp_path)
    [[query]] = engine.converted(rules=[path], method="stats").queries.values()
    assert list(engine.rows(query, events)) == []
    [[query]] = engine.converted(rules=[path]).queries.values()
    assert len(list(engine.rows(query, events))) == 1
    # Without the edge, both find it.
    inside = [event | {"eventTime": event["eventTime"].replace("10:01", "10:00")} for event in events]
    [[query]] = engine.converted(rules=[path], method="stats").queries.values()
    assert len(list(engine.rows(query, inside))) == 1


@pytest.mark.parametrize(
    ("says", "reason"),
    [
        ({"group-by": ["userAgent"]}, "'userAgent' is none of them; add it to its group-by"),
        ({}, None),
        ({"group-by": ["who"], "aliases": {"who": {"many": "awsRegion", "two": "awsRegion"}}}, "'awsRegion' is none"),
        ({"group-by": ["who"], "aliases": {"who": {"two": "userAgent"}}}, "alias 'who' names no field of rule 'many'"),
        ({"rules": ["alias", "three"], "group-by": ["who"]}, "rule 'three' has no field 'who', which is an alias"),
        ({"rules": ["many", "correlation"]}, "rule 'Correlation' refers to itself, by way of 'correlation'"),
        ({"type": "value_count", "condition": {"field": "awsRegion", "gte": 2}}, "'awsRegion' is none of them"),
    ],
)
def test_what_completes_has_only_the_fields_of_its_group(
    says: dict[str, Any], reason: str | None, tmp_path: Path
) -> None:
    says = correlation(type="temporal_ordered", rules=["many", "two"], timespan="1m") | says
    outer = {"title": "Correlation", "name": "correlation", "correlation": says}
    path = written([*rules_of({"rules": ["many", "two", "alias", "three"]}), outer], tmp_path)
    said = [problem.message for problem in attempted("duckdb", rules=[path]).problems]
    assert len(said) == (reason is not None)
    assert all(str(reason) in message for message in said)


def test_a_correlation_of_correlations_is_refused_where_it_is_counted_in_buckets(tmp_path: Path) -> None:
    path = written(correlated(CASES["events that complete rules"], 60), tmp_path)
    [problem] = attempted("splunk", rules=[path], method="stats").problems
    assert "method 'stats' has no form for a correlation among the rules" in problem.message


def test_a_run_looks_back_over_all_windows_of_a_correlation_of_correlations(tmp_path: Path) -> None:
    """One of 80 minutes, over one of 40, over one of 20, in a run every 15 for events up to 15 minutes late."""
    path = written(correlated(CASES["one, and then a chain that begins with many"], 4800), tmp_path)
    [query] = queries("sentinel", "yaml", rules=[path]).values()
    assert query["properties"]["queryPeriod"] == "PT170M"


def test_aliases_and_rules_may_name_a_rule_by_its_name_and_its_id(tmp_path: Path) -> None:
    one, two = rules_of({"rules": ["one", "two"]})
    one["id"] = "11111111-1111-4111-8111-111111111111"
    says = CASES["another name in each rule"] | {"rules": [one["id"], "two"], "timespan": "1m"}
    path = written([one, two, {"title": "Correlation", "correlation": says}], tmp_path)
    [query] = queries("duckdb", rules=[path]).values()
    assert """WHEN 'one' THEN "userIdentity.arn" WHEN 'two' THEN "userAgent\"""" in query


def test_what_is_behind_a_correlation_of_correlations_began_before_it(tmp_path: Path) -> None:
    """The alert begins with the second call, which completes `many`; both calls are behind it."""
    calls = [denied(second, 0, name=name) for second, name in [(0, "ListOne"), (4, "ListOne"), (6, "ListTwo")]]
    for number, call in enumerate(calls):
        call["eventID"] = f"00000000-0000-4000-8000-{number:012}"
    trail = tmp_path / "trail.json"
    trail.write_text(json.dumps({"Records": calls}), encoding="utf-8")
    says = correlation(type="temporal_ordered", rules=["many", "two"], timespan="10s")
    path = written([*rules_of(says), {"title": "Correlation", "correlation": says}], tmp_path)
    coverage = Coverage()
    with hunting(converted("duckdb", rules=[path]), [str(trail)], Selection(), coverage) as alerts:
        look_behind(alerts)
        [alert], [case] = decoded(alerts), cases(alerts)
    assert (alert.first_seen, alert.events) == ("2026-11-20T10:00:04Z", 2)
    assert (case.first_seen.second, case.events) == (0, 3)
