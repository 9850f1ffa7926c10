"""The settings file: read, checked, merged over the defaults."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sigma.pipelines.keywatch._pack import PACK, read_yaml

from keywatch.conversion.documents import refuse_bombs
from keywatch.conversion.targets import TARGETS
from keywatch.errors import UserError
from keywatch.words import nothing_called

_TIMESPAN = {"type": "string", "pattern": "^[1-9][0-9]{0,4}[smhd]$", "description": "a timespan, such as 15m or 1h"}
#: What may stand in a query as it is.
_NAME = {
    "type": "string",
    "pattern": r"^[\w.*:,-]+$",
    "description": "a name or pattern of letters, digits and . _ - * : ,",
}
#: Those that a cron line can say, and that AppInspect takes (at most 12 runs an hour).
_INTERVALS = ["5m", "10m", "15m", "20m", "30m", "1h", "2h", "3h", "4h", "6h", "8h", "12h", "24h"]
_PRICE = {"type": "number", "minimum": 0, "maximum": 1e6, "description": "a number of US dollars, such as 5.00"}
_VALUES = {
    "type": "array",
    "items": {"type": ["string", "number"]},
    "minItems": 1,
    "description": "a list of the values that stand for a placeholder",
}
_RULE = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "enabled": {"type": "boolean", "description": "true or false"},
        "threshold": {"type": "integer", "minimum": 2, "description": "a number of distinct values, 2 or more"},
        "timespan": _TIMESPAN,
    },
}


def load_settings(*paths: Path | None) -> dict[str, Any]:
    """Read settings files, each over those before it, and the first over the defaults of `sigma/settings.yaml`.

    :raises UserError: if one can't be read, or says something that makes no sense.
    """
    settings: dict[str, Any] = read_yaml(PACK / "settings.yaml")
    for path in filter(None, paths):
        for section, values in _read(path).items():
            earlier = settings[section]
            if section == "rules":  # a file may say one thing of a rule, and the one before another
                settings[section] = earlier | {rule: {**earlier.get(rule, {}), **own} for rule, own in values.items()}
            else:
                settings[section] = {**earlier, **values}
    return settings


def check_rule_settings(
    paths: Sequence[Path | None], settings: dict[str, Any], correlations: dict[str, dict[str, Any] | None]
) -> None:
    """Check the section `rules` against the rules that were loaded.

    :param paths: the files that the settings were read from.
    :param correlations: name of each rule → what it says under `correlation`; None for a rule of single events.
    :raises UserError: for a rule that does not exist, and for a threshold or window where there is none.
    """
    for name, values in settings["rules"].items():
        if name not in correlations:
            message = nothing_called("rule", name, sorted(correlations), "keywatch rules")
            raise _error(paths, ["rules", name], message)
        correlation = correlations[name]
        takes = ["enabled"]
        if correlation is not None:
            takes += ["timespan"]
        if correlation is not None and isinstance(correlation.get("condition"), dict):
            takes += ["threshold"]
        for key in values:
            if key not in takes:
                message = f"'{name}' counts nothing and has no {key}; it takes: {', '.join(takes)}"
                raise _error(paths, ["rules", name, key], message)


def _schema() -> dict[str, Any]:
    sections: dict[str, Any] = {
        "schedule": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "interval": {"enum": _INTERVALS, "description": f"one of {', '.join(_INTERVALS)}"},
                "ingest_delay": _TIMESPAN,
            },
        },
        "rules": {"type": "object", "additionalProperties": _RULE},
        "placeholders": {"type": "object", "additionalProperties": _VALUES},
    }
    for name, target in TARGETS.items():
        sections[name] = {
            "type": "object",
            "additionalProperties": False,
            "properties": dict.fromkeys(target.settings, _NAME),
        }
    sections["hunt"] = {
        "type": "object",
        "additionalProperties": False,
        "properties": {"usd_per_tb": _PRICE},
    }
    return {"type": "object", "additionalProperties": False, "properties": sections}


def _read(path: Path) -> Any:
    from jsonschema import Draft202012Validator
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        text = path.read_text(encoding="utf-8")
        refuse_bombs(text, path)
        settings = YAML().load(text) or {}
    except OSError as failure:
        raise UserError(f"can't be read: {failure.strerror}", path) from failure
    except ValueError as failure:  # a byte that is no UTF-8, a number of too many digits, a date that there is not
        raise UserError(f"can't be read: {failure}", path) from failure
    except YAMLError as failure:
        mark = getattr(failure, "problem_mark", None)
        reason = getattr(failure, "problem", None) or getattr(failure, "reason", failure)
        raise UserError(f"not YAML: {reason}", path, mark.line + 1 if mark else None) from failure
    for error in sorted(Draft202012Validator(_schema()).iter_errors(settings), key=lambda e: list(map(str, e.path))):
        where = [str(key) for key in error.path]
        if error.validator == "additionalProperties":
            choices = error.schema["properties"]
            unknown = next(key for key in error.instance if key not in choices)
            raise _error([path], [*where, unknown], nothing_called("setting", str(unknown), choices), settings)
        wanted = error.schema.get("description", "settings, each in a line of its own: name: value")
        raise _error([path], where, f"'{error.instance}' is not {wanted}", settings)
    return settings


def _error(paths: Sequence[Path | None], keys: list[str], message: str, settings: Any = None) -> UserError:
    """Name the file and the line of a setting: of the last file that has it."""
    # ruamel's mappings know their lines.
    places = [(_place(settings if settings is not None else _read(path), keys), path) for path in paths if path]
    if not places:
        return UserError(message)
    (_, line), path = max(reversed(places), key=lambda place: place[0][0])
    return UserError(message, path, line + 1)


def _place(node: Any, keys: list[str]) -> tuple[int, int]:
    """Return how many of the keys a mapping has, each in that before, and the line of the last of these, from 0."""
    line = 0
    for depth, key in enumerate(keys):
        try:
            line = node.lc.key(key)[0]
            node = node[key]
        except (AttributeError, KeyError, TypeError):  # no mapping, or none that has it
            return depth, line
    return len(keys), line
