"""The exact window in OpenSearch: a scripted metric.

It keeps, for each counted value, the times that matter, and slides a window over them: the largest number of distinct
values in a window that ends with an event. A time whose neighbours on both sides are in one window is left out as soon
as it is seen (map.painless): every window that holds it holds one of them. Numbers stand in params, since OpenSearch
compiles 75 different scripts in 5 minutes.
"""

from __future__ import annotations

from functools import cache, reduce
from itertools import chain, product
from operator import or_
from pathlib import Path
from typing import Any

from sigma.backends.keywatch._conditions import folded
from sigma.backends.keywatch._correlation import Correlation

Json = dict[str, Any]
#: What tells one event from another, however often it was delivered.
EVENT = "eventID.keyword"
#: What the name of a field ends in that is compared as a whole.
KEYWORD = ".keyword"


def most_values(correlation: Correlation, time: str) -> Json:
    """Return the aggregation that gives the most distinct values, or events, in any window of a group.

    :param time: the field that holds the events' time.
    """
    parts = list(correlation.parts)
    params = {"time": time, "field": parts or correlation.counted or EVENT, "window": correlation.window * 1000}
    return _metric(params, _TIMES, ("map_fields" if parts else "map_field", "map"), "combine", "reduce")


def most_rules(correlation: Correlation, time: str) -> Json:
    """Return the aggregation that gives the most rules that match in any window of a group.

    Where there is a condition over them, it gives the number of all if the condition holds in some window.
    """
    params, maps = _of_rules(correlation, time), ("map_rules", "map")
    bits = [[1 << number] for number in range(len(correlation.rules))]
    wanted = folded(correlation, bits, _both, lambda args: [*chain.from_iterable(args)])
    if wanted is None:
        return _metric(params, _TIMES, maps, "combine", "reduce")
    return _metric(params | {"wanted": wanted}, _TIMES, maps, "combine", "reduce_rules")


def chained(correlation: Correlation, time: str) -> Json:
    """Return the aggregation that gives the number of the rules if they match one after the other in some window."""
    codes = "state.codes = new ArrayList();"
    return _metric(_of_rules(correlation, time), codes, ("map_rules", "map_chain"), "combine_chain", "reduce_chain")


def measured(correlation: Correlation, time: str) -> Json:
    """Return the aggregation that gives the largest sum, or mean, of what the events in a window of a group have."""
    field = correlation.counted or ""
    params = {
        "time": time,
        "id": EVENT,
        # A number has no keyword under it.
        "fields": [field.removesuffix(KEYWORD), field] if field.endswith(KEYWORD) else [field],
        "window": correlation.window * 1000,
        "mean": correlation.type == "value_avg",
    }
    return _metric(params, "state.measured = new HashMap();", ("map_measure",), "combine_measure", "reduce_measure")


#: Correlation type → the aggregation.
METRICS = {
    "value_count": most_values,
    "event_count": most_values,
    "value_sum": measured,
    "value_avg": measured,
    "temporal": most_rules,
    "temporal_extended": most_rules,
    "temporal_ordered": chained,
}
_TIMES = "state.times = new HashMap();"
#: A score is a float of 24 bits.
MOST_RULES = 24


def scored(queries: list[Json]) -> Json:
    """Return the query of several rules. The score of an event says which it matches, a bit a rule.

    An aggregation knows nothing else of what a query found, and the score is what its script may read.
    """
    bits = [{"constant_score": {"filter": query, "boost": 1 << number}} for number, query in enumerate(queries)]
    return {"bool": {"should": bits, "minimum_should_match": 1}}


def _of_rules(correlation: Correlation, time: str) -> Json:
    rules = len(correlation.rules)
    return {"time": time, "rules": rules, "enough": correlation.enough, "window": correlation.window * 1000}


def _both(args: list[list[int]]) -> list[int]:
    """Return the sets of rules, as bits, of which all have to match so that all of several conditions hold."""
    return [reduce(or_, bits) for bits in product(*args)]


def _metric(params: Json, init: str, maps: tuple[str, ...], combine: str, reduced: str) -> Json:
    return {
        "scripted_metric": {
            "params": params,
            "init_script": init,
            "map_script": " ".join(map(_script, maps)),
            "combine_script": _script(combine),
            "reduce_script": _script(reduced),
        }
    }


@cache
def _script(name: str) -> str:
    return " ".join(Path(__file__).with_name(f"{name}.painless").read_text(encoding="utf-8").split())
