"""Take what rules ask for out of CloudTrail records, column by column: nothing else is built."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from itertools import chain
from operator import attrgetter
from typing import Any

import msgspec

#: What several records have, a column each; None where a field is missing or null. `text` makes texts of the others.
Values = Sequence[Sequence[Any]]
#: What msgspec raises; the last for what is nested deeper than Python goes.
NO_JSON = (ValueError, RecursionError)
#: What CloudTrail writes into every record: without one of these, a rule that asks for it can never match.
REQUIRED = ("eventName", "eventSource", "awsRegion", "userIdentity")
#: The column that has the whole record as JSON, where it is asked for; no field has a blank in its name.
RAW = "raw record"
#: What may stand where a record has an object with fields.
_NO_OBJECT = list[Any] | str | int | float | bool | None
#: Characters that exports put between the words of a key, or leave out.
_BETWEEN_WORDS = str.maketrans("", "", "_ ")


class Columns:
    """Fields by their dotted names, such as userIdentity.arn."""

    def __init__(self, names: Iterable[str]) -> None:
        """Take names. They stand in another order in `names` and in values: an object's are together, RAW is last."""
        objects: dict[str, list[list[str]]] = {}
        names = list(names)
        self.raw = RAW in names
        for name in names:
            if name == RAW:
                continue
            objects.setdefault(name.rpartition(".")[0], []).append(name.split("."))
        paths = list(chain.from_iterable(objects.values()))
        self.names = (*map(".".join, paths), *([RAW] if self.raw else []))
        self._objects = [
            (_getter(inside), [_attribute(key) for key in inside[0][:-1]], inside) for inside in objects.values()
        ]
        #: How CloudTrail writes the last key of a path, by the path as `plain_key` makes it.
        self._keys = {
            tuple(map(plain_key, path[:size])): path[size - 1]
            for path in [*paths, *([name] for name in REQUIRED)]
            for size in range(1, len(path) + 1)
        }
        kind: Any = _object(paths)
        self._kind = kind
        self._decoder, self._of_lines = msgspec.json.Decoder(list[kind]), msgspec.json.Decoder(kind)

    def decode(self, data: bytes | memoryview) -> list[Any]:
        """Decode an array of records, as something that `values` takes. Other fields are skimmed only.

        :raises: one of NO_JSON, also for what is no array of objects.
        """
        return self._decoder.decode(data)

    def decode_lines(self, data: bytes) -> list[Any]:
        """Decode records, one a line, as `decode` does."""
        return self._of_lines.decode_lines(data)

    def values(self, records: Sequence[Any], raws: Sequence[Any] = ()) -> Values:
        """Return the fields of records, be they decoded here or dictionaries.

        :param raws: the records as they were read: their JSON in UTF-8, or something that becomes JSON. If there are
            none, that is the records.
        """
        found: list[Sequence[Any]] = []
        built = [self._built(record) if isinstance(record, dict) else record for record in records]
        for fields, objects, paths in self._objects:
            try:
                rows = list(map(fields, built))
            except AttributeError:  # null, a text or a dictionary where the object should be
                rows = _rows(built, fields, objects, paths)
            found += zip(*rows, strict=True) if rows else [()] * len(paths)
        if self.raw:
            found.append(
                [bytes(raw).decode() if isinstance(raw, bytes | msgspec.Raw) else raw for raw in raws or records]
            )
        return found

    def _built(self, record: dict[str, Any]) -> Any:
        """Return a dictionary as `decode` returns a record, which is quicker to look into; as it is if it can't be."""
        try:
            return record if _has_dots(record) else msgspec.convert(record, self._kind)
        except NO_JSON:
            return record

    def respelt(self, value: Any, inside: tuple[str, ...] = ()) -> Any:
        """Return a record with the keys as CloudTrail writes them: of `eventname` or `event_name`, eventName.

        :param inside: the path that leads to the value.
        """
        if not isinstance(value, dict):
            return value
        found: dict[str, Any] = {}
        for key, one in value.items():
            words, path = [], inside
            for word in key.split("."):
                path = (*path, plain_key(word))
                words.append(self._keys.get(path, word))
            spelt = ".".join(words)
            if spelt == key or spelt not in value:
                found[spelt] = self.respelt(one, path)
        return found


def text(value: Any) -> str | None:
    """Return what stands in a field as text: JSON's, if it is none."""
    return value if value is None or isinstance(value, str) else msgspec.json.encode(value).decode()


def plain_key(key: str) -> str:
    """Return a key without what exports change about it."""
    return key.translate(_BETWEEN_WORDS).lower()


def value_at(value: Any, path: Sequence[str]) -> Any:
    """Return what a path leads to, None for nothing; also where keys hold dots, or an object stands as JSON text.

    Where it leads through lists, a list of what it leads to in their elements.
    """
    if not path or value is None:
        return value
    if isinstance(value, list):
        values = [value_at(element, path) for element in value]
        flat = chain.from_iterable(value if isinstance(value, list) else [value] for value in values)
        return [value for value in flat if value is not None] or None
    if isinstance(value, str):
        value = _object_of(value)
    if not isinstance(value, dict):
        return value_at(getattr(value, _attribute(path[0]), None), path[1:])
    for size in range(1, len(path) + 1):
        found = value.get(".".join(path[:size]))
        if found is not None and (found := value_at(found, path[size:])) is not None:
            return found
    return None


@lru_cache(4)  # the fields of one object are asked for one after another
def _object_of(text: str) -> Any:
    if text.lstrip().startswith("{"):
        try:
            return msgspec.json.decode(text)
        except NO_JSON:
            return None
    return None


def _has_dots(value: dict[str, Any]) -> bool:
    """Tell whether a key is a path by itself, here or in what the dictionary holds."""
    return "." in "".join(value) or any(type(one) is dict and _has_dots(one) for one in value.values())


def _rows(
    records: Sequence[Any],
    fields: Callable[[Any], tuple[Any, ...]],
    objects: Sequence[str],
    paths: Sequence[Sequence[str]],
) -> list[tuple[Any, ...]]:
    """Return the fields of one object of several records, also where it is none as it was declared.

    :param objects: the attributes that lead to the object, of records that were decoded.
    """
    try:
        found = list(map(attrgetter(".".join(objects)), records))
    except AttributeError:  # so it is above the object, or these are dictionaries
        return [_fields(record, fields, objects, paths) for record in records]
    keys, nothing = [path[-1] for path in paths], (None,) * len(paths)
    rows = []
    for record, one in zip(records, found, strict=True):
        if one is None:
            rows.append(nothing)
        elif type(one) is dict:  # it is wanted whole too
            rows.append(tuple(map(one.get, keys)))
        else:
            rows.append(_fields(record, fields, objects, paths))
    return rows


def _fields(
    record: Any, fields: Callable[[Any], tuple[Any, ...]], objects: Sequence[str], paths: Sequence[Sequence[str]]
) -> tuple[Any, ...]:
    """Return the fields of one object of a record, as `_rows` does of several."""
    try:
        return fields(record)
    except AttributeError:
        pass
    size = 0
    while size < len(objects) and isinstance(record, msgspec.Struct):
        record = getattr(record, objects[size])
        size += 1
    return tuple(value_at(record, path[size:]) for path in paths)


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
