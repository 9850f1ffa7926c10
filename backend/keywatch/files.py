"""Files that replace others, whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from keywatch.ending import cleaning
from keywatch.errors import UserError


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn a failure to write into an error of one line.

    :param path: what is named where the failure names no file, as a full disk does not.
    :raises UserError: if something could not be written.
    """
    try:
        yield
    except OSError as error:
        raise UserError(f"can't be written: {error.strerror}", Path(error.filename or path)) from error


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
            made.chmod(path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~_umask())
            made.replace(path)
        except OSError as error:
            error.filename = error.filename if error.filename not in (None, name) else path
            raise
        finally:
            made.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
