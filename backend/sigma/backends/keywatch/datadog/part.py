"""What a rule adds to a rule in Datadog, and which rules are one there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb
from string import ascii_lowercase
from typing import Any

from sigma.backends.keywatch._conditions import condition_over_rules
from sigma.backends.keywatch._correlation import Correlation, Rule
from sigma.exceptions import SigmaFeatureNotSupportedByBackendError
from sigma.pipelines.keywatch._pack import GUIDE, Guide

#: Seconds that evaluationWindow, keepAlive and maxSignalDuration can be.
WINDOWS = (0, 60, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400)
_PRINCIPAL, _EVENT = "@userIdentity.arn", "@eventID"
#: Names of queries are single letters. A case that needs some of several rules says each way to choose them.
_MOST_QUERIES, _MOST_WAYS = len(ascii_lowercase), 20
#: "Create a Real-Time Rule" in Datadog's documentation.
_MOST_CASES = 10
#: Rules in a chain, and the window in seconds in which a step is looked for: that of the example to which Datadog's API
#: answers 200 (features/v2/security_monitoring.feature of datadog-api-client-python).
_IN_ORDER, _STEP = 2, 60


@dataclass(frozen=True)
class Part:
    """What a rule adds to the rule in Datadog: queries, and a case."""

    rule: Rule
    window: int
    queries: list[dict[str, Any]]

    @property
    def guide(self) -> Guide | None:
        """The guide of the rule, which names the detection that it belongs to."""
        return self.rule.custom_attributes.get(GUIDE)

    @property
    def in_order(self) -> bool:
        """Whether the queries have to find something one after the other."""
        correlation = Correlation.of(self.rule)
        return correlation is not None and correlation.type == "temporal_ordered"

    def condition(self, names: Sequence[str]) -> str:
        """Write what must be true of the numbers that the queries give.

        :param names: those of the queries, in their order.
        """
        correlation = Correlation.of(self.rule)
        if correlation is not None and not correlation.over_rules:
            return f"{names[0]} >= {correlation.least}"
        met = [f"{name} > 0" for name in names]
        if self.in_order:
            return f"{_step(names[-1])} > 0"
        if correlation is None:
            return met[0]
        if over_rules := condition_over_rules(correlation, met, "&&", "||"):
            return over_rules
        ways = [" && ".join(some) for some in combinations(met, correlation.enough)]
        return ways[0] if len(ways) == 1 else " || ".join(f"({way})" for way in ways)

    def method(self, names: Sequence[str]) -> dict[str, Any]:
        """Return how Datadog evaluates the rule.

        :param names: those of the queries, in their order.
        """
        if not self.in_order:
            return {"detectionMethod": "threshold", "evaluationWindow": self.window}
        steps = [{"name": _step(name), "condition": f"{name} > 0", "evaluationWindow": _STEP} for name in names]
        parent, child = (step["name"] for step in steps)
        order = {"parent": parent, "child": child, "evaluationWindow": self.window}
        return {
            "detectionMethod": "sequence_detection",
            "evaluationWindow": 0,
            "sequenceDetectionOptions": {"steps": steps, "stepTransitions": [order]},
        }


def part(rule: Rule, queries: Sequence[str]) -> Part:
    """Return what a rule adds to the rule in Datadog.

    :param queries: the search for its events; one for each rule where it matters which of them they match.
    :raises SigmaFeatureNotSupportedByBackendError: for a window that Datadog does not have.
    """
    logs: list[dict[str, Any]] = [
        {"query": f"source:cloudtrail ({query})", "dataSource": "logs", "aggregation": "count", "distinctFields": []}
        for query in queries
    ]
    correlation = Correlation.of(rule)
    if correlation is None:
        # No event is left out because nobody is named in it.
        more = {"groupByFields": [_PRINCIPAL], "hasOptionalGroupByFields": True}
        return Part(rule, 300, [log | more for log in logs])
    if correlation.window not in WINDOWS[1:]:
        raise SigmaFeatureNotSupportedByBackendError(
            f"rule '{rule.title}': Datadog has no window of {correlation.rule.timespan.spec}; choose from (seconds): "
            f"{', '.join(map(str, WINDOWS[1:]))}",
            source=rule.source,
        )
    if correlation.type == "temporal_ordered" and len(logs) != _IN_ORDER:
        raise SigmaFeatureNotSupportedByBackendError(
            f"rule '{rule.title}': a sequence in Datadog has no window for the whole of it, so a chain has {_IN_ORDER} "
            "rules there",
            source=rule.source,
        )
    if len(logs) > _MOST_QUERIES or (correlation.over_rules and comb(len(logs), correlation.enough) > _MOST_WAYS):
        raise SigmaFeatureNotSupportedByBackendError(
            f"rule '{rule.title}': a case in Datadog has no form for {correlation.enough} of {len(logs)} rules",
            source=rule.source,
        )
    more = {"groupByFields": list(correlation.group), "hasOptionalGroupByFields": False}
    if not correlation.over_rules:
        # An event counts once, however often it was delivered.
        more |= {"aggregation": "cardinality", "distinctFields": [correlation.counted or _EVENT]}
    return Part(rule, correlation.window, [log | more for log in logs])


def grouped(parts: Iterable[tuple[str, Part]]) -> dict[str, list[Part]]:
    """Put together what is one rule in Datadog: the rules of a detection, as far as they have the same window.

    :param parts: each with a name for the case that it belongs to no detection.
    :return: name → the parts of a rule.
    """
    groups: dict[str, list[Part]] = {}
    for rule, one in parts:
        name = one.guide.detection if one.guide and not one.in_order else str(one.rule.name or rule)
        if name in groups and groups[name][0].window != one.window:
            name = f"{name}_{one.window}s"
        base, number = name, 1
        while not _has_place(groups.get(name, []), one):
            number += 1
            name = f"{base}_{number}"
        groups.setdefault(name, []).append(one)
    return groups


def _has_place(group: Sequence[Part], one: Part) -> bool:
    queries = sum(len(part.queries) for part in group) + len(one.queries)
    return len(group) < _MOST_CASES and queries <= _MOST_QUERIES


def _step(name: str) -> str:
    return f"step_{name}"
