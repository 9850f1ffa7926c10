"""Put values into a settings file, and leave every other byte of it alone: comments, line ends, flow mappings."""

from __future__ import annotations

import re
from typing import Any

import yaml

_INDENT = 4


class EditingError(ValueError):
    """The file says something in a way that is left to a person, such as an alias."""


def with_setting(text: str, keys: list[str], value: str | int, comment: str = "") -> str:
    """Return the text of a settings file in which a setting has a value.

    :param keys: the sections that the setting is in, and its name.
    :param comment: takes the place of the comment behind it, as far as there is room for one in the line.
    :raises EditingError: where the file would say more or less than that afterwards.
    """
    wanted = _data(text)
    section = wanted
    for key in keys[:-1]:
        # Copied, because an alias stands for the same mapping in several places.
        section[key] = dict(section[key]) if isinstance(section.get(key), dict) else {}
        section = section[key]
    section[keys[-1]] = value
    edited = _edited(text, keys, value, comment)
    try:
        right = _data(edited) == wanted
    except yaml.YAMLError:
        right = False
    if not right:
        raise EditingError(": ".join([*keys, str(value)]))
    return edited


def _data(text: str) -> Any:
    return yaml.load(text, yaml.SafeLoader) or {}


def _edited(text: str, keys: list[str], value: str | int, comment: str) -> str:
    node = yaml.compose(text, yaml.SafeLoader)
    column, step = 0, _INDENT
    while isinstance(node, yaml.MappingNode) and node.value:
        flow = node.flow_style
        if not flow:
            first = node.value[0][0].start_mark.column
            column, step = first, first - column or step
        found = next((item for key, item in node.value if key.value == keys[0]), None)
        if found is None:
            return (
                _in_flow(text, node, keys, value, comment)
                if flow
                else _below(text, _end(node), keys, value, comment, column, step)
            )
        node, keys = found, keys[1:]
        if not keys:
            return _commented(text[: node.start_mark.index] + str(value), text[node.end_mark.index :], comment)
        if not (isinstance(node, yaml.MappingNode) and node.value):
            if flow:
                written = _flow(keys, value)
                return text[: node.start_mark.index] + f"{{{written}}}" + text[node.end_mark.index :]
            # What stands for nothing, such as {}, gives way to lines below.
            before, after = text[: node.start_mark.index].rstrip(" "), text[node.end_mark.index :]
            return _below(before + after, len(before), keys, value, comment, column + step, step)
    return _below(text, len(text), keys, value, comment, 0, _INDENT)


def _end(node: yaml.Node) -> int:
    """Return where the last thing of a mapping ends; the comments behind it are not part of it."""
    while isinstance(node, yaml.MappingNode) and node.value and not node.flow_style:
        node = node.value[-1][1]
    return int(node.end_mark.index)


def _below(text: str, index: int, keys: list[str], value: str | int, comment: str, column: int, step: int) -> str:
    """Write a setting, in lines of its own, below the line in which a place is."""
    line_end = "\r\n" if "\r\n" in text else "\n"
    at = text.find("\n", index) + 1
    if not at:
        text += line_end if text and not text.endswith("\n") else ""
        at = len(text)
    lines = [f"{' ' * (column + step * depth)}{key}:" for depth, key in enumerate(keys)]
    lines[-1] += f" {value}" + (f"  # {comment}" if comment else "")
    return text[:at] + "".join(line + line_end for line in lines) + text[at:]


def _in_flow(text: str, node: yaml.Node, keys: list[str], value: str | int, comment: str) -> str:
    before, after = text[: node.end_mark.index - 1].rstrip(), text[node.end_mark.index - 1 :]
    written = f"{before}{'' if before.endswith(',') else ','} {_flow(keys, value)}"
    return _commented(written, after, comment if len(keys) == 1 else "")


def _flow(keys: list[str], value: str | int) -> str:
    return ": {".join(keys) + f": {value}" + "}" * (len(keys) - 1)


def _commented(before: str, after: str, comment: str) -> str:
    """Join what stands before a value's end and after it, with a comment where the line is about nothing else."""
    match = re.match(r"([^#{}\r\n]*\}?[ \t]*)(#[^\r\n]*)?(?=\r?\n|$)", after) if comment else None
    if match is None:
        return before + after
    return f"{before}{match[1].rstrip()}  # {comment}{after[match.end() :]}"
