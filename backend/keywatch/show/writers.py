"""What a hunt writes: a table for people, lines of JSON, CSV, or a page."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import fields
from io import StringIO
from pathlib import Path

from keywatch.errors import UserError, printable
from keywatch.hunting.alerts import Alerts
from keywatch.hunting.cases import cases
from keywatch.words import nothing_called

#: Takes text in UTF-8.
Write = Callable[[bytes | memoryview], object]
#: By the suffix of the file that is written.
SUFFIXES = {".txt": "table", ".ndjson": "ndjson", ".jsonl": "ndjson", ".csv": "csv", ".html": "html", ".htm": "html"}


def format_for(name: str | None, out: Path | None) -> str:
    """Return the format that is meant: the one that is named, or else that of the file's suffix; a table for people.

    :raises UserError: for a suffix that tells nothing.
    """
    if name is not None or out is None:
        return name or "table"
    if out.suffix.lower() not in SUFFIXES:
        said = nothing_called("format for the suffix", out.suffix, SUFFIXES)
        raise UserError(f"{said}; or name one with --format", out)
    return SUFFIXES[out.suffix.lower()]


def _table(alerts: Alerts, write: Write, *, plain: bool) -> None:
    import click

    from keywatch.show.cases import blocks

    for block in blocks(cases(alerts), shutil.get_terminal_size().columns):
        write(f"{click.unstyle(block) if plain else block}\n".encode())
    if not alerts.count:
        write(b"No alerts.\n")


#: What a terminal obeys or does not show, in UTF-8: C1 and DEL, bidirectional controls, other separators, tags.
_HIDDEN = re.compile(
    rb"\x7f|\xc2[\x80-\x9f\xad]|\xd8\x9c|\xe2\x80[\x8b-\x8f\xa8-\xae]|\xe2\x81[\xa0-\xaf]"
    rb"|\xef\xbb\xbf|\xef\xbf[\xb9-\xbb]|\xf3\xa0[\x80\x81][\x80-\xbf]"
)


def _ndjson(alerts: Alerts, write: Write, **_: bool) -> None:
    for piece in alerts.ndjson():
        lines = bytes(piece)
        # Nearly all are ASCII, in which only DEL is hidden; to search them with the expression takes a while.
        write(lines if lines.isascii() and b"\x7f" not in lines else _HIDDEN.sub(_escaped, lines))


def _escaped(hidden: re.Match[bytes]) -> bytes:
    return json.dumps(hidden[0].decode())[1:-1].encode()


def _csv(alerts: Alerts, write: Write, **_: bool) -> None:
    """Write a row an alert; what is no plain text is JSON, which no spreadsheet takes for a formula."""
    from keywatch.hunting.hunt import Alert, decoded

    text = StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(Alert)])
    writer.writeheader()
    for alert in decoded(alerts):
        # As it is printed, and with what OWASP puts in front of what a spreadsheet would compute.
        title = printable(alert.title)
        row = vars(alert) | {"title": f"'{title}" if title.startswith(("=", "+", "-", "@")) else title}
        writer.writerow(
            {key: json.dumps(value) if isinstance(value, dict | list) else value for key, value in row.items()}
        )
        write(text.getvalue().encode())
        text.seek(0)
        text.truncate()
    write(text.getvalue().encode())


def _html(alerts: Alerts, write: Write, **_: bool) -> None:
    from keywatch.show.page import page

    write(page(alerts).encode())


WRITERS: dict[str, Callable[..., None]] = {"table": _table, "ndjson": _ndjson, "csv": _csv, "html": _html}
#: Those that show the events behind the alerts.
LOOKING_BEHIND = {"table", "html"}
