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
from keywatch.files import replace_all, writing

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
        with writing(folder):
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise UserError("another conversion writes into this folder; try again", folder) from error
        yield
    finally:
        os.close(handle)


def keep(folder: Path, conversion: str, artefacts: Mapping[str, bytes]) -> None:
    """Write what a conversion made, and remove what it wrote earlier and does not write any more.

    A file that is to be removed stays if somebody has changed it since.
    :param conversion: the target and the format: files of others are left alone.
    :param artefacts: path in the folder → content.
    :raises UserError: if a file can't be removed or written, or if one of these names is somebody else's file.
    """
    known = _known(folder)
    earlier = known.get(conversion, {})
    for name in artefacts.keys() - earlier.keys():
        _refuse_to_replace(folder / name, artefacts[name])
    known[conversion] = {name: _digest(content) for name, content in artefacts.items()}
    manifest = json.dumps(known, indent=1, sort_keys=True) + "\n"
    gone = {name: earlier[name] for name in sorted(earlier.keys() - artefacts.keys())}
    contents = {folder / name: content for name, content in artefacts.items()}
    # The manifest comes first: whatever ends the program after that, the next conversion knows what is ours.
    replace_all({folder / _NAME: manifest, **contents}, before=lambda: _remove(folder, gone))


def _refuse_to_replace(path: Path, content: bytes) -> None:
    """Refuse to write over a file that no conversion of this kind wrote here, unless it is the same.

    :raises UserError: for such a one.
    """
    with writing(path):
        if path.is_file() and path.read_bytes() != content:
            message = "there is such a file, which this conversion did not write; move it, or choose another folder"
            raise UserError(message, path)


def _remove(folder: Path, files: Mapping[str, Any]) -> None:
    for name, digest in files.items():
        path = folder / name
        with writing(path):
            if _is_ours(path, folder, digest):
                path.unlink()
                while (path := path.parent) != folder and not any(path.iterdir()):
                    path.rmdir()


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
