"""Athena's SQL, parsed by Trino's own parser, and executed by DuckDB as sqlglot translates it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import duckdb
import sqlglot
from sigma.pipelines.keywatch import athena
from sigma.pipelines.keywatch._cloudtrail import field_table

from engines import Engine

#: Trino's own parser.
PARSER = Path(__file__).parent / "trino"


class Athena(Engine):
    """The queries over a table of the shape that AWS documents."""

    name = "Athena's SQL on DuckDB, by sqlglot"
    target = "athena"

    def __init__(self) -> None:
        """Start with no events."""
        self._loaded: list[dict[str, Any]] | None = None
        self._connection = duckdb.connect()

    def rows(self, query: str, events: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Run a query over all days."""
        if self._loaded is not events:
            self._load(events)
        [statement] = sqlglot.transpile(query, read="trino", write="duckdb")
        result = self._connection.execute(statement, ["2000/01/01", "2100/01/01"])
        names = [column[0] for column in result.description or ()]
        return [dict(zip(names, row, strict=True)) for row in result.fetchall()]

    def _load(self, events: list[dict[str, Any]]) -> None:
        rows = [json.dumps(_stored(event)) for event in events]
        columns = {"eventtime": "VARCHAR", "timestamp": "VARCHAR", "requestparameters": "VARCHAR"}
        columns |= {"additionaleventdata": "VARCHAR"}
        structs: dict[str, Any] = {}
        for expression in field_table(athena.__file__).values():
            if "(" in expression:
                continue
            name, *path = expression.split(".")
            if not path:
                columns[name] = "VARCHAR"
                continue
            inside = structs.setdefault(name, {})
            for key in path[:-1]:
                inside = inside.setdefault(key, {})
            inside[path[-1]] = "VARCHAR"
        shape = json.dumps([columns | structs])
        self._connection.execute("DROP TABLE IF EXISTS cloudtrail_logs_pp")
        self._connection.execute(
            "CREATE TABLE cloudtrail_logs_pp AS SELECT unnest(record) FROM "
            "(SELECT unnest(from_json($1::JSON, $2)) AS record)",
            ["[" + ",".join(rows) + "]", shape],
        )
        self._loaded = events


def _stored(event: dict[str, Any]) -> dict[str, Any]:
    """Return a record as the table has it: names in lower case, parameters as JSON texts, booleans as texts."""
    lower: dict[str, Any] = _lower(event)
    for name in ("requestparameters", "additionaleventdata"):
        original = event.get({"requestparameters": "requestParameters"}.get(name, "additionalEventData"))
        lower[name] = None if original is None else json.dumps(original)
    return lower | {"timestamp": event["eventTime"][:10].replace("-", "/")}


def _lower(value: Any) -> Any:
    if isinstance(value, dict):
        return {key.lower(): _lower(item) for key, item in value.items()}
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else value
