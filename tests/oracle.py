"""Who must be found, in plain Python: from the rule files, Sigma's matching, and what its correlations mean.

It shares no code with the backends or with pySigma; it is slow and short on purpose. What the Sigma specification
leaves open is decided here:

- A path goes through lists, and a list of values has the value that is asked for if one of its elements does.
- null, an empty text, an empty list and an empty object are no values.
- The text of an object is its JSON without spaces, with the quotes in its texts as they are, not escaped.
"""

from __future__ import annotations

import base64
import ipaddress
import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import datetime
from fnmatch import fnmatchcase
from functools import cache, lru_cache
from itertools import chain
from pathlib import Path
from types import CodeType
from typing import Any

import yaml

Event = dict[str, Any]
Document = dict[str, Any]
#: A time, the name of a rule, a value.
Seen = tuple[float, str, str]


@cache
def load(folder: Path) -> dict[str, Document]:
    """Read rule files, keyed by rule name. Tests share what is read, and change nothing in it."""
    documents = [
        yaml.load(path.read_text(encoding="utf-8"), yaml.CSafeLoader) for path in sorted(folder.rglob("*.yml"))
    ]
    return {document["name"]: document for document in documents}


def value_of(event: Event, name: str) -> str | None:
    """Return a field that is no list as text; None where it is missing, null or empty."""
    return next(iter(values_of(event, name)), None)


def values_of(event: Event, name: str) -> list[str]:
    """Return what a field holds, as texts: JSON's true and false, numbers as written, objects as JSON."""
    return [text for value in _at(event, name.split(".")) if (text := _text(value))]


def _at(value: Any, path: list[str]) -> Iterator[Any]:
    while path and isinstance(value, dict):
        value, path = value.get(path[0]), path[1:]
    if isinstance(value, list):
        yield from chain.from_iterable(_at(element, path) for element in value)
    elif not path:
        yield value


def _text(value: Any) -> str:
    if value is None or value == {} or isinstance(value, str):
        return value or ""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.replace('\\"', '"') if isinstance(value, dict) else text


#: What tells whether an event meets a test.
Meets = Callable[[Event], bool]
Placeholders = dict[str, list[Any]]


def matches(rule: Document, event: Event, placeholders: Placeholders | None = None) -> bool:
    """Tell whether a rule matches an event. It is read once: nothing may change it after that.

    :param placeholders: the values that stand for %name% under the modifier expand.
    :raises AssertionError: for a keyword that is asked about: it names no field.
    """
    asked = id(rule), id(placeholders)
    if asked not in _RULES:
        # What is kept is not made anew elsewhere, so that no other rule gets its identity.
        _RULES[asked] = rule, placeholders, _rule(rule["detection"], placeholders or {})
    return _RULES[asked][2](event)


_RULES: dict[tuple[int, int], tuple[Document, Placeholders | None, Meets]] = {}


def _rule(detection: Document, placeholders: Placeholders) -> Meets:
    conditions = detection["condition"]
    selections = {"found": _Selections(detection, placeholders)}
    met = [
        eval(_expression(condition, tuple(detection)), selections)
        for condition in ([conditions] if isinstance(conditions, str) else conditions)
    ]
    return lambda event: any(one(event) for one in met)


class _Selections(dict[str, Meets]):
    """What tells whether an event meets a selection of a rule; one that is not asked about is not looked at."""

    def __init__(self, detection: Document, placeholders: Placeholders) -> None:
        super().__init__()
        self._of = detection, placeholders

    def __missing__(self, name: str) -> Meets:
        detection, placeholders = self._of
        self[name] = _selection(detection[name], placeholders)
        return self[name]


@cache
def _expression(condition: str, names: tuple[str, ...]) -> CodeType:
    """Return a condition over selections of these names as a function of an event, over `found`."""
    assert not re.search(r"[^\w\s()*]", condition), condition

    def quantified(match: re.Match[str]) -> str:
        pattern = "*" if match[2] == "them" else match[2]
        meant = [name for name in names if fnmatchcase(name, pattern) and name != "condition" and name[0] != "_"]
        return f"({(' and ' if match[1] == 'all' else ' or ').join(meant) or match[1] == 'all'})"

    def looked_up(match: re.Match[str]) -> str:
        assert match[0] in names, match[0]
        return f"found[{match[0]!r}](event)"

    expression = re.sub(r"\b(1|any|all) of ([\w*]+)", quantified, condition)
    words = re.sub(r"\b(?!(?:and|or|not|True|False)\b)[A-Za-z_]\w*", looked_up, expression)
    return compile(f"lambda event: ({words})", "<condition>", "eval")


