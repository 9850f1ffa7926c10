"""Rows of the table `cloudtrail`: what records have, as Arrow takes it, with their times as times."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from keywatch.errors import UserError
from keywatch.hunting.columns import Columns, Values, text
from keywatch.hunting.coverage import Coverage
from keywatch.hunting.times import TIME, read_time, times_of

_TIME = "eventTime"


class Rows(NamedTuple):
    """What records have that were read together, and where that was."""

    values: Values
    path: Path | None = None
    line: int | None = None


def table_of(several: Sequence[Rows], columns: Columns, coverage: Coverage) -> pa.Table:
    """Return rows as a table; note those whose time can't be read, and leave them out."""
    arrays = {}
    for place, name in enumerate(columns.names):
        values = list(chain.from_iterable(rows.values[place] for rows in several))
        if name != _TIME:
            arrays[name] = _texts(values)
        elif (times := times_of(values)) is not None:
            arrays[name] = times
        else:
            arrays[name] = pa.array(list(_times(several, place, coverage)), TIME)
    table = pa.table(arrays)
    return table.filter(table[_TIME].is_valid()) if table[_TIME].null_count else table


def _texts(values: list[Any]) -> pa.Array:
    try:
        return pa.array(values, pa.string())
    except pa.ArrowException:  # some are objects, or numbers
        return pa.array(list(map(text, values)), pa.string())


def _times(several: Sequence[Rows], place: int, coverage: Coverage) -> Iterator[datetime | None]:
    for rows in several:
        for value in rows.values[place]:
            written = text(value)
            try:
                yield read_time(written or "")
            except ValueError:
                what = "a record whose eventTime is no time, or out of range; it was left out"
                coverage.problems.append(UserError(f"{what} ({str(written)[:40]!r})", rows.path, rows.line), what)
                yield None
