"""Where Amazon Security Lake has what CloudTrail's records have: `securitylake.yml`, and Trino's SQL for it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from sigma.pipelines.keywatch import athena
from sigma.pipelines.keywatch._fields import ELEMENTS, FieldTable
from sigma.pipelines.keywatch._pack import read_yaml

#: In front of the path of what has no place of its own.
UNMAPPED = "unmapped."
#: What an object has no text for.
_IN_PIECES = "OCSF has what is in it field by field, and no text of the whole; name a field"
_TIME = "'%Y-%m-%dT%H:%i:%sZ'"


@dataclass(frozen=True)
class Places:
    """What `securitylake.yml` says."""

    sources: dict[str, str]
    #: CloudTrail's name → paths, of which the first with a value is meant.
    fields: dict[str, list[str]]
    #: CloudTrail's object → the path of its JSON.
    texts: dict[str, str]
    #: CloudTrail's list of objects → `at`, its path, and CloudTrail's key → the path in an element.
    lists: dict[str, dict[str, str]]
    #: CloudTrail's name → a path that only later versions than that of the target have.
    later: dict[str, str]
    #: Path → `milliseconds`, `time`, or what stands for true and for false.
    kinds: dict[str, Any]
    #: Path → what stands there for nothing.
    nothing: dict[str, str]
    #: CloudTrail's name → why it can't be asked for.
    refused: dict[str, str]


@cache
def places() -> Places:
    """Read the table."""
    table = read_yaml(Path(__file__).with_name("securitylake.yml"))
    entries = {name: at for section in table.pop("fields").values() for name, at in section.items()}
    return Places(fields={name: at if isinstance(at, list) else [at] for name, at in entries.items()}, **table)


def trino_table() -> FieldTable:
    """Return the table as SQL over Security Lake's tables in Athena. Below a JSON text, it is Athena's own."""
    known, below = places(), FieldTable.beside(athena.__file__)
    fields: dict[str, str | None] = {
        name: _first([_sql(path) for path in paths]) for name, paths in known.fields.items()
    }
    for root, items in known.lists.items():
        for key, path in items.items():
            if key != "at":
                inside = f"transform({items['at']}, e -> e.{path})"
                fields[f"{root}.{key}"] = f"{ELEMENTS}coalesce({inside}, {_unmapped_list(f'{root}.{key}')})"
    objects = {"*": {"below": ELEMENTS + _unmapped_list("{object}.{path}")}}
    for root, path in known.texts.items():
        objects[root] = {kind: sql.replace(root.lower(), path) for kind, sql in below.objects[root].items()}
        fields |= {
            name: sql.replace(root.lower(), path)
            for name, sql in below.fields.items()
            if sql and name.startswith(f"{root}.")
        }
    return FieldTable(
        source=known.sources["mapping"],
        default="element_at(unmapped, '{name}')",
        fields=fields | dict.fromkeys(known.refused),
        objects=objects,
        reasons=known.refused | {"*": _IN_PIECES},
    )


def _first(expressions: list[str]) -> str:
    return f"coalesce({', '.join(expressions)})" if len(expressions) > 1 else expressions[0]


def _sql(path: str) -> str:
    """Write a place as a text."""
    if path.startswith(UNMAPPED):
        return f"element_at(unmapped, '{path.removeprefix(UNMAPPED)}')"
    kind, nothing = places().kinds.get(path), places().nothing.get(path)
    if kind == "milliseconds":
        return f"date_format(from_unixtime({path} / 1000, 'UTC'), {_TIME})"
    if kind == "time":
        return f"date_format({path}, {_TIME})"
    if kind:
        return f"CASE {path} WHEN true THEN '{kind[True]}' WHEN false THEN '{kind[False]}' END"
    if nothing:
        quoted = nothing.replace("'", "''")
        return f"nullif({path}, '{quoted}')"
    return path


def _unmapped_list(name: str) -> str:
    """Write the elements of what is unmapped, wherever in its name lists are marked."""
    named = f"map_filter(unmapped, (k, v) -> replace(k, '[]') = '{name}')"
    return f"flatten(map_values(transform_values({named}, (k, v) -> if(strpos(k, '[]') > 0, split(v, ','), ARRAY[v]))))"
