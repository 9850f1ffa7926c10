"""What is wrong with a user's file, in one line."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
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
        where = f"{self.place}: " if self.place else ""
        return printable(where) + one_line(self.message)

    @property
    def place(self) -> str:
        """Return where it is wrong: `file:line`."""
        return "" if self.path is None else f"{self.path}:{self.line}" if self.line else str(self.path)


def one_line(text: str) -> str:
    """Return a text for one line of a terminal, with a space in place of each stretch of blanks and line breaks."""
    return printable(" ".join(text.split()))


def printable(text: str) -> str:
    """Return a text for one line of a terminal: what a terminal would obey, or not show, is escaped as Python does."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def line_of(path: Path, message: str, begin: int = 1) -> int:
    """Find the line of a YAML file that an error message speaks of: the first that holds something it quotes.

    pySigma's errors name the file only. A quoted word is looked for among keys (without their modifiers) and values.
    :param begin: the line in which the document begins that the message is about.
    :return: the line, from 1; that of the beginning where nothing quoted is found.
    """
    documents = _documents(path, path.stat().st_mtime_ns) if path.is_file() else []
    nodes = [node for first, last, nodes in documents if last >= begin > first for node in nodes]
    for word in re.findall(r"'([^']+)'", message):
        for node in nodes:
            if node.value == word or node.value.split("|")[0] == word:
                return int(node.start_mark.line) + 1
    return begin


@lru_cache(maxsize=1)
def _documents(path: Path, modified: int) -> list[tuple[int, int, list[Any]]]:
    """Return the first and the last line of each document of a file, and its scalars. Kept: problems come by files."""
    import yaml

    try:
        documents = list(yaml.compose_all(path.read_text(encoding="utf-8"), yaml.CSafeLoader))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):  # what is wrong with the file as a whole was said already
        return []
    return [(one.start_mark.line, one.end_mark.line, _scalars(one)) for one in documents if one is not None]


def _scalars(root: Any) -> list[Any]:
    """Return the scalars of a document in their order; what an alias repeats is there once."""
    found: list[Any] = []
    seen: set[int] = set()
    todo = [root]
    while todo:
        node = todo.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node.value, list):
            todo += reversed([child for item in node.value for child in (item if isinstance(item, tuple) else (item,))])
        else:
            found.append(node)
    return found
