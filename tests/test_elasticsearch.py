"""The generated ES|QL, exactly as it stands in the Kibana rules, on a real node."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest

import oracle
from engines.elastic import Node
from events import Scenario, scenarios
from keywatch.convert import convert
from keywatch.pack import PACK
from keywatch.rules import load_pack
from keywatch.settings import load_settings
from keywatch.targets import TARGETS

RULES = oracle.load(PACK)


def kibana_rules() -> dict[str, dict[str, Any]]:
    settings = load_settings(None)
    conversion = convert(load_pack([], [], settings), TARGETS["elasticsearch"], settings)
    assert not conversion.problems
    lines = {
        name: conversion.backend.finalize(queries, "kibana").splitlines()
        for name, queries in conversion.queries.items()
    }
    return {name: json.loads(line) for name, [line] in lines.items()}


KIBANA = kibana_rules()


def found(node: Node, events: list[dict[str, Any]]) -> dict[str, Counter[str]]:
    """Return who each rule finds, looking at all events at once."""
    node.load(events)
    field = "aws.cloudtrail.user_identity.arn"
    return {name: Counter(row[field] for row in node.query(rule["query"])) for name, rule in KIBANA.items()}


@pytest.mark.parametrize("scenario", list(scenarios()), ids=lambda scenario: scenario.name)
def test_scenario(scenario: Scenario, elasticsearch: Node) -> None:
    got = found(elasticsearch, scenario.events)
    for name, who in got.items():
        wanted = Counter(scenario.found.get(name, []))
        if name.startswith("correlation_"):  # a row a principal
            assert set(who) == set(wanted) | (set(who) & set(scenario.within_a_grain.get(name, [])))
        else:
            assert who == wanted
