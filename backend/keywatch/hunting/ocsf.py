"""Amazon Security Lake's events of CloudTrail, which are OCSF, as CloudTrail's records.

The table is that of the target securitylake (`securitylake.yml`), read backwards: what AWS put at a path comes back
under CloudTrail's name. What is `unmapped` there has CloudTrail's own dotted name already.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

import msgspec
from sigma.pipelines.keywatch._ocsf import UNMAPPED, places

from keywatch.hunting.broken import Passed, Strange
from keywatch.hunting.columns import NO_JSON, value_at
from keywatch.hunting.times import read_time

#: Every event of OCSF has it, and no record of CloudTrail; and where its product and version are.
MARK = "class_uid"
PRODUCT, VERSION = ("metadata", "product", "name"), ("metadata", "version")

_NAMELESS = Strange("not a CloudTrail record: an OCSF event that does not say of which product it is")
#: Security Lake has many other sources; and its source version 1 had other places.
_OTHERS = Passed("OCSF events of other sources than CloudTrail")
_OLD = Strange("not a CloudTrail record: an OCSF event of before version 1.1; hunt through the trail's own files")


def wrong(product: Any, version: Any) -> Passed | Strange | None:
    """Say why an event of OCSF is not read, by what is at PRODUCT and VERSION; None if it is read."""
    if product is None:
        return _NAMELESS
    if "cloudtrail" not in str(product).lower():
        return _OTHERS
    return _OLD if str(version).startswith("1.0") else None


class Inverse:
    """Turns events of OCSF into records, as far as some fields are concerned."""

    def __init__(self, names: Iterable[str]) -> None:
        """Take CloudTrail's names of the fields."""
        known, names = places(), list(names)
        tops = {name.partition(".")[0] for name in names}
        there = {name: [*known.fields.get(name, ()), known.later.get(name, UNMAPPED)] for name in names}
        there |= {name: [path] for name, path in known.texts.items() if name in tops}
        self._lists = {name: items for name, items in known.lists.items() if name in tops}
        self._paths = {name: [path for path in paths if not path.startswith(UNMAPPED)] for name, paths in there.items()}
        self._fields = [
            (name, [(path.split("."), known.kinds.get(path), known.nothing.get(path)) for path in paths])
            for name, paths in self._paths.items()
            if paths
        ]

    @property
    def paths(self) -> list[str]:
        """The paths that are looked at, as far as Parquet's columns have names for them."""
        tops = [items["at"] for items in self._lists.values()]
        always = [MARK, ".".join(PRODUCT), ".".join(VERSION), UNMAPPED.removesuffix(".")]
        return [*always, *tops, *(path for paths in self._paths.values() for path in paths)]

    def record(self, event: dict[str, Any]) -> dict[str, Any]:
        """Return an event as a record: of the fields that have a place, those that were asked for."""
        record: dict[str, Any] = dict(_unmapped(_of_unmapped(event)))
        for name, ways in self._fields:
            for path, kind, nothing in ways:
                value = _at(event, path)
                if value not in (None, nothing):
                    record[name] = _written(value, kind)
                    break
        for name, items in self._lists.items():
            elements = value_at(event, items["at"].split("."))
            if isinstance(elements, list):
                keys = [(key, path.split(".")) for key, path in items.items() if key != "at"]
                record[name] = [{key: value_at(element, path) for key, path in keys} for element in elements]
        return record


def _at(event: dict[str, Any], path: list[str]) -> Any:
    """Return what a path leads to; quickly, where it is spelt as objects."""
    if path[0] not in event:
        return value_at(event, path)
    value: Any = event
    for key in path:
        if not isinstance(value, dict):
            return None
        value = value.get(key)
    return value


def _of_unmapped(event: dict[str, Any]) -> Any:
    """Return what is unmapped; also where all of an event is spelt by keys with dots."""
    found = event.get(UNMAPPED.removesuffix("."))
    if found is None and "metadata" not in event:
        return {key.removeprefix(UNMAPPED): value for key, value in event.items() if key.startswith(UNMAPPED)}
    return found


def _unmapped(found: Any) -> Iterator[tuple[str, Any]]:
    """Yield CloudTrail's names with what is there: of a list, which is marked in the name, the elements."""
    if isinstance(found, str):
        with suppress(*NO_JSON):
            found = msgspec.json.decode(found)
    if isinstance(found, dict):
        found = list(found.items())
    for pair in found if isinstance(found, list) else ():
        match list(pair.values()) if isinstance(pair, dict) else pair:
            case [str(name), value]:
                plain = name.replace("[]", "")
                yield plain, value.split(",") if plain != name and isinstance(value, str) else value


def _written(value: Any, kind: Any) -> Any:
    """Return a value as CloudTrail writes it."""
    if isinstance(kind, dict):
        return kind[value] if isinstance(value, bool) else value
    if kind:
        with suppress(ValueError):  # which is named where the time is needed
            return f"{read_time(str(value)).isoformat()}Z"
    return value
