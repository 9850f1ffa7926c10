"""Read CloudTrail records from files, in whatever shape they were left."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from keywatch.errors import UserError

_GZIP = b"\x1f\x8b"
_SUFFIXES = (".json", ".jsonl", ".ndjson", ".json.gz", ".jsonl.gz", ".ndjson.gz")


@dataclass
class Coverage:
    """What was read, and what could not be."""

    files: int = 0
    records: int = 0
    digests: int = 0
    duplicates: int = 0
    problems: list[UserError] = field(default_factory=list)


def find_files(paths: Iterable[Path], coverage: Coverage) -> list[Path]:
    """List the files to read: those named, and in folders all that look like JSON, digest files left out.

    A path that does not exist, or a folder without any such file, becomes a problem of the coverage.
    """
    files: list[Path] = []
    for path in paths:
        if not path.is_dir():
            files.append(path)  # one that is not there is named when it is opened
            continue
        found = sorted(file for file in path.rglob("*") if file.name.endswith(_SUFFIXES) and file.is_file())
        logs = [file for file in found if "CloudTrail-Digest" not in str(file)]
        coverage.digests += len(found) - len(logs)
        if not found:
            coverage.problems.append(UserError(f"holds no file that ends in {', '.join(_SUFFIXES)}", path))
        files += logs
    return files


def read_records(path: Path, coverage: Coverage) -> Iterator[dict[str, Any]]:
    """Yield the records of a file: `{"Records": […]}` as AWS delivers it, an array, one event, or one a line.

    What can't be read becomes a problem of the coverage; nothing else of the file is lost by it.
    """
    try:
        content = path.read_bytes()
        if content.startswith(_GZIP):
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        coverage.problems.append(UserError(f"can't be read: {reason}", path))
        return
    coverage.files += 1
    for line, document in _documents(content, path, coverage):
        for record in _records(document):
            if not isinstance(record, dict) or "eventName" not in record:
                problem = "not a CloudTrail record: an object with eventName is wanted"
                coverage.problems.append(UserError(problem, path, line))
            else:
                coverage.records += 1
                yield record


def _documents(content: bytes, path: Path, coverage: Coverage) -> Iterator[tuple[int | None, Any]]:
    if not content.strip():
        return
    try:
        yield None, orjson.loads(content)
        return
    except orjson.JSONDecodeError as error:
        whole = error
    lines = content.splitlines()
    if len(lines) == 1 or not lines[0].rstrip().endswith((b"}", b"]")):
        coverage.problems.append(UserError(f"not JSON: {whole}", path))
        return
    for number, line in enumerate(lines, 1):
        try:
            if line.strip():
                yield number, orjson.loads(line)
        except orjson.JSONDecodeError as error:
            coverage.problems.append(UserError(f"not JSON: {error}", path, number))


def _records(document: Any) -> list[Any]:
    if isinstance(document, dict) and isinstance(document.get("Records"), list):
        return document["Records"]  # type: ignore[no-any-return]
    return document if isinstance(document, list) else [document]