def crossings(
    correlation: Document, rules: dict[str, Document], events: list[Event], slack: int = 0
) -> dict[str, list[float]]:
    """Return, for each group, the times at which a window of W (+ slack) seconds that ends there crosses the threshold.

    A group is named by the values of its fields. An empty string is no value.
    """
    return crossed(correlation, seen(correlation, rules, events), slack)


def seen(correlation: Document, rules: dict[str, Document], events: list[Event]) -> dict[str, list[Seen]]:
    """Return, for each group, what its events say: the time, the rule that matches, and the value that is counted."""
    spec = correlation["correlation"]
    counted = spec["condition"]["field"] if spec["type"] == "value_count" else "eventID"
    groups: dict[str, list[Seen]] = defaultdict(list)
    for event in events:
        for name in (name for name in spec["rules"] if matches(rules[name], event)):
            value, *group = (value_of(event, path) or "" for path in (counted, *spec["group-by"]))
            if value and all(group):
                groups[" ".join(group)].append((datetime.fromisoformat(event["eventTime"]).timestamp(), name, value))
    return groups


def crossed(correlation: Document, groups: dict[str, list[Seen]], slack: int = 0) -> dict[str, list[float]]:
    """Return `crossings` of what was seen of groups, which no timespan and no threshold changes."""
    spec = correlation["correlation"]
    window = seconds(spec["timespan"]) + slack
    found = {
        group: sorted(
            end for end, *_ in all_ if _completed(spec, [one for one in all_ if end - window <= one[0] <= end])
        )
        for group, all_ in groups.items()
    }
    return {group: ends for group, ends in found.items() if ends}


def _completed(spec: Document, window: list[Seen]) -> bool:
    """Tell whether a correlation is completed by what a window holds: times, rules that match, what is counted."""
    if spec["type"] in ("value_count", "event_count"):
        return len({value for *_, value in window}) >= int(spec["condition"]["gte"])
    assert spec["type"] == "temporal_ordered", spec["type"]
    at = 0.0
    for rule in spec["rules"]:
        later = [time for time, name, _ in window if name == rule and time >= at]
        if not later:
            return False
        at = min(later)
    return True


