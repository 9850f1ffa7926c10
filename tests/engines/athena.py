"""Athena's SQL and CloudTrail Lake's, parsed by Trino's own parser, and executed by DuckDB as sqlglot translates it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import duckdb
import sigma.pipelines.keywatch.athena
import sqlglot
from sigma.pipelines.keywatch._fields import FieldTable

from engines import Engine

#: Trino's own parser.
PARSER = Path(__file__).parent / "trino"


class Athena(Engine):
    """The queries over a table of the shape that AWS documents."""

    name = "Athena's SQL on DuckDB, by sqlglot"
    target = "athena"
    #: The columns that are no texts.
    types: ClassVar[dict[str, str]] = {}
    #: Lower-case names of the objects that the table does not spell out.
    free_form: ClassVar = {"requestparameters": "requestParameters", "additionaleventdata": "additionalEventData"}

    def __init__(self) -> None:
        """Start with no events."""
        self._loaded: list[dict[str, Any]] | None = None
        self._connection = duckdb.connect()

    def rows(self, query: str, events: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Run a query over all days."""
        if self._loaded is not events:
            self._load(events)
        query, parameters = self.over_all_days(query)
        [statement] = sqlglot.transpile(query, read="trino", write="duckdb")
        result = self._connection.execute(statement, parameters)
        names = [column[0] for column in result.description or ()]
        return [dict(zip(names, row, strict=True)) for row in result.fetchall()]

    def over_all_days(self, query: str) -> tuple[str, list[str]]:
        """Return a query and its parameters so that it looks at all events."""
        return query, ["2000/01/01", "2100/01/01"]

    def stored(self, event: dict[str, Any]) -> dict[str, Any]:
        """Return a record as the table has it: parameters as JSON texts, booleans as texts."""
        texts = {
            name: None if event.get(original) is None else json.dumps(event[original])
            for name, original in self.free_form.items()
        }
        return _lower(event) | texts | {"timestamp": event["eventTime"][:10].replace("-", "/")}

    def _load(self, events: list[dict[str, Any]]) -> None:
        table = FieldTable.beside(sigma.pipelines.keywatch.athena.__file__)
        paths = [path for path in table.fields.values() if path and "(" not in path]
        shape: dict[str, Any] = {}
        for path in [*paths, "eventtime", "timestamp", "managementevent", *self.free_form]:
            *outer, name = path.split(".")
            inside = shape
            for key in outer:
                inside = inside.setdefault(key, {})
            inside[name] = self.types.get(path, "VARCHAR")
        shape["resources"] = [dict.fromkeys(["accountid", "arn", "type"], "VARCHAR")]
        rows = ",".join(json.dumps(self.stored(event)) for event in events)
        self._connection.execute("DROP TABLE IF EXISTS cloudtrail_logs_pp")
        self._connection.execute(
            "CREATE TABLE cloudtrail_logs_pp AS SELECT unnest(record) FROM "
            "(SELECT unnest(from_json($1::JSON, $2)) AS record)",
            [f"[{rows}]", json.dumps([shape])],
        )
        self._loaded = events


class Lake(Athena):
    """The queries over an event data store of CloudTrail Lake."""

    name = "CloudTrail Lake's SQL on DuckDB, by sqlglot"
    output_format = "sql-lake"
    types: ClassVar = {
        "eventtime": "TIMESTAMP",
        "readonly": "BOOLEAN",
        "managementevent": "BOOLEAN",
        "useridentity.sessioncontext.attributes.creationdate": "TIMESTAMP",
    } | dict.fromkeys(Athena.free_form, "MAP(VARCHAR, VARCHAR)")

    def over_all_days(self, query: str) -> tuple[str, list[str]]:
        """Fill in the placeholders."""
        return filled_in(query), []

    def stored(self, event: dict[str, Any]) -> dict[str, Any]:
        """Return a record as an event data store has it: parameters as maps of texts."""
        maps = {
            name: {
                key: value if isinstance(value, str) else json.dumps(value) for key, value in event[original].items()
            }
            for name, original in self.free_form.items()
            if isinstance(event.get(original), dict)
        }
        return _lower(event) | dict.fromkeys(self.free_form) | maps


def filled_in(query: str) -> str:
    """Return a query of CloudTrail Lake over the tests' table and all days."""
    values = {"$EDS_ID": "cloudtrail_logs_pp", "$FROM": "2000-01-01 00:00:00", "$TO": "2100-01-01 00:00:00"}
    for name, value in values.items():
        query = query.replace(name, value)
    return query


def _lower(record: dict[str, Any]) -> dict[str, Any]:
    lower: dict[str, Any] = {}
    for key, value in record.items():
        text = str(value).lower() if isinstance(value, bool) else value
        if isinstance(value, list):
            text = [_lower(item) for item in value]
        lower[key.lower()] = _lower(value) if isinstance(value, dict) else text
    return lower
