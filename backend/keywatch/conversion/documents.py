"""YAML files of rules and filters, document by document, with the line in which each begins."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml
from sigma.exceptions import SigmaConditionError, SigmaValueError
from sigma.rule.base import SigmaYAMLLoader

from keywatch.errors import UserError

#: Far more than any rule has. Aliases count as often as they are used, so a small file can't stand for a large one.
_MOST_NODES, _DEEPEST = 100_000, 50
#: What stands between the documents of a file.
_BETWEEN = re.compile(r"^---(?=\s)", re.MULTILINE)
#: Anchors, deep indents, and collections in each other on one line: what a bomb can't do without.
_SUSPECT = re.compile(r"&|^ {49}|- -|^\s*\? ", re.MULTILINE)
_SUSPECT_SIGNS = ("&", " " * 49, "- -", "? ")
#: What the modifier windash writes in five ways, and how many of them a value may have: 625 values.
_DASH, _MOST_DASHES = re.compile(r"\B[-/]\b"), 4


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
        refuse_bombs(text, path)
        loader = _Loader(text)
        while loader.check_node():
            node = loader.get_node()
            assert node is not None
            line = node.start_mark.line + 1
            content = _held(loader, node)
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
        raise UserError(_TOO_DEEP, path) from error
    except OSError as error:
        raise UserError(error.strerror or str(error), path) from error
    if not found:
        raise UserError(_NO_RULE, path, 1)
    return found


class _Loader(SigmaYAMLLoader):
    """Sigma's loader, which looks up once what a scalar is that comes again: most keys and many values do."""

    resolve = staticmethod(lru_cache(10_000)(yaml.resolver.Resolver().resolve))

    def timestamp(self, node: yaml.ScalarNode) -> Any:
        """Return a date; a text that only looks like one as it is."""
        try:
            return self.construct_yaml_timestamp(node)
        except ValueError:
            return node.value


_Loader.add_constructor("tag:yaml.org,2002:timestamp", _Loader.timestamp)


_TEXT, _LIST, _MAPPING = (f"tag:yaml.org,2002:{kind}" for kind in ("str", "seq", "map"))


def _held(loader: _Loader, node: yaml.Node) -> Any:
    """Return what the loader makes of a node, in half its time where that is texts, lists, and mappings by texts."""
    if _is_text(node):
        return node.value
    if type(node) is yaml.SequenceNode and node.tag == _LIST:
        return [_held(loader, one) for one in node.value]
    if type(node) is yaml.MappingNode and node.tag == _MAPPING:
        held = {key.value: _held(loader, one) for key, one in node.value if _is_text(key)}
        if len(held) == len(node.value):  # else it has a key of another kind, or one twice
            return held
    return loader.construct_object(node, deep=True)


def _is_text(node: yaml.Node) -> bool:
    return type(node) is yaml.ScalarNode and node.tag == _TEXT


_NO_RULE = "not a Sigma rule: a mapping with title, logsource and detection is wanted"


_TOO_DEEP = f"nested deeper than {_DEEPEST}; rules and settings are flat"


def refuse_bombs(text: str, path: Path) -> None:
    """Refuse a YAML file that is nested deeper, or larger with its aliases, than rules and settings can be.

    Nothing is built to find that out. What is not YAML is passed over.
    :raises UserError: for such a one.
    """
    may_be = any(sign in text for sign in _SUSPECT_SIGNS) and _SUSPECT.search(text)
    largest = max(map(len, _BETWEEN.split(text)))
    if not may_be and text.count("[") + text.count("{") < _DEEPEST and largest < _MOST_NODES:
        return  # nearly every rule, at a tenth of the time
    sizes = [0]  # of the document, and of each collection that is open, its aliases counted
    anchors: list[str | None] = [None]
    known: dict[str | None, int] = {}
    with suppress(yaml.YAMLError):
        for event in yaml.parse(text, yaml.CSafeLoader):
            if isinstance(event, yaml.CollectionStartEvent):
                sizes.append(1)
                anchors.append(event.anchor)
            elif isinstance(event, yaml.AliasEvent):
                stands_in_itself = event.anchor in anchors
                sizes[-1] += _MOST_NODES if stands_in_itself else known.get(event.anchor, 0)
            elif isinstance(event, yaml.NodeEvent):
                sizes[-1] += 1
                known[event.anchor] = 1
            elif isinstance(event, yaml.DocumentStartEvent):
                sizes = [0]
            elif isinstance(event, yaml.CollectionEndEvent):
                known[anchors.pop()] = size = sizes.pop()
                sizes[-1] += size
            line = event.start_mark.line + 1 if event.start_mark else None
            if len(sizes) > _DEEPEST:
                raise UserError(_TOO_DEEP, path, line)
            if sizes[-1] > _MOST_NODES:
                raise UserError(f"more than {_MOST_NODES} values, its aliases counted", path, line)


def refuse_detection(detection: dict[Any, Any]) -> None:
    """Refuse what pySigma meets with an error of Python's, or with more than any query can hold.

    :param detection: what stands under `detection`.
    :raises sigma.exceptions.SigmaError: for such a one.
    """
    for name, content in detection.items():
        if name != "condition":
            refuse_values(content)
        elif not all(isinstance(one, str) for one in (content if isinstance(content, list) else [content])):
            raise SigmaConditionError("a condition must be a text")


def refuse_values(selection: Any) -> None:
    """Refuse values that are none to Sigma, and those that windash would make more of than any query can hold.

    pySigma writes each dash in front of a word in five ways, and all of them with all others.
    :param selection: what stands under a name under `detection`, or in it.
    :raises sigma.exceptions.SigmaValueError: for such a value.
    """
    for part in selection if isinstance(selection, list) else ():
        refuse_values(part)
    for key, value in selection.items() if isinstance(selection, dict) else ():
        if key is not None and not isinstance(key, str):
            raise SigmaValueError(f"field '{key}': the name of a field must be a text")
        values = value if isinstance(value, list) else [value]
        if any(isinstance(one, dict | list) for one in values):
            raise SigmaValueError(
                f"field '{key}': a value can't hold others; write the path to each as a field: {key}.…"
            )
        if "windash" not in str(key).split("|")[1:]:
            continue
        for text in values:
            if isinstance(text, str) and (dashes := len(_DASH.findall(text))) > _MOST_DASHES:
                message = f"field '{key}': windash would make {5**dashes} values of {dashes} dashes"
                raise SigmaValueError(f"{message}; up to {_MOST_DASHES} have a form")
