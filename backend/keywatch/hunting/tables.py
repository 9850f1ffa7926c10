"""Tables with a heading: the CSV that consoles and SIEMs export."""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterator

from keywatch.hunting.columns import plain_key
from keywatch.hunting.window import LARGEST, Window

_DELIMITERS = ",\t;|"
#: A heading is not longer.
_HEADING = 2**16


def delimiter_of(window: Window, headings: Collection[str]) -> str | None:
    """Return what stands between the columns if a table begins here with one of some headings; otherwise None."""
    size = window.line_size()
    if size is None or size > _HEADING:
        return None
    # A heading has no line breaks; what else has some that Python's csv refuses is no table.
    line = " ".join(window.data[window.at : window.at + size].decode(errors="replace").split())
    for delimiter in _DELIMITERS:
        names = next(csv.reader([line], delimiter=delimiter), [])
        if any(plain_key(name) in headings for name in names):
            return delimiter
    return None


def rows(window: Window, delimiter: str) -> Iterator[tuple[int, dict[str, str] | str]]:
    """Yield rows with their lines: what is not empty, by the names of the columns; or what is wrong."""
    csv.field_size_limit(LARGEST)
    table = csv.DictReader(_lines(window), delimiter=delimiter, restkey="")
    try:
        for row in table:
            texts = {key.strip(): text for key, text in row.items() if key and text}
            yield table.line_num, "not UTF-8" if any("\ufffd" in text for text in texts.values()) else texts
    except csv.Error as error:
        yield table.line_num, f"no table to its end: {error}"


def _lines(window: Window) -> Iterator[str]:
    while window.size or window.more():
        size = window.line_size()
        line = window.data[window.at : window.at + (window.size if size is None else size) + 1]
        window.at += len(line)
        yield line.decode(errors="replace")
