"""Files that replace others, whole or not at all."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from errno import EISDIR
from pathlib import Path
from typing import BinaryIO

from keywatch.ending import cleaning
from keywatch.errors import UserError


@contextmanager
def writing(path: Path, *, named: bool = True) -> Iterator[None]:
    """Turn a failure to write into an error of one line.

    :param path: what is named where the failure names no file, as a full disk does not.
    :param named: whether a file that the failure names is one that a person knows.
    :raises UserError: if something could not be written.
    """
    try:
        yield
    except OSError as error:
        known = error.filename if named else None
        raise UserError(f"can't be written: {error.strerror or error}", Path(known or path)) from error


def replace(path: Path, content: str | bytes) -> None:
    """Write a file, in place of an earlier one of that name. Folders are made as they are needed.

    Whatever goes wrong, what was there stays whole.
    :raises UserError: if it could not be written.
    """
    with replacing(path) as stream:
        stream.write(content.encode() if isinstance(content, str) else content)


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Give a stream, and put what was written there in place of a file when the block ends well; see `replace`."""
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not path.is_file():  # /dev/stdout and the like
            with path.open("wb") as stream:
                yield stream
            return
        # Where the path is a link, what it leads to is replaced.
        path = Path(os.path.realpath(path))
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:100]}.")
        made = Path(name)
        try:
            with cleaning(lambda: made.unlink(missing_ok=True)), os.fdopen(handle, "wb") as stream:
                yield stream
            made.chmod(_mode(path))
            made.replace(path)
        except OSError as error:
            error.filename = error.filename if error.filename not in (None, name) else path
            raise
        finally:
            made.unlink(missing_ok=True)


def replace_all(contents: Mapping[Path, str | bytes], before: Callable[[], None] = lambda: None) -> None:
    """Write files, in place of earlier ones of their names. Folders are made as they are needed.

    All are written beside the old ones first, so that a disk that fills up leaves every old one in its place.
    :param before: is called when all are written, and before any takes its place.
    :raises UserError: if one could not be written.
    """
    folders: dict[Path, Path] = {}  # → the folder in it in which its files are written first
    staged: dict[Path, Path] = {}
    devices: dict[Path, bytes] = {}

    def clean() -> None:
        for temporary in folders.values():
            shutil.rmtree(temporary, ignore_errors=True)

    with cleaning(clean), ExitStack() as stack:
        stack.callback(clean)
        for path, content in contents.items():
            data = content.encode() if isinstance(content, str) else content
            with writing(path):
                if path.parent not in folders:
                    path.parent.mkdir(parents=True, exist_ok=True)
                # Where the path is a link, what it leads to is replaced.
                real = Path(os.path.realpath(path)) if path.is_symlink() else path
                old = _kept_mode(real)
            if old is not None and not stat.S_ISREG(old):  # /dev/stdout and the like
                devices[path] = data
                continue
            with writing(real, named=False):
                if real.parent not in folders:
                    folders[real.parent] = Path(tempfile.mkdtemp(dir=real.parent, prefix=".keywatch-"))
                staged[real] = folders[real.parent] / str(len(staged))
                staged[real].write_bytes(data)
                if old is not None:
                    staged[real].chmod(old & 0o777)
        before()
        for path, data in devices.items():
            with writing(path):
                path.write_bytes(data)
        for path, temporary in staged.items():
            with writing(path, named=False):
                temporary.replace(path)


def _kept_mode(path: Path) -> int | None:
    """Return the mode of what a file takes the place of; None if there is nothing.

    :raises IsADirectoryError: if that is a folder.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(EISDIR, os.strerror(EISDIR))
    return mode


def _mode(path: Path) -> int:
    """Return the permissions of what takes the place of a file: those of the old one, or of any new one."""
    old = _kept_mode(path)
    if old is not None:
        return old & 0o777
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask
