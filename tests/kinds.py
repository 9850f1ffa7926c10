"""Kinds of rules and of events: whatever Sigma has for one field, against whatever CloudTrail has in one."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle, product
from typing import Any

from events import MISSING, record

Document = dict[str, Any]
Event = dict[str, Any]

PLACEHOLDERS: dict[str, list[Any]] = {"admins": ["Alpha", "Root"], "part": ["lph"], "number": [7]}
#: Where a rule may look: at a column of each schema's own, below an object, and below an object in one.
FIELDS = ("userAgent", "requestParameters.note", "requestParameters.deep.inner")
MODIFIERS = (
    "", "all", "cased", "contains", "contains|all", "contains|cased", "startswith", "startswith|cased", "endswith",
    "endswith|cased", "re", "re|i", "re|m", "re|s", "re|i|s", "re|all", "cidr", "exists", "fieldref",
    "fieldref|cased", "fieldref|startswith", "fieldref|endswith", "fieldref|contains", "gt", "gte", "lt", "lte",
    "neq", "contains|neq", "neq|all", "exists|neq", "windash", "windash|contains", "windash|contains|all", "wide",
    "utf16", "utf16be", "base64", "base64offset|contains", "wide|base64offset|contains", "wide|base64", "expand",
    "expand|contains", "expand|all", "minute", "hour", "day", "week", "month", "year", "minute|gt", "nothing", "i",
    "contains|re", "exists|contains",
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    "Alpha", "al*A", "Alph?", "*", "**", "?", "", "bet", 'quo"te', "back\\\\slash", "-flag", "per%cent_", "é",
    "*lph*|x", 7, 1.5, -3, 0, True, False, None, [], {}, ["Alpha", "Beta"], ["Alpha", None], ["al*", 7, True],
    ["", "Beta"], [None], "198.51.100.0/24", "2001:db8::/32", "10.0.0.0/33", ["198.51.100.0/24", "10.0.0.0/8"],
    "^alp", "a.+a$", "Al(ph|PH)a", "[", "x{2,1}", "(?=A)Alpha", "^$", ".+", ".*", "\\d+",
    "%admins%", "%part%", "%number%", "%nobody%", "%admins% %part%",
    "requestParameters.other", "userAgent", "nothing", "requestParameters", "2026-11-20T10:00:00Z", [["Alpha"]],
)  # fmt: skip

#: What one place of a record may hold.
_SCALARS: tuple[Any, ...] = (
    "Alpha", "alpha", "ALPHABET", "xAlpha", "Beta", "al*a", "alxa", 'quo"te', "back\\slash", "a -flag",
    "/flag", "-flag", "per%cent_", "perXcentY", "É", "7", "07", "1.5", "-3", "true", "198.51.100.7", "10.1.2.3",
    "2001:db8::1", "AWS Internal", "QWxwaGE=", "null", "None", "*", "?", "'", "a, b", "x=y", "{",
    "", None, MISSING,
)  # fmt: skip
_NESTED: tuple[Any, ...] = (
    7, 1.5, 0, -3, True, False, ["Alpha", "Beta"], ["beta"], ["Alpha"], [7, 8], [True], [], [""], [None],
    ["xAlpha", None], '{"name":"Alpha"}', ['quo"te', "back\\slash"],
)  # fmt: skip


def events() -> list[Event]:
    """Return events, each with one value in one place."""
    found = [_event(userAgent=value) for value in _SCALARS]
    for value in (*_SCALARS, *_NESTED):
        note, inner = ({}, {}) if value is MISSING else ({"note": value}, {"inner": value})
        found.append(_event(requestParameters=note | {"other": "ALPHA", "last": 1}))
        found.append(_event(requestParameters={"deep": inner | {"last": "Alpha"}, "other": "Alp"}))
    note, other = {"inner": "Alpha"}, {"inner": ["Beta", 7]}
    for deep in ([note, other], [other], [note, {}], [{"last": "Alpha"}], "Alpha"):
        found.append(_event(requestParameters={"deep": deep}))
    found += (_event(requestParameters=whole) for whole in (None, MISSING, {"policy": '{"Effect":"Allow"}'}))
    return found


def _event(**fields: Any) -> Event:
    return record(0, "us-east-1", "GetThing", "thing.amazonaws.com", **({"userAgent": "plain"} | fields))


def rule(name: str, detection: Document) -> Document:
    """Return a rule that has what a rule must have."""
    return {
        "title": f"Rule {name}",
        "name": name,
        "status": "test",
        "logsource": {"product": "aws", "service": "cloudtrail"},
        "detection": detection,
        "level": "low",
    }


def combinations() -> Iterator[Document]:
    """Yield a rule for each modifier with each value, of which most say nothing; each field has its turn."""
    for number, (modifier, value) in enumerate(product(MODIFIERS, VALUES)):
        key = FIELDS[number % len(FIELDS)] + (f"|{modifier}" if modifier else "")
        yield rule(f"combination_{number}", {"value": {key: value}, "condition": "value"})


#: What engines are asked: modifiers, each with values that say something.
_SAYING: dict[str, list[Any]] = {
    "": ["Alpha", "al*A", "Alph?", "?", 'quo"te', "back\\\\slash", "al\\*a", "per%cent_", 7, 1.5, -3, True, False,
         ["Alpha", "Beta"], ["Alpha", None], ["al*", 7, True], ["", "Beta"], "a, b", "x=y", "é", "null"],
    "all": [["al*", "*pha"], ["Alpha", "Beta"]],
    "cased": ["Alpha", "Al*", "Alph?"],
    "contains": ["lph", "o\"t", "k\\\\s", ["lph", "et"], "r%c", "="],
    "contains|all": [["alp", "pha"], ["alp", "bet"]],
    "contains|cased": ["lph", "LPH"],
    "startswith": ["al", "Alpha", ["al", "be"]],
    "startswith|cased": ["Al"],
    "endswith": ["pha", ["a", "t"]],
    "endswith|cased": ["pha"],
    "re": ["^Alp", "pha$", "Al(ph|PH)a", "lp", "^Al.*a$", "[0-9]+", "Alpha.Beta", "b.t|lp", "\\d"],
    "re|i": ["^ALP", "al[p-q]ha"],
    "re|s": ["Alpha.Beta"],
    "re|m": ["^Beta"],
    "cidr": ["198.51.100.0/24", "2001:db8::/32", ["198.51.100.0/24", "10.0.0.0/8"]],
    "fieldref": ["requestParameters.other", "userIdentity.arn"],
    "fieldref|startswith": ["requestParameters.other"],
    "fieldref|endswith": ["requestParameters.other"],
    "gt": [6, 1.5],
    "gte": [7],
    "lt": [2, 0],
    "lte": [1.5, -3],
    "neq": ["Alpha", ["Alpha", "Beta"], "al*"],
    "contains|neq": ["lph"],
    "windash": ["-flag"],
    "windash|contains": ["-flag"],
    "base64": ["Alpha"],
    "base64offset|contains": ["Alpha"],
    "expand": ["%admins%", "x%part%*"],
    "expand|contains": ["%part%", "%number%"],
}  # fmt: skip
#: Each way to say that a field has a value, and that it has none.
_HAS_VALUE = [("", "*"), ("exists", True), ("re", ".+"), ("re", ".*"), ("contains", ""), ("contains", "*"),
              ("startswith", ""), ("endswith", "*"), ("", "**"), ("re", "^.+$")]  # fmt: skip
_HAS_NONE = [("", None), ("exists", False), ("", ""), ("", []), ("", [None])]
_OF_EXISTENCE = (*FIELDS, "errorCode", "resources.ARN", "requestParameters")


def saying() -> Iterator[Document]:
    """Yield the rules that engines run: each as it is, and negated.

    A query costs, so where a modifier has many values the fields take turns.
    """
    number = 0
    asked = []
    for modifier, values in _SAYING.items():
        pairs = product(FIELDS, values) if len(values) < len(FIELDS) else zip(cycle(FIELDS), values, strict=False)
        asked += [(field, modifier, value) for field, value in pairs]
    asked += [(field, *spelling) for field in _OF_EXISTENCE for spelling in (*_HAS_VALUE, *_HAS_NONE)]
    asked += [("requestParameters", "contains", word) for word in ("Effect", "allow", "nothing")]
    for field, modifier, value in asked:
        key = f"{field}|{modifier}" if modifier else field
        for condition in ("value", "not value"):
            number += 1
            yield rule(f"saying_{number}", {"value": {key: value}, "condition": condition})
