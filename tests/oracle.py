"""Who must be found, in plain Python: from the rule files, Sigma's matching, and what a sliding value_count means.

It shares no code with the backends or with pySigma; it is slow and short on purpose.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections import defaultdict
from datetime import datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import yaml

Event = dict[str, Any]
Document = dict[str, Any]


def load(folder: Path) -> dict[str, Document]:
    """Read rule files, keyed by rule name."""
    documents = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted(folder.rglob("*.yml"))]
    return {document["name"]: document for document in documents}


def value_of(event: Event, name: str) -> str | None:
    """Return a field as text: JSON's true and false, numbers as written, None where it is missing or null."""
    value: Any = event
    for part in name.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value if value is None or isinstance(value, str) else json.dumps(value)


def matches(rule: Document, event: Event) -> bool:
    """Tell whether a rule matches an event."""
    detection = rule["detection"]
    found = {name: _selection(test, event) for name, test in detection.items() if name != "condition"}

    def quantified(match: re.Match[str]) -> str:
        hits = [hit for name, hit in found.items() if fnmatchcase(name, match[2])]
        return str(any(hits) if match[1] == "1" else all(hits))

    expression = re.sub(r"\b(1|all) of ([\w*]+)", quantified, detection["condition"])
    words = re.sub(r"\b(?!and\b|or\b|not\b|True\b|False\b)[a-z_]\w*", lambda m: str(found[m[0]]), expression)
    assert not set(words.split()) - {"and", "or", "not", "True", "False", "(", ")"}
    return bool(eval(words))


def crossings(
    correlation: Document, rules: dict[str, Document], events: list[Event], slack: int = 0
) -> dict[str, list[float]]:
    """Return, for each group, the times at which a window of W (+ slack) seconds that ends there crosses the threshold.

    A group is named by the values of its fields. An empty string is no value.
    """
    spec = correlation["correlation"]
    window = seconds(spec["timespan"]) + slack
    groups: dict[str, list[tuple[float, str]]] = defaultdict(list)
    for event in events:
        value, *group = (value_of(event, name) or "" for name in (spec["condition"]["field"], *spec["group-by"]))
        if value and all(group) and any(matches(rules[name], event) for name in spec["rules"]):
            groups[" ".join(group)].append((datetime.fromisoformat(event["eventTime"]).timestamp(), value))
    return {
        group: ends
        for group, seen in groups.items()
        if (
            ends := sorted(
                end
                for end, _ in seen
                if len({value for time, value in seen if end - window <= time <= end}) >= spec["condition"]["gte"]
            )
        )
    }


def seconds(timespan: str) -> int:
    """Return the length of a timespan."""
    return int(timespan[:-1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[timespan[-1]]


def cased(document: Document) -> Document:
    """Return a rule as a target means it that compares with regard to case."""
    if "detection" not in document:
        return document
    detection = {
        name: {f"{key}|cased": value for key, value in test.items()} if isinstance(test, dict) else test
        for name, test in document["detection"].items()
    }
    return document | {"detection": detection}


def _selection(test: dict[str, Any], event: Event) -> bool:
    return all(_item(key, wanted, event) for key, wanted in test.items())


def _item(key: str, wanted: Any, event: Event) -> bool:
    name, *modifiers = key.split("|")
    value = value_of(event, name)
    return any(_equal(option, value, modifiers) for option in (wanted if isinstance(wanted, list) else [wanted]))


def _equal(wanted: Any, value: str | None, modifiers: list[str]) -> bool:
    if wanted is None or value is None:
        return wanted is None and value is None
    if "cidr" in modifiers:
        try:
            return ipaddress.ip_address(value) in ipaddress.ip_network(wanted)
        except ValueError:
            return False
    if not isinstance(wanted, str):
        return value.lower() == json.dumps(wanted)
    pattern = _regex(wanted)
    if "startswith" in modifiers or "contains" in modifiers:
        pattern += ".*"
    if "endswith" in modifiers or "contains" in modifiers:
        pattern = ".*" + pattern
    if "cased" in modifiers:
        return re.fullmatch(pattern, value, re.DOTALL) is not None
    return re.fullmatch(_lower(pattern), _lower(value), re.DOTALL) is not None


def _lower(text: str) -> str:
    """Return a text in lower case, letter by letter: re.IGNORECASE takes ı for i, and ſ for s."""
    return "".join(map(str.lower, text))


def _regex(text: str) -> str:
    parts = re.findall(r"\\[\\*?]|[\s\S]", text)
    return "".join({"*": ".*", "?": "."}.get(part) or re.escape(part[1:] if len(part) > 1 else part) for part in parts)
