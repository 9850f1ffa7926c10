"""One meaning on every target: each engine finds what the oracle finds, in named scenarios and in generated events.

The table in docs/equivalence.md is written from these runs: `make golden`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from sigma.pipelines.keywatch._pack import PACK

import oracle
from conftest import CORRELATING
from engines import Engine
from events import MALLORY, Scenario, denied, drawn, histories, scenarios
from packs import counting_names, written

RULES = oracle.load(PACK)
CASED = {name: oracle.cased(rule) for name, rule in RULES.items()}
SCENARIOS = {scenario.name: scenario for scenario in scenarios()}
PAGE = Path(__file__).parents[1] / "docs" / "equivalence.md"
_BEGIN, _END = "<!-- table -->", "<!-- end -->"
EngineOf = Callable[[str], Engine]
Event = dict[str, Any]
#: Rule → what came of it in a history.
Outcome = dict[str, str]


#: History, by its identity, as it lives as long as the tests; rule; seconds of slack; with case → who must be found.
_WANTED: dict[tuple[int, str, int, bool], set[str]] = {}


def wanted(name: str, events: list[Event], slack: int = 0, *, cased: bool = False) -> set[str]:
    """Return who must be found by a rule: principals, or the IDs of events."""
    asked = id(events), name, slack, cased
    if asked not in _WANTED:
        rules = CASED if cased else RULES
        if "correlation" in rules[name]:
            _WANTED[asked] = {*oracle.crossings(rules[name], rules, events, slack)}
        else:
            _WANTED[asked] = {event["eventID"] for event in events if oracle.matches(rules[name], event)}
    return _WANTED[asked]


def outcome(engine: Engine, name: str, events: list[Event], found: list[str]) -> str:
    """Compare what an engine found with what must be found.

    :return: `agrees`; `within its grain`; `as its case tells`, where it compares with regard to case; or what is wrong.
    """
    must = wanted(name, events)
    if must == set(found):
        return "agrees"
    if engine.cased:
        must = wanted(name, events, cased=True)
        if must == set(found):
            return "as its case tells"
    slack = engine.slack(_window(RULES[name]))
    if must <= set(found) <= wanted(name, events, slack):
        return "within its grain"
    return f"missed {must - set(found)}, found besides {set(found) - must}"


def _window(rule: dict[str, Any]) -> int:
    return oracle.seconds(rule["correlation"]["timespan"]) if "correlation" in rule else 0


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_oracle_finds_what_the_scenario_says(scenario: str) -> None:
    told = SCENARIOS[scenario]
    for name in RULES:
        if "correlation" in RULES[name]:
            assert wanted(name, told.events) == {*told.found.get(name, [])}
        elif name in told.found:
            matching = [e for e in told.events if oracle.matches(RULES[name], e)]
            assert [e["userIdentity"]["arn"] for e in matching] == told.found[name]


@cache
def some_histories() -> list[list[Event]]:
    """Return the histories that all engines are asked about."""
    return drawn(histories(), 100)


@cache
def asked(engine: Engine) -> tuple[dict[str, Outcome], list[tuple[list[Event], Outcome]]]:
    """Ask an engine about all histories at once; return what came of each scenario, and of each that was drawn."""
    told = [scenario.events for scenario in SCENARIOS.values()]
    others = some_histories()
    results = [
        {rule: outcome(engine, rule, events, names) for rule, names in found.items()}
        for events, found in zip(told + others, engine.found_each(engine.pack, told + others), strict=True)
    ]
    of_told, of_others = results[: len(told)], results[len(told) :]
    return dict(zip(SCENARIOS, of_told, strict=True)), list(zip(others, of_others, strict=True))


@pytest.mark.parametrize("name", CORRELATING)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_scenario(scenario: str, name: str, engines: EngineOf) -> None:
    told: Scenario = SCENARIOS[scenario]
    for rule, result in asked(engines(name))[0][scenario].items():
        within = name == "esql" and rule in told.within_a_grain
        cased = engines(name).cased and rule in told.missed_with_case
        assert result == ("within its grain" if within else "as its case tells" if cased else "agrees")


@pytest.mark.parametrize("name", CORRELATING)
def test_generated(name: str, engines: EngineOf) -> None:
    for events, results in asked(engines(name))[1]:
        for rule, result in results.items():
            assert result in ("agrees", "within its grain", "as its case tells"), (rule, events)


@pytest.mark.parametrize("name", CORRELATING)
def test_a_correlation_of_another_group_and_count(name: str, engines: EngineOf, tmp_path: Path) -> None:
    path = written(counting_names(["userIdentity.arn", "sourceIPAddress"], "5m"), tmp_path)
    conversion = engines(name).converted(rules=[path])
    one_each = [denied(i, 0, name=f"List{i}", sourceIPAddress=f"198.51.100.{i}") for i in range(3)]
    [found] = engines(name).found(conversion, one_each).values()
    assert found == []
    events = [*one_each, denied(299, 1, name="ListX", sourceIPAddress="198.51.100.0")]
    [found] = engines(name).found(conversion, events).values()
    assert found == [f"{MALLORY} 198.51.100.0"]


@pytest.mark.parametrize("name", CORRELATING)
def test_column(name: str, engines: EngineOf) -> None:
    """What came of the scenarios on an engine is what its column of the page says."""
    engine = engines(name)
    cells, differing = {}, list[str]()
    for rule in sorted({*engine.pack.queries, *engine.unsupported}):
        if rule in engine.unsupported:
            cells[rule] = "not converted"
            continue
        results = {scenario: found[rule] for scenario, found in asked(engine)[0].items()}
        others = {scenario: result for scenario, result in results.items() if result != "agrees"}
        agree = f"{len(SCENARIOS) - len(others)} agree"
        cells[rule] = f"{agree}, {len(others)} differ" if others else agree
        differing += [f"- *{scenario}*, {engine.name}: {result} ({rule})." for scenario, result in others.items()]
    columns, differs = table()
    ours = [line for line in differs if f"*, {engine.name}: " in line]
    if os.environ.get("KEYWATCH_WRITE_GOLDEN"):
        others_differ = [line for line in differs if line not in ours]
        write_table(columns | {engine.name: cells}, sorted([*others_differ, *differing]))
    else:
        assert columns[engine.name] == cells
        assert ours == sorted(differing)


def test_the_page_has_a_column_an_engine_and_names_the_scenarios() -> None:
    columns, differs = table()
    assert len(columns) == len(CORRELATING)
    assert {*differs} == {line for line in differs for name in columns if f"*, {name}: " in line}
    if os.environ.get("KEYWATCH_WRITE_GOLDEN"):
        write_table(columns, differs)
    page = PAGE.read_text(encoding="utf-8")
    assert page[page.index("The scenarios:\n\n") :].partition(_END)[0].splitlines()[2:] == numbered()


def table() -> tuple[dict[str, dict[str, str]], list[str]]:
    """Return what the page says: engine → rule → cell, and the lines of what differs."""
    lines = PAGE.read_text(encoding="utf-8").partition(_BEGIN)[2].partition(_END)[0].splitlines()
    [_, *names], _, *rows = (cells_in(line) for line in lines if line.startswith("|"))
    columns = {name: {row[0]: row[number] for row in rows} for number, name in enumerate(names, 1)}
    return columns, [line for line in lines if line.startswith("- ")]


def cells_in(line: str) -> list[str]:
    r"""Return the cells of a line; a bar inside of one, as in ES|QL, stands as \|."""
    return [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def write_table(columns: dict[str, dict[str, str]], differs: list[str]) -> None:
    names = [name.replace("|", "\\|") for name in columns]
    lines = [f"| Rule | {' | '.join(names)} |", f"|---|{'---|' * len(columns)}"]
    for rule in sorted({rule for cells in columns.values() for rule in cells}):
        lines.append(f"| {rule} | {' | '.join(cells.get(rule, '') for cells in columns.values())} |")
    lines += ["", "Differs:", "", *differs, "", "The scenarios:", "", *numbered()]
    page = PAGE.read_text(encoding="utf-8")
    before, after = page.partition(_BEGIN)[0], page.partition(_END)[2]
    PAGE.write_text("\n".join([f"{before}{_BEGIN}", *lines, f"{_END}{after}"]), encoding="utf-8")


def numbered() -> list[str]:
    return [f"{number}. {name}" for number, name in enumerate(SCENARIOS, 1)]
