"""Events for other people's rules: one that a rule is made to match, and near misses."""

from __future__ import annotations

import re
from copy import deepcopy
from ipaddress import ip_network
from itertools import combinations
from typing import Any

import oracle
from events import record

Event = dict[str, Any]
Document = dict[str, Any]


def events_for(rule: Document) -> list[Event]:
    """Return events around a rule: the first matches it.

    :raises AssertionError: if none is found that does.
    """
    detection = {name: test for name, test in rule["detection"].items() if name != "condition"}
    tried = []
    for size in range(1, len(detection) + 1):
        for names in combinations(detection, size):
            event = _event()
            for name in names:
                _fill(event, detection[name])
            tried.append(event)
    matching = next((event for event in tried if oracle.matches(rule, event)), None)
    assert matching is not None, f"no event found for {rule['title']}"
    return [matching, *(_numbered(event) for event in [*tried[:8], *_misses(matching)])]


def _event() -> Event:
    return record(0, "us-east-1", "Something", "thing.amazonaws.com")


def _numbered(event: Event) -> Event:
    return deepcopy(event) | {"eventID": _event()["eventID"]}


def _misses(event: Event) -> list[Event]:
    """Return the event without each field that the rule asks for, and with each changed."""
    found = []
    plain = set(_leaves(_event()))
    for path in [path for path, value in _leaves(event) if (path, value) not in plain and path != ("eventID",)]:
        for change in ("x",) if path == ("eventName",) else (None, "x"):  # a record has a name
            changed = deepcopy(event)
            inside = changed
            for key in path[:-1]:
                inside = inside[key]
            value = inside.pop(path[-1])
            if change and isinstance(value, str):
                inside[path[-1]] = value[:1] + change + value[1:]
            found.append(changed)
    return found


def _leaves(value: Event, before: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], str]]:
    return [
        leaf
        for key, item in value.items()
        for leaf in (
            _leaves(item, (*before, key)) if isinstance(item, dict) and item else [((*before, key), str(item))]
        )
    ]


def _fill(event: Event, test: Any) -> None:
    """Put into an event what a selection asks for."""
    for key, wanted in (test[0] if isinstance(test, list) else test).items():
        name, *modifiers = key.split("|")
        options = wanted if isinstance(wanted, list) else [wanted]
        if "all" in modifiers:
            value: Any = " ".join(str(_example(option, modifiers)) for option in options)
        else:
            value = _example(options[0], modifiers)
        if "fieldref" in modifiers:
            _put(event, value.split("."), "the same")
            value = "the same"
        _put(event, name.split("."), value)


def _put(event: Event, path: list[str], value: Any) -> None:
    *outer, last = path
    for key in outer:
        if not isinstance(event.get(key), dict):
            event[key] = {}
        event = event[key]
    if value is None:
        event.pop(last, None)
    elif not outer and last in ("requestParameters", "responseElements", "additionalEventData"):
        event[last] = (event.get(last) or {}) | {"text": value}
    else:
        event[last] = value


def _example(value: Any, modifiers: list[str]) -> Any:
    if "exists" in modifiers:
        return "anything" if value else None
    if "re" in modifiers:
        return _matching(re._parser.parse(value))  # type: ignore[attr-defined]
    if "cidr" in modifiers:
        return str(ip_network(value)[0])
    if not isinstance(value, str):
        return value
    text = value.replace("*", "any").replace("?", "q")
    return (text + "x" if {"contains", "startswith"} & set(modifiers) else text) or None


def _matching(tokens: Any) -> str:
    """Return a text that a regular expression matches, for what such rules have in theirs."""
    text = ""
    for kind, value in tokens:
        name = str(kind)
        if name == "LITERAL":
            text += chr(value)
        elif name == "IN":
            text += _matching(value[:1])
        elif name == "RANGE":
            text += chr(value[0])
        elif name == "ANY":
            text += "a"
        elif name == "CATEGORY":
            text += "0" if str(value).endswith("DIGIT") else "a"
        elif name.endswith("REPEAT"):
            text += _matching(value[2]) * max(value[0], 1)
        elif name == "SUBPATTERN":
            text += _matching(value[-1])
        elif name == "BRANCH":
            text += _matching(value[1][0])
        else:
            assert name == "AT", name
    return text
