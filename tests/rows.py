"""What is read of records, as rows of texts: in production it stays in columns."""

from __future__ import annotations

from typing import Any

from keywatch.hunting.columns import Columns, text
from keywatch.hunting.coverage import Coverage
from keywatch.hunting.reading import Reader

Row = list[str | None]


def row(columns: Columns, record: Any) -> Row:
    """Return the texts of a record, be it one that was decoded or a dictionary."""
    return [text(value) for [value] in columns.values([record])]


def read(reader: Reader, path: Any, coverage: Coverage) -> list[Row]:
    """Return the texts of the records that are read of a file."""
    found = [rows.values for rows in reader.rows(str(path), coverage)]
    return [list(map(text, values)) for columns in found for values in zip(*columns, strict=True)]
