"""Take what rules ask for out of CloudTrail records: a row of texts, and nothing else is built."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from operator import attrgetter
from typing import Any

import msgspec

#: Texts in the order of the columns: JSON's where a field holds no text, None where it is missing or null.
Row = list[str | None]
#: What msgspec raises; the last for what is nested deeper than Python goes.
NO_JSON = (ValueError, RecursionError)
#: What may stand where a record has an object with fields.
_NO_OBJECT = list[Any] | str | int | float | bool | None


class Columns:
    """Fields by their dotted names, such as userIdentity.arn."""

    def __init__(self, names: Iterable[str]) -> None:
        """Take names. They stand in another order in `names` and in a row: an object's are together."""
        objects: dict[str, list[list[str]]] = {}
        for name in names:
            objects.setdefault(name.rpartition(".")[0], []).append(name.split("."))
        paths = list(chain.from_iterable(objects.values()))
        self.names = tuple(map(".".join, paths))
        self._objects = [(_getter(inside), inside) for inside in objects.values()]
        kind: Any = list[_object(paths)]  # type: ignore[misc]
        self._decoder = msgspec.json.Decoder(kind)

    def decode(self, data: bytes) -> list[Any]:
        """Decode an array of records, as something that `row` takes. Other fields are skimmed only.

        :raises: one of NO_JSON, also for what is no array of objects.
        """
        return self._decoder.decode(data)  # type: ignore[no-any-return]

    def row(self, record: Any) -> Row:
        """Return the fields of a record, be it one that was decoded here or a dictionary."""
        values: list[Any] = []
        for fields, paths in self._objects:
            try:
                values += fields(record)
            except AttributeError:  # null or a text where the object should be; or a dictionary
                values += [_value(record, path) for path in paths]
        return [
            value if value is None or isinstance(value, str) else msgspec.json.encode(value).decode()
            for value in values
        ]


def _getter(paths: Sequence[Sequence[str]]) -> Callable[[Any], tuple[Any, ...]]:
    get = attrgetter(*(".".join(map(_attribute, path)) for path in paths))
    return get if len(paths) > 1 else lambda record: (get(record),)


def _object(paths: Sequence[Sequence[str]]) -> type[msgspec.Struct]:
    """Return the type of an object, of which only what the paths lead to is built."""
    inside: dict[str, list[Sequence[str]]] = {}
    for key, *path in paths:
        inside.setdefault(key, []).append(path)
    fields: list[tuple[str, Any, Any]] = []
    for key, rest in inside.items():
        if [] in rest:
            fields.append((_attribute(key), Any, None))
        else:
            child: Any = _object(rest)
            fields.append((_attribute(key), child | _NO_OBJECT, msgspec.field(default_factory=child)))
    return msgspec.defstruct("Object", fields, rename={_attribute(key): key for key in inside}, gc=False)


def _attribute(key: str) -> str:
    """Name an attribute after a key, which may hold what a name in Python may not."""
    return "_" + key.encode().hex()


def _value(record: Any, path: Sequence[str]) -> Any:
    """Return what stands at a path; where it leads through lists, a list of what stands there in their elements."""
    for number, key in enumerate(path):
        if isinstance(record, list):
            values = [_value(element, path[number:]) for element in record]
            flat = chain.from_iterable(value if isinstance(value, list) else [value] for value in values)
            return [value for value in flat if value is not None] or None
        record = record.get(key) if isinstance(record, dict) else getattr(record, _attribute(key), None)
    return record