def seconds(timespan: str) -> int:
    """Return the length of a timespan."""
    return int(timespan[:-1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[timespan[-1]]


def cased(document: Document) -> Document:
    """Return a rule as a target means it that compares with regard to case."""
    if "detection" not in document:
        return document

    def with_case(test: Any) -> Any:
        if isinstance(test, list):
            return [with_case(part) for part in test]
        return {f"{key}|cased": value for key, value in test.items()} if isinstance(test, dict) else test

    detection = {name: with_case(test) for name, test in document["detection"].items()}
    return document | {"detection": detection | {"condition": document["detection"]["condition"]}}


def _selection(test: Any, placeholders: Placeholders) -> Meets:
    if isinstance(test, list):
        parts = [_selection(part, placeholders) for part in test]
        return lambda event: any(part(event) for part in parts)
    assert isinstance(test, dict), "a keyword"
    items = [_item(key, wanted, placeholders) for key, wanted in test.items()]
    return lambda event: all(item(event) for item in items)


def _item(key: str, wanted: Any, placeholders: Placeholders) -> Meets:
    name, *rest = key.split("|")
    modifiers = tuple(rest)
    options = wanted if isinstance(wanted, list) and wanted else [wanted or None if wanted == [] else wanted]
    if "expand" in modifiers:
        options = [value for option in options for value in _expanded(str(option), placeholders)]
    quantified, forms = all if "all" in modifiers else any, [_forms(option, modifiers) for option in options]

    def found(event: Event) -> bool:
        values = values_of(event, name)
        return quantified(any(_meets(form, values, event, modifiers) for form in one) for one in forms)

    return (lambda event: not found(event)) if "neq" in modifiers else found


def _expanded(text: str, placeholders: Placeholders) -> list[str]:
    parts = re.split(r"%(\w+)%", text)
    found = [""]
    for number, part in enumerate(parts):
        found = [before + str(value) for before in found for value in (placeholders[part] if number % 2 else [part])]
    return found


def _forms(option: Any, modifiers: tuple[str, ...]) -> list[Any]:
    """Return the values that one in a rule stands for: encoded, or with another sign in front of its parameters."""
    if "windash" in modifiers:
        dashes = "-/\u2013\u2014\u2015"
        return [re.sub(r"\B[-/]\b", dash, option) for dash in dashes]
    if {"wide", "base64", "base64offset"} & {*modifiers}:
        data = option.encode("utf-16-le" if "wide" in modifiers else "utf-8")
        if "base64" in modifiers:
            return [base64.b64encode(data).decode()]
        if "base64offset" in modifiers:
            # What of the encoded text depends on nothing in front of the value or behind it.
            starts, ends = (0, 2, 3), (None, -3, -2)
            return [
                base64.b64encode(b" " * shift + data)[starts[shift] : ends[(len(data) + shift) % 3]].decode()
                for shift in range(3)
            ]
    return [option]


def _meets(wanted: Any, values: list[str], event: Event, modifiers: tuple[str, ...]) -> bool:
    if "exists" in modifiers:
        return bool(values) is bool(wanted)
    if wanted is None or wanted == "":
        return bool(values) if {"contains", "startswith", "endswith"} & {*modifiers} and wanted == "" else not values
    if "fieldref" in modifiers:
        return any(_refers(value, other, modifiers) for value in values for other in values_of(event, wanted))
    return any(_equal(wanted, value, modifiers) for value in values)


def _refers(value: str, other: str, modifiers: tuple[str, ...]) -> bool:
    value, other = _lower(value), _lower(other)
    if "startswith" in modifiers:
        return value.startswith(other)
    if "endswith" in modifiers:
        return value.endswith(other)
    return other in value if "contains" in modifiers else value == other


_COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "gt": lambda a, b: a > b,
    "gte": lambda a, b: a >= b,
    "lt": lambda a, b: a < b,
    "lte": lambda a, b: a <= b,
}
_FLAGS = {
    "i": re.IGNORECASE, "ignorecase": re.IGNORECASE, "m": re.MULTILINE, "multiline": re.MULTILINE,
    "s": re.DOTALL, "dotall": re.DOTALL,
}  # fmt: skip


@lru_cache(10_000, typed=True)
def _equal(wanted: Any, value: str, modifiers: tuple[str, ...]) -> bool:
    compared = next((_COMPARISONS[name] for name in modifiers if name in _COMPARISONS), None)
    if compared or "cidr" in modifiers:
        try:
            if compared:
                return compared(float(value), float(wanted))
            return ipaddress.ip_address(value) in ipaddress.ip_network(wanted)
        except ValueError:  # no number, no address
            return False
    if "re" in modifiers:
        flags = re.RegexFlag(0)
        for name in modifiers:
            flags |= _FLAGS.get(name, re.RegexFlag(0))
        return re.search(wanted, value, flags) is not None
    return _like(wanted, value, modifiers) if isinstance(wanted, str) else value.lower() == json.dumps(wanted)


def _like(wanted: str, value: str, modifiers: tuple[str, ...]) -> bool:
    cased = "cased" in modifiers
    pattern = _pattern(wanted, bool(_BEFORE & {*modifiers}), bool(_BEHIND & {*modifiers}), cased)
    return pattern.fullmatch(value if cased else _lower(value)) is not None


#: Modifiers after which something else may stand before a value, and behind it.
_BEFORE, _BEHIND = {"endswith", "contains", "base64offset"}, {"startswith", "contains", "base64offset"}


@cache
def _pattern(wanted: str, before: bool, behind: bool, cased: bool) -> re.Pattern[str]:
    parts = re.findall(r"\\[\\*?]|[\s\S]", wanted)
    regex = "".join({"*": ".*", "?": "."}.get(part) or re.escape(part[1:] or part) for part in parts)
    regex = ".*" * before + regex + ".*" * behind
    return re.compile(regex if cased else _lower(regex), re.DOTALL)


@lru_cache(10_000)
def _lower(text: str) -> str:
    """Return a text in lower case, letter by letter: re.IGNORECASE takes ı for i, and ſ for s."""
    return "".join(map(str.lower, text))
