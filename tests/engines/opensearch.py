"""A real OpenSearch node with CloudTrail's records as they are, and monitors run as the Alerting plugin runs them.

The plugin itself is not published; the node has its library, with the aggregation that a trigger's condition is.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain, count
from typing import Any

from engines import Event, Indexed, Kept, Row, time_of
from engines.node import Node, started
from programs import maven

#: The plugin's own parser of monitors.
PARSER = "opensearch_monitor"
INDEX = "cwl-keywatch*"
_RANGES = {"gte": min, "lte": max}
#: CloudTrail writes the marker as a boolean, so an index has it as one, and takes no other text than these for it.
_MAPPINGS = {"properties": {"additionalEventData.callWithBearerToken": {"type": "boolean"}}}
_BOOLEANS = {"true": True, "false": False}


class Cluster(Node, Kept):
    """An OpenSearch node with CloudTrail. Of the fields' types nothing else is said than what _MAPPINGS says."""

    #: How many indices there are.
    _days = 0

    def clear(self) -> None:
        """Delete the indices."""
        self.call("DELETE", f"/{INDEX}")
        self._days = 0

    def add(self, events: list[Event]) -> None:
        """Add records. A field is of the type that it first had: an event that has another goes to the next index."""
        settings = {"number_of_shards": 3, "number_of_replicas": 0}  # what is counted must be put together again
        wanted, days = [*map(_stored, events)], count()
        while wanted:
            day = next(days)
            index = INDEX.replace("*", f"-{day}")
            if new := day == self._days:
                self.call("PUT", f"/{index}", {"settings": settings, "mappings": _MAPPINGS})
                self._days += 1
            refused = self.fill(index, iter(wanted))
            assert not new or len(refused) < len(wanted), "an index takes none of the events"
            wanted = refused


class OpenSearch(Indexed):
    """The monitors, over all events at once."""

    name = "OpenSearch's monitors on OpenSearch"
    target = "opensearch"

    def __init__(self, node: Cluster) -> None:
        """Take a node."""
        self.node = self.kept = node

    def over(self, query: dict[str, Any], events: list[Event]) -> list[Row]:
        """Run a monitor over the time from the first to the last event."""
        times = [*map(time_of, events)]
        text = json.dumps(query)
        [bounds] = [
            f["range"]["eventTime"]
            for f in monitor_search(query)["query"]["bool"]["filter"]
            if "eventTime" in f.get("range", {})
        ]
        for name, extreme in _RANGES.items():
            text = text.replace(json.dumps(bounds[name]), str(int(extreme(times) * 1000)))
        monitor = json.loads(text)
        parts = monitor_search(monitor)["aggregations"]["principals"]["aggregations"]
        if "event_count" not in parts:
            return run(self.node, monitor)
        # An alert has all events of its principal, and shows ten of them: here, a row for each.
        parts["eventID"]["terms"]["size"] = len(events)
        return [row | {"eventID": event} for row in run(self.node, monitor) for event in row["eventID"]]


def _stored(event: dict[str, Any]) -> dict[str, Any]:
    """Return an event as the index takes it."""
    more = event.get("additionalEventData")
    if not isinstance(more, dict) or not isinstance(marker := more.get("callWithBearerToken"), str):
        return event
    return event | {"additionalEventData": more | {"callWithBearerToken": _BOOLEANS.get(marker.lower())}}


def monitor_search(monitor: dict[str, Any]) -> dict[str, Any]:
    """Return the search of a monitor."""
    [source] = monitor["inputs"]
    search: dict[str, Any] = source["search"]["query"]
    return search


def run(node: Node, monitor: dict[str, Any], period_end: float | None = None) -> list[dict[str, Any]]:
    """Run a monitor as the plugin does: page by page, the trigger's condition as an aggregation beside the buckets.

    :param period_end: Unix time that stands in the search as a variable.
    :return: the buckets that are alerts, the values of their keys and evidence under the names that they have.
    """
    text = json.dumps(monitor_search(monitor))
    if period_end is not None:
        text = text.replace('"{{period_end}}"', str(int(period_end * 1000)))
        text = text.replace("{{period_end}}", str(int(period_end * 1000)))
    search = json.loads(text)
    [trigger] = (trigger["bucket_level_trigger"] for trigger in monitor["triggers"])
    [(name, buckets)] = search["aggregations"].items()
    search["aggregations"]["condition"] = {"bucket_selector_ext": trigger["condition"]}
    alerts: list[dict[str, Any]] = []
    while True:
        answer = node.call("POST", f"/{INDEX}/_search", search)
        assert answer["_shards"]["failed"] == 0, answer["_shards"]
        page = answer["aggregations"][name]
        alerts += (_row(page["buckets"][index]) for index in answer["aggregations"]["condition"]["bucket_indices"])
        if "after_key" not in page:
            return alerts
        buckets["composite"]["after"] = page["after_key"]


def _row(bucket: dict[str, Any]) -> dict[str, Any]:
    row: dict[str, Any] = {"event_count": bucket["doc_count"]} | bucket["key"]
    for name, value in bucket.items():
        if isinstance(value, dict) and "buckets" in value:
            row[name] = sorted(chain.from_iterable(map(_written, value["buckets"])))
        elif isinstance(value, dict) and "value" in value:
            row[name] = value.get("value_as_string", value["value"])
    return row


def _written(bucket: dict[str, Any]) -> list[Any]:
    """Return the key of a bucket; of a Region, the texts that other engines have of how its calls ended."""
    if "ended" not in bucket:
        return [bucket["key"]]
    return [
        f"{bucket['key']} {one['key']}: {one['doc_count']} "
        f"({one['first_seen']['value_as_string']} to {one['last_seen']['value_as_string']})"
        for one in bucket["ended"]["buckets"]
    ]


@contextmanager
def running() -> Iterator[Cluster]:
    """Start a node, and stop it."""
    classes = maven.build("opensearch_node")
    with started(classes, "LocalOpenSearch", "LOCAL_OPENSEARCH_STARTED") as url:
        yield Cluster(url)
