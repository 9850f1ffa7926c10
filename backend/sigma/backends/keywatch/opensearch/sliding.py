"""The exact window in OpenSearch: a scripted metric.

It keeps, for each counted value, the times that matter, and slides a window over them: the largest number of distinct
values in a window that ends with an event. A time whose neighbours on both sides are in one window is left out as soon
as it is seen (map.painless): every window that holds it holds one of them. Numbers stand in params, since OpenSearch
compiles 75 different scripts in 5 minutes.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from sigma.backends.keywatch._correlation import Correlation

Json = dict[str, Any]
#: What tells one event from another, however often it was delivered.
EVENT = "eventID.keyword"


def most_values(correlation: Correlation, time: str) -> Json:
    """Return the aggregation that gives the most distinct values, or events, in any window of a group.

    :param time: the field that holds the events' time.
    """
    return {
        "scripted_metric": {
            "params": {"time": time, "field": correlation.counted or EVENT, "window": correlation.window * 1000},
            "init_script": "state.times = new HashMap();",
            "map_script": _script("map"),
            "combine_script": _script("combine"),
            "reduce_script": _script("reduce"),
        }
    }


#: Correlation type → the aggregation.
METRICS = {"value_count": most_values, "event_count": most_values}


@cache
def _script(name: str) -> str:
    return " ".join(Path(__file__).with_name(f"{name}.painless").read_text(encoding="utf-8").split())
