"""What is wrong with a user's file, in one line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass
class UserError(Exception):
    """Something a user can put right: `file:line: what is wrong; what would be right`."""

    message: str
    path: Path | None = None
    line: int | None = None

    def __str__(self) -> str:
        """Return the one line."""
        where = "" if self.path is None else f"{self.path}:{self.line}: " if self.line else f"{self.path}: "
        return where + " ".join(self.message.split())


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


def line_of(path: Path, message: str) -> int:
    """Find the line of a YAML file that an error message speaks of: the first that holds something it quotes.

    pySigma's errors name the file only. A quoted word is looked for among keys (without their modifiers) and values.
    :return: the line, from 1; 1 where nothing quoted is found.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        with path.open(encoding="utf-8") as stream:
            nodes = [node for document in YAML().compose_all(stream) for node in _scalars(document)]
    except (OSError, UnicodeDecodeError, YAMLError):  # what is wrong with the file as a whole was said already
        return 1
    for word in re.findall(r"'([^']+)'", message):
        for node in nodes:
            if node.value == word or node.value.split("|")[0] == word:
                return int(node.start_mark.line) + 1
    return 1


def _scalars(node: Any) -> list[Any]:
    value = getattr(node, "value", None)
    if not isinstance(value, list):
        return [node] if value is not None else []
    children = [child for item in value for child in (item if isinstance(item, tuple) else (item,))]
    return [scalar for child in children for scalar in _scalars(child)]
