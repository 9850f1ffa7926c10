"""Datadog's log search, executed with the grammar that Datadog publishes, and its rules as its documentation says."""

from __future__ import annotations

import json
import re
import subprocess
from collections import defaultdict
from datetime import datetime
from pathlib import Path
from typing import Any

from engines import Engine, programs, value_of
from keywatch.conversion.convert import Conversion

SOURCE = Path(__file__).parent / "datadog_search"
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
    cased = True

    def found(self, conversion: Conversion, events: list[dict[str, Any]]) -> dict[str, list[str]]:
        """Evaluate the cases of all rules."""
        logs = [stored(event) for event in events]
        payloads = [payload for group in payloads_of(conversion).values() for payload in group]
        queries = [query["query"] for payload in payloads for query in payload["queries"]]
        hits = iter(search(queries, logs))
        names = {rule.title: name for name, rule in conversion.rules.items()}
        found: dict[str, list[str]] = {}
        for payload in payloads:
            matched = {query["name"]: (query, [logs[hit] for hit in next(hits)]) for query in payload["queries"]}
            for case in payload["cases"]:
                condition = re.fullmatch(r"(\w+) (>=|>) (\d+)", case["condition"])
                assert condition
                query, log = matched[condition[1]]
                least = int(condition[3]) + (condition[2] == ">")
                found[names[case["name"]]] = _signals(query, log, payload["options"]["evaluationWindow"], least)
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


def _signals(query: dict[str, Any], logs: list[dict[str, Any]], window: int, least: int) -> list[str]:
    if query["aggregation"] == "count":
        return [log["eventID"] for log in logs]
    [distinct] = query["distinctFields"]
    seen: dict[tuple[str, ...], list[tuple[float, str]]] = defaultdict(list)
    for log in logs:
        names = [name.removeprefix("@") for name in (distinct, *query["groupByFields"])]
        value, *group = (value_of(log, name) for name in names)
        if value and all(group):
            seen[tuple(group)].append((datetime.fromisoformat(log["eventTime"]).timestamp(), value))
    return [" ".join(group) for group, values in seen.items() if _most(sorted(values), window) >= least]


def _most(values: list[tuple[float, str]], window: int) -> int:
    """Return the most distinct values in a window."""
    most, first = 0, 0
    counts: dict[str, int] = defaultdict(int)
    for time, value in values:
        counts[value] += 1
        while values[first][0] < time - window:
            counts[values[first][1]] -= 1
            first += 1
        most = max(most, sum(map(bool, counts.values())))
    return most


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


def missing() -> list[str]:
    """Return the programs that are needed and that are not there."""
    return programs.missing("cargo", "cc")


def search(queries: list[str], logs: list[dict[str, Any]]) -> list[list[int]]:
    """Return for each query the numbers of the logs that it finds.

    :raises AssertionError: for a query that can't be parsed.
    """
    lines = "\n".join([json.dumps(queries), *map(json.dumps, logs)])
    result = subprocess.run([program()], input=lines, capture_output=True, text=True, check=True)
    answers = [json.loads(line) for line in result.stdout.splitlines()]
    wrong = [answer["error"] for answer in answers if isinstance(answer, dict)]
    assert not wrong, wrong
    return answers


def program() -> Path:
    """Build the program that searches, once for each version of it."""
    sources = [SOURCE / "Cargo.toml", SOURCE / "Cargo.lock", SOURCE / "src" / "main.rs"]
    folder = programs.folder_for("datadog-search", sources)
    built = folder / "debug" / "search"
    if not built.exists():
        command = ["cargo", "build", "--locked", "--quiet", "--manifest-path", str(sources[0])]
        programs.run([*command, "--target-dir", str(folder)])
    return built
