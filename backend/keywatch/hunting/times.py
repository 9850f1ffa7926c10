"""Read the time of an event, in the ways in which exports write it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from keywatch.errors import UserError
from keywatch.hunting.columns import Row
from keywatch.hunting.coverage import Coverage

#: CloudTrail began in 2013. A number is a time in the first of these units with which it lies between these years.
_UNITS = (1, 1_000, 1_000_000, 1_000_000_000)
_NUMBERED = range(2010, 2100)
_EPOCH = datetime(1970, 1, 1)
#: The year 9999 is left out, so that a window after an event ends within what Python and DuckDB both hold.
_YEARS = range(1970, 9999)
#: How long `2026-11-20T10:00:00Z` is, which is what CloudTrail writes. No other form with a T there is as long.
_USUAL = 20


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


def plain_time(text: str | None) -> str:
    """Return a time as DuckDB reads it.

    :raises ValueError: as `read_time`, and if there is none.
    """
    if text is None:
        raise ValueError("missing")
    if (
        len(text) == _USUAL
        and text[7] == "-"
        and text[10] == "T"
        and text[-1] == "Z"
        and datetime.fromisoformat(text).year in _YEARS
    ):
        return text
    return read_time(text).isoformat()


def timed(row: Row, place: int, coverage: Coverage, path: Path | None = None, line: int | None = None) -> bool:
    """Write the time in a row as DuckDB reads it; if it can't be read, note that and return false."""
    text = row[place]
    try:
        row[place] = plain_time(text)
    except ValueError:
        what = "a record whose eventTime is no time, or out of range; it was left out"
        coverage.problems.append(UserError(f"{what} ({str(text)[:40]!r})", path, line), what)
        return False
    return True


def _is_number(text: str) -> bool:
    return text.replace(".", "", 1).isdecimal() and text.isascii()


def _counted(number: float) -> datetime:
    for unit in _UNITS:
        seconds = number / unit
        if seconds < _YEARS[-1] * 366 * 86400 and (time := _EPOCH + timedelta(seconds=seconds)).year in _NUMBERED:
            return time
    raise ValueError("no count of seconds, nor of thousandths, since 1970")
