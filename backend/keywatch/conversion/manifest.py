"""What a folder holds that conversions wrote: what the next one may remove, and nothing else."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from keywatch.errors import UserError
from keywatch.files import replace, writing

_NAME = ".keywatch.json"


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Keep other conversions from writing into a folder, where the system has locks for that.

    :raises UserError: if one does so now, or if the folder can't be made.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError("another conversion writes into this folder; try again", folder) from error
        yield
    finally:
        os.close(handle)


def keep(folder: Path, conversion: str, artefacts: Mapping[str, bytes]) -> None:
    """Note what a conversion has written, and remove what it wrote earlier and does not write any more.

    A file that somebody has changed since stays.
    :param conversion: the target and the format: files of others are left alone.
    :param artefacts: path in the folder → content.
    :raises UserError: if a file can't be removed or written.
    """
    known = _known(folder)
    earlier = known.get(conversion, {})
    for name in sorted(earlier.keys() - artefacts.keys()):
        path = folder / name
        with writing(path):
            if _is_ours(path, folder, earlier[name]):
                path.unlink()
                if path.parent != folder and not any(path.parent.iterdir()):
                    path.parent.rmdir()
    known[conversion] = {name: _digest(content) for name, content in artefacts.items()}
    replace(folder / _NAME, json.dumps(known, indent=1, sort_keys=True) + "\n")


def _known(folder: Path) -> dict[str, dict[str, Any]]:
    try:
        known = json.loads((folder / _NAME).read_text(encoding="utf-8"))
        return {str(conversion): dict(files) for conversion, files in known.items()}
    except (OSError, ValueError, TypeError, AttributeError):  # there is none, or it is no longer what we wrote
        return {}


def _is_ours(path: Path, folder: Path, digest: Any) -> bool:
    inside = path.resolve().is_relative_to(folder.resolve())
    return inside and path.is_file() and not path.is_symlink() and _digest(path.read_bytes()) == digest


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
