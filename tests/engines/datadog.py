"""Datadog's log search, executed with the grammar that Datadog publishes, and its rules as its documentation says."""

from __future__ import annotations

import json
import re
import subprocess
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

from engines import Engine, time_of, value_of
from keywatch.conversion.convert import Conversion
from programs import rust

_RENAMED = {
    "eventName": ("evt", "name"),
    "errorCode": ("error", "kind"),
    "sourceIPAddress": ("network", "client", "ip"),
    "userAgent": ("http", "useragent"),
}


class Datadog(Engine):
    """The rules as they are sent to Datadog, over the events as logs.

    A rule of single events is found by its logs. A correlation counts distinct values in the window that ends with a
    log, both ends included: the documentation says that the window slides, and not whether its far end is inside.
    """

    name = "Datadog's search, and its rules as documented"
    target = "datadog"
    by_window = True
    cased = True

    def alerts(self, conversion: Conversion, events: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
        """Evaluate the cases of all rules."""
        logs = [stored(event) for event in events]
        payloads = [payload for group in payloads_of(conversion).values() for payload in group]
        queries = [query["query"] for payload in payloads for query in payload["queries"]]
        hits = iter(search(queries, logs))
        names = {rule.title: name for name, rule in conversion.rules.items()}
        found: dict[str, list[dict[str, Any]]] = {}
        for payload in payloads:
            matched = {query["name"]: (query, [logs[hit] for hit in next(hits)]) for query in payload["queries"]}
            for case in payload["cases"]:
                options = payload["options"]
                if "sequenceDetectionOptions" in options:
                    found[names[case["name"]]] = _in_order(matched, options["sequenceDetectionOptions"])
                    continue
                used = {name: matched[name] for name in re.findall(r"\b([a-z])\b", case["condition"])}
                found[names[case["name"]]] = _signals(used, case["condition"], options["evaluationWindow"])
        return found


def payloads_of(conversion: Conversion) -> dict[str, list[dict[str, Any]]]:
    """Return for each file of the format `rule` the JSON documents in it."""
    found = {}
    for path, content in conversion.backend.artefacts(conversion.queries, "rule").items():
        text, documents = content.decode(), []
        while text.strip():
            document, end = json.JSONDecoder().raw_decode(text.lstrip())
            documents.append(document)
            text = text.lstrip()[end:]
        found[path.removesuffix(".json")] = documents
    return found


def _in_order(queries: dict[str, tuple[dict[str, Any], list[dict[str, Any]]]], options: Any) -> list[dict[str, Any]]:
    """Return the groups in which a step follows another within the window of the way from one to the other."""
    [way] = options["stepTransitions"]
    steps = {step["name"]: step["condition"].removesuffix(" > 0") for step in options["steps"]}
    (query, first), (_, then) = (queries[steps[way[name]]] for name in ("parent", "child"))
    names = [field.removeprefix("@") for field in query["groupByFields"]]

    def at(log: dict[str, Any]) -> tuple[tuple[Any, ...], float]:
        return tuple(value_of(log, name) for name in names), time_of(log)

    met: dict[tuple[Any, ...], list[float]] = defaultdict(list)
    ends = [*map(at, then)]
    for group, begin in map(at, first):
        for other, end in ends:
            if group == other and all(group) and 0 <= end - begin <= way["evaluationWindow"]:
                met[group].append(end)
    return _opened(names, met, way["evaluationWindow"])


def _opened(names: list[str], met: dict[tuple[Any, ...], list[float]], window: int) -> list[dict[str, Any]]:
    """Return for each group the signals that are opened: where it is met, and was not within the window before."""
    rows = []
    for group, times in sorted(met.items()):
        last = float("-inf")
        for time in sorted(times):
            if time - last > window:
                rows.append({"time": time, **dict(zip(names, group, strict=True))})
            last = time
    return rows


def _signals(
    queries: dict[str, tuple[dict[str, Any], list[dict[str, Any]]]], condition: str, window: int
) -> list[dict[str, Any]]:
    """Return the groups of which the condition is true in the window that ends with a log; of single events, those.

    :param queries: name → a query, and the logs that it finds.
    """
    [(first, logs), *_] = queries.values()
    if first["hasOptionalGroupByFields"]:
        return [{"time": log["eventTime"], "eventID": log["eventID"]} for log in logs]
    said = re.sub(r"&&", " and ", condition).replace("||", " or ")
    assert re.fullmatch(r"(?:[a-z]|>=|>|\d+|and|or|[()\s])+", said), condition
    groups: dict[tuple[str, ...], list[tuple[float, str, str]]] = defaultdict(list)
    for name, (query, found) in queries.items():
        for log in found:
            fields = [field.removeprefix("@") for field in (*query["distinctFields"], *query["groupByFields"])]
            values = [value_of(log, field) for field in fields]
            counted = values.pop(0) if query["distinctFields"] else log["eventID"]
            if counted and all(values):
                groups[tuple(values)].append((time_of(log), name, counted))
    names = [field.removeprefix("@") for field in first["groupByFields"]]
    met = {group: [*_times_met(said, [*queries], sorted(logged), window)] for group, logged in groups.items()}
    return _opened(names, met, window)


def _times_met(condition: str, names: list[str], logs: list[tuple[float, str, str]], window: int) -> Iterator[float]:
    """Yield the times at which a condition is true of the numbers of distinct values in the window that ends there."""
    first = 0
    counts: dict[str, Counter[str]] = {name: Counter() for name in names}
    for number, (time, name, value) in enumerate(logs):
        counts[name][value] += 1
        while logs[first][0] < time - window:
            _, old, gone = logs[first]
            counts[old][gone] -= 1
            first += 1
        last_of_its_time = number + 1 == len(logs) or logs[number + 1][0] > time
        if last_of_its_time and eval(condition, {}, {one: len(+counts[one]) for one in names}):
            yield time


def stored(event: dict[str, Any]) -> dict[str, Any]:
    """Return a record as Datadog's pipeline for CloudTrail leaves it.

    What an empty text is to `@name:*` is not documented; it is taken for nothing here.
    """
    log: dict[str, Any] = {"source": "cloudtrail"}
    for name, value in event.items():
        *outer, last = _RENAMED.get(name, (name,))
        inside = log
        for part in outer:
            inside = inside.setdefault(part, {})
        inside[last] = _without_empty(value)
    return log


def _without_empty(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_empty(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_empty(item) for item in value]
    return None if value == "" else value


def search(queries: list[str], logs: list[dict[str, Any]]) -> list[list[int]]:
    """Return for each query the numbers of the logs that it finds.

    :raises AssertionError: for a query that can't be parsed.
    """
    lines = "\n".join([json.dumps(queries), *map(json.dumps, logs)])
    result = subprocess.run([rust.search()], input=lines, capture_output=True, text=True, check=True)
    answers = [json.loads(line) for line in result.stdout.splitlines()]
    wrong = [answer["error"] for answer in answers if isinstance(answer, dict)]
    assert not wrong, wrong
    return answers
