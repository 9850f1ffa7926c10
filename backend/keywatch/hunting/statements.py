"""What an engine is asked for that has CloudTrail in AWS's table for Athena: the events that some rule matches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import NamedTuple

import msgspec
import sigma.pipelines.keywatch.athena
from sigma.backends.keywatch._sql_text import literal
from sigma.pipelines.keywatch._fields import ELEMENTS, FieldTable, NotStoredError

from keywatch.hunting.columns import NO_JSON, Columns, Values, value_at
from keywatch.hunting.selection import Selection

#: The longest statement that Athena takes, in bytes of UTF-8 (API reference, StartQueryExecution).
LONGEST = 262_144
#: The days are those of delivery, which comes after the event: across midnight, that is the next day.
_STATEMENT = """SELECT
    {expressions}
FROM {table}
WHERE "timestamp" BETWEEN '{first:%Y/%m/%d}' AND '{last:%Y/%m/%d}'{wanted}
    AND (
        {conditions}
    )"""
#: To the second, and with what has a time that can't be read: what is wanted is looked at again here.
_TIME = """coalesce(
        try(from_iso8601_timestamp(eventtime)) BETWEEN from_iso8601_timestamp('{start:%Y-%m-%dT%H:%M:%SZ}')
            AND from_iso8601_timestamp('{end:%Y-%m-%dT%H:%M:%SZ}'),
        true
    )"""
_OR = "\n        OR "

#: A row as an engine gives it: all of it text, None where there is nothing.
Texts = list[str | None]


class Statements:
    """Statements over AWS's table, and the rows that come of them."""

    def __init__(self, table: str, columns: Columns, selection: Selection) -> None:
        """Take the table's name, the columns that are wanted, and a selection with both ends in time."""
        self._table, self._selection = table, selection
        fields = FieldTable.beside(sigma.pipelines.keywatch.athena.__file__)
        asked = [_asked(fields, name) for name in columns.names]
        #: Expressions that are asked for, each with what makes a value of the text that comes.
        self._asked = {one.expression: one.read for one in asked if one is not None}
        places = {expression: place for place, expression in enumerate(self._asked)}
        #: Of each column, in which of what comes it lies, and the path there.
        self._found = [None if one is None else (places[one.expression], one.path) for one in asked]

    def select(self, conditions: Sequence[str]) -> str:
        """Write the statement that selects the events which meet one of some conditions; of none, no event."""
        chosen = self._selection
        assert chosen.start is not None
        assert chosen.end is not None
        wanted = [_TIME.format(start=chosen.start, end=chosen.end)]
        for column, values in (("recipientaccountid", chosen.accounts), ("awsregion", chosen.regions)):
            if values:
                wanted.append(f"{column} IN ({', '.join(map(literal, values))})")
        return _STATEMENT.format(
            expressions=",\n    ".join(self._asked),
            table=self._table,
            first=chosen.start,
            last=chosen.end - timedelta(seconds=1) + timedelta(days=1),
            wanted="".join(f"\n    AND {condition}" for condition in wanted),
            conditions=_OR.join(f"({condition})" for condition in conditions) or "false",
        )

    def fitting(self, conditions: Sequence[str]) -> Iterator[int]:
        """Yield how many of the conditions come into each statement; 0 for one that fits into none."""
        least, size, number = len(self.select([]).encode()), 0, 0
        for condition in conditions:
            more = len(condition.encode()) + len(_OR) + len("()")
            if number and least + size + more > LONGEST:
                yield number
                size = number = 0
            if least + more > LONGEST:
                yield 0
                continue
            size, number = size + more, number + 1
        if number:
            yield number

    def values(self, rows: Sequence[Texts]) -> Values:
        """Return the columns of events."""
        columns = zip(*rows, strict=True) if rows else [()] * len(self._asked)
        come = [
            column if read is None else [text if text is None else read(text) for text in column]
            for read, column in zip(self._asked.values(), columns, strict=True)
        ]
        return [
            [None] * len(rows) if found is None else [value_at(value, found[1]) for value in come[found[0]]]
            for found in self._found
        ]


class _Asked(NamedTuple):
    """What is asked for to have a field: an expression, what reads its text (None if nothing has to), a path below."""

    expression: str
    read: Callable[[str], object] | None = None
    path: tuple[str, ...] = ()


def _asked(fields: FieldTable, field: str) -> _Asked | None:
    """Return what is asked for to have a field; None if the table does not have it.

    Of what lies below an open object that is the object, whole: it is looked into here as it is in files.
    """
    root, *path = field.split(".")
    shown = fields.objects.get(root, {}).get("shown")
    if shown is not None:
        return _Asked(shown, _object, tuple(path))
    if field == "eventTime":
        return _Asked("eventtime")
    try:
        [spelt] = fields.names(field)
    except NotStoredError:
        return None
    if spelt.startswith(ELEMENTS):
        return _Asked(f"json_format(CAST({spelt.removeprefix(ELEMENTS)} AS json))", _elements)
    return _Asked(spelt)


def _object(text: str) -> object:
    """Return what stands in a column of JSON; a text that is none, such as one that was cut off, as it is."""
    try:
        value = msgspec.json.decode(text)
    except NO_JSON:
        return text
    return value if isinstance(value, dict | list | None) else text


def _elements(text: str) -> object:
    """Return what stands in the elements of a list; None if nothing does."""
    values = _object(text)
    return [value for value in values if value is not None] or None if isinstance(values, list) else values
