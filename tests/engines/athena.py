"""A real Trino server, and CloudTrail as Athena's table, CloudTrail Lake's and Security Lake's have it.

The server comes from Maven Central and runs on Java 25 or later; `trino/` beside this file says how. The queries run as
they are generated, with their parameters.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar
from urllib.parse import urlsplit

from sigma.backends.keywatch._sql_text import literal
from sigma.pipelines.keywatch._fields import cloudtrail_names
from sigma.pipelines.keywatch._pack import defaults
from trino.dbapi import Connection

import ocsf
from engines import Engine, Event, Kept, Row, value_of
from engines.node import started
from programs import SOURCES, maven

SOURCE = SOURCES / "trino"
_VERSION = re.findall(r"<trino.version>(\d+)<", (SOURCE / "pom.xml").read_text(encoding="utf-8"))[0]
_OPTIONS = (
    *("--sun-misc-unsafe-memory-access=allow", "--enable-native-access=ALL-UNNAMED"),
    *("--add-modules", "jdk.incubator.vector"),
)
#: Events in one INSERT.
_AT_ONCE = 5_000
#: Objects that the table does not spell out.
_FREE_FORM = (
    "requestparameters",
    "responseelements",
    "additionaleventdata",
    "serviceeventdetails",
    "edgedevicedetails",
)


class Athena(Engine, Kept):
    """The queries over a table of the shape that AWS documents."""

    name = f"Athena's SQL on Trino {_VERSION}"
    target = "athena"
    by_window = True
    #: What creates the table.
    table: ClassVar[str] = "athena.sql"

    def __init__(self, connection: Connection) -> None:
        """Take a server, without the table yet."""
        self._connection = connection
        statement = (SOURCE / self.table).read_text(encoding="utf-8")
        self._create = statement
        self._name = re.findall(r"CREATE TABLE (\w+)", statement)[0]
        self._columns = statement[statement.index("(\n") + 1 : statement.rindex(")")]

    def rows(self, query: str, events: list[Event]) -> list[dict[str, Any]]:
        """Run a query over all days."""
        self.load(events)
        text, parameters = self.over_all_days(query)
        cursor = self._execute(text.rstrip().removesuffix(";"), *parameters)
        return [dict(zip((column.name for column in cursor.description), row, strict=True)) for row in cursor]

    def plan(self, query: str) -> str:
        """Return how the server runs a query. EXPLAIN takes no parameters."""
        self.load([])
        text, parameters = self.over_all_days(query)
        for parameter in parameters:
            text = text.replace("?", literal(parameter), 1)
        return "\n".join(line for [line] in self._execute(f"EXPLAIN {text.rstrip().removesuffix(';')}"))

    def over_all_days(self, query: str) -> tuple[str, list[str]]:
        """Return a query and its parameters so that it looks at all events."""
        return query, ["2000/01/01", "2100/01/01"]

    def stored(self, event: Event) -> Event:
        """Return a record as the table has it: names in lower case, free-form objects in its own form, and the day."""
        record = {
            name.lower(): self.in_free_form(value) if name.lower() in _FREE_FORM else _lower(value)
            for name, value in event.items()
        }
        return record | {"timestamp": event["eventTime"][:10].replace("-", "/")}

    def in_free_form(self, value: Any) -> Any:
        """Return what stands in a column of an object that the table does not spell out: its JSON as text."""
        return _text(value)

    def clear(self) -> None:
        """Create the table anew."""
        self._execute(f"DROP TABLE IF EXISTS {self._name}")
        self._execute(self._create)

    def add(self, events: list[Event]) -> None:
        """Insert events."""
        # A time can't be cast from JSON; from a text it can.
        texts = self._columns.replace("timestamp(3)", "varchar")
        for start in range(0, len(events), _AT_ONCE):
            self._execute(
                f"INSERT INTO {self._name} SELECT * FROM UNNEST("
                f"CAST(CAST(json_parse(?) AS array(row({texts}))) AS array(row({self._columns}))))",
                json.dumps([self.stored(event) for event in events[start : start + _AT_ONCE]]),
            )

    def _execute(self, statement: str, *parameters: str) -> Any:
        return self._connection.cursor().execute(statement, parameters or None)


class Lake(Athena):
    """The queries over an event data store of CloudTrail Lake."""

    name = f"CloudTrail Lake's SQL on Trino {_VERSION}"
    output_format = "sql-lake"
    table = "lake.sql"

    def over_all_days(self, query: str) -> tuple[str, list[str]]:
        """Fill in the placeholders."""
        values = {"$EDS_ID": self._name, "$FROM": "2000-01-01 00:00:00", "$TO": "2100-01-01 00:00:00"}
        for name, value in values.items():
            query = query.replace(name, value)
        return query, []

    def stored(self, event: Event) -> Event:
        """Return a record as an event data store has it: times as Trino writes them."""
        record = super().stored(event)
        for attributes in (record, value_of(record, "useridentity.sessioncontext.attributes") or {}):
            for name in {"eventtime", "creationdate"} & attributes.keys():
                attributes[name] = attributes[name].replace("T", " ").removesuffix("Z")
        return record

    def in_free_form(self, value: Any) -> Any:
        """Return a map of texts; what is no object is not stored."""
        return {key: _text(inside) for key, inside in value.items()} if isinstance(value, dict) else None


class SecurityLake(Athena):
    """The queries over Security Lake's table."""

    name = f"Security Lake's SQL on Trino {_VERSION}"
    target = "securitylake"
    table = "securitylake.sql"

    def over_all_days(self, query: str) -> tuple[str, list[str]]:
        """Put the table's name in, and return the first and the last day."""
        table = defaults(self.target)["table"]
        return query.replace(table, self._name), ["2000-01-01", "2100-01-01"]

    def _named(self, rule: Any, row: Row) -> str:
        names = cloudtrail_names(rule)
        return super()._named(rule, {field: row[column] for field, column in names.items() if column in row} | row)

    def stored(self, event: Event) -> Event:
        """Return a record as Security Lake has it: times as Trino writes them."""
        record = ocsf.converted(event)
        for attributes in (record, value_of(record, "actor.session") or {}):
            for name in {"time_dt", "created_time_dt"} & attributes.keys():
                attributes[name] = attributes[name].strftime("%Y-%m-%d %H:%M:%S")
        return record


@contextmanager
def running() -> Iterator[Connection]:
    """Start a server, and stop it."""
    classes = maven.build("trino")
    with started(classes, "LocalTrino", "LOCAL_TRINO_STARTED", maven.java("trino"), _OPTIONS) as url:
        address = urlsplit(url)
        properties = {"task_concurrency": "1"}  # the data are small
        with Connection(
            host=str(address.hostname),
            port=address.port or 0,
            user="keywatch",
            catalog="memory",
            schema="default",
            session_properties=properties,
        ) as connection:
            yield connection


def _lower(value: Any) -> Any:
    """Return a value with the names in it in lower case."""
    if isinstance(value, list):
        return [_lower(item) for item in value]
    return {key.lower(): _lower(item) for key, item in value.items()} if isinstance(value, dict) else value


def _text(value: Any) -> str | None:
    """Return a value as a text: JSON, unless it is one already."""
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
