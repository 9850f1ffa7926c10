"""YAML files of rules and filters, document by document, with the line in which each begins."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from sigma.rule.base import SigmaYAMLLoader

from keywatch.errors import UserError

#: Far more than any rule has. Aliases count as often as they are used, so a small file can't stand for a large one.
_MOST_NODES, _DEEPEST = 100_000, 50


@dataclass(frozen=True)
class Document:
    """A YAML document that is a mapping: a rule, a correlation or a filter."""

    path: Path
    #: The line in which it begins, from 1.
    line: int
    content: dict[str, Any]

    @property
    def name(self) -> str | None:
        """The rule's name, if it has one that is a text."""
        name = self.content.get("name")
        return name if isinstance(name, str) else None

    @property
    def correlation(self) -> dict[str, Any] | None:
        """What stands under `correlation`, if that is a mapping."""
        correlation = self.content.get("correlation")
        return correlation if isinstance(correlation, dict) else None


def read_documents(paths: list[Path], pattern: str, problems: list[UserError]) -> list[Document]:
    """Read files, and folders of them.

    :param pattern: the files that are read in a folder.
    :param problems: gains what can't be read.
    """
    documents = []
    for path in paths:
        found = sorted(path.rglob(pattern)) if path.is_dir() else [path]
        if not found:
            problems.append(UserError(f"no {pattern} file there", path))
        for file in found:
            try:
                documents += _documents(file)
            except UserError as error:
                problems.append(error)
    return documents


def _documents(path: Path) -> list[Document]:
    """Read the documents of a file.

    :raises UserError: if it can't be read, or holds something else than mappings.
    """
    found = []
    try:
        text = path.read_text(encoding="utf-8")
        _refuse_depth(text, path)
        loader = SigmaYAMLLoader(text)
        while loader.check_node():
            node = loader.get_node()
            assert node is not None
            line = node.start_mark.line + 1
            if "&" in text:
                _refuse_aliases(node, path, line)
            content = loader.construct_document(node)
            if content is None:
                continue
            if not isinstance(content, dict):
                raise UserError(_NO_RULE, path, line)
            found.append(Document(path, line, content))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        reason = getattr(error, "problem", None) or str(error)
        raise UserError(f"not YAML: {reason}", path, mark.line + 1 if mark else 1) from error
    except (TypeError, ValueError) as error:  # a key that is a list, a date that there is not, a byte that is no UTF-8
        raise UserError(f"can't be read: {error}", path) from error
    except RecursionError as error:
        raise UserError(f"nested deeper than {_DEEPEST}; a rule is flat", path) from error
    except OSError as error:
        raise UserError(error.strerror or str(error), path) from error
    if not found:
        raise UserError(_NO_RULE, path, 1)
    return found


_NO_RULE = "not a Sigma rule: a mapping with title, logsource and detection is wanted"


def _refuse_depth(text: str, path: Path) -> None:
    """Refuse a file that is nested deeper than a rule can be, before it is built.

    :raises UserError: for such a one.
    """
    if text.count("[") + text.count("{") <= _DEEPEST and " " * _DEEPEST not in text:
        return
    depth = 0
    for event in yaml.parse(text, yaml.CSafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            mark = event.start_mark
            raise UserError(f"nested deeper than {_DEEPEST}; a rule is flat", path, mark.line + 1 if mark else 1)


def _refuse_aliases(root: yaml.Node, path: Path, line: int) -> None:
    """Refuse a document that is larger than a rule can be, its aliases counted, before it is built.

    :raises UserError: for such a one.
    """
    sizes: dict[int, int] = {}

    def size(node: yaml.Node) -> int:
        if id(node) not in sizes:
            sizes[id(node)] = 1
            children = node.value if isinstance(node.value, list) else []
            flat = [child for item in children for child in (item if isinstance(item, tuple) else (item,))]
            sizes[id(node)] += sum(map(size, flat))
        return sizes[id(node)]

    if size(root) > _MOST_NODES:
        raise UserError(f"more than {_MOST_NODES} values, its aliases counted; a rule has a few", path, line)
