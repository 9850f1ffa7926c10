"""Read the time of an event, in the ways in which exports write it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

#: A time in UTC, without a zone, as DuckDB's TIMESTAMP has it.
TIME = pa.timestamp("us")

#: CloudTrail began in 2013. A number is a time in the first of these units with which it lies between these years.
_UNITS = (1, 1_000, 1_000_000, 1_000_000_000)
_NUMBERED = range(2010, 2100)
_EPOCH = datetime(1970, 1, 1)
#: The year 9999 is left out, so that a window after an event ends within what Python and DuckDB both hold.
_YEARS = range(1970, 9999)


def read_time(text: str) -> datetime:
    """Return a time in UTC, without a zone: ISO 8601 with or without offset (UTC then), or a count since 1970.

    :raises ValueError: if it can't be read, or lies outside the years from 1970 to 9998.
    """
    try:
        # Athena writes `2026-11-20 10:00:00.000 UTC`.
        plain = text.strip().removesuffix(" UTC")
        time = _counted(float(plain)) if _is_number(plain) else datetime.fromisoformat(plain)
        if time.tzinfo is not None:
            time = time.astimezone(UTC).replace(tzinfo=None)
    except OverflowError as error:
        raise ValueError(str(error)) from error
    if time.year not in _YEARS:
        raise ValueError("out of range")
    return time


def times_of(texts: Sequence[Any]) -> pa.Array | None:
    """Return times in UTC, all read at once; None if one of them is written in another way than CloudTrail's."""
    try:
        times = pa.array(texts, pa.string()).cast(pa.timestamp("us", "UTC")).cast(TIME)
    except pa.ArrowException:
        return None
    bounds = pc.min_max(times).as_py().values()
    return times if not times.null_count and all(one is None or one.year in _YEARS for one in bounds) else None


def _is_number(text: str) -> bool:
    return text.replace(".", "", 1).isdecimal() and text.isascii()


def _counted(number: float) -> datetime:
    for unit in _UNITS:
        seconds = number / unit
        if seconds < _YEARS[-1] * 366 * 86400 and (time := _EPOCH + timedelta(seconds=seconds)).year in _NUMBERED:
            return time
    raise ValueError("no count of seconds, nor of thousandths, since 1970")
