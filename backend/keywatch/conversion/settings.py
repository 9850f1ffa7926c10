"""The settings file: read, checked, merged over the defaults."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sigma.pipelines.keywatch._pack import PACK, read_yaml

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


def load_settings(path: Path | None) -> dict[str, Any]:
    """Read a settings file over the defaults of `sigma/settings.yaml`.

    :raises UserError: if it can't be read, or says something that makes no sense.
    """
    settings: dict[str, Any] = read_yaml(PACK / "settings.yaml")
    if path is not None:
        for section, values in _read(path).items():
            settings[section] = {**settings[section], **values}
    return settings


def check_rule_settings(
    path: Path | None, settings: dict[str, Any], correlations: dict[str, dict[str, Any] | None]
) -> None:
    """Check the section `rules` against the rules that were loaded.

    :param correlations: name of each rule → what it says under `correlation`; None for a rule of single events.
    :raises UserError: for a rule that does not exist, and for a threshold or window where there is none.
    """
    for name, values in settings["rules"].items():
        if name not in correlations:
            message = nothing_called("rule", name, sorted(correlations), "keywatch rules")
            raise _error(path, ["rules", name], message)
        correlation = correlations[name]
        takes = ["enabled"]
        if correlation is not None:
            takes += ["timespan"]
        if correlation is not None and isinstance(correlation.get("condition"), dict):
            takes += ["threshold"]
        for key in values:
            if key not in takes:
                message = f"'{name}' counts nothing and has no {key}; it takes: {', '.join(takes)}"
                raise _error(path, ["rules", name, key], message)


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
    return {"type": "object", "additionalProperties": False, "properties": sections}


def _read(path: Path) -> Any:
    from jsonschema import Draft202012Validator
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError

    try:
        settings = YAML().load(path.read_text(encoding="utf-8")) or {}
    except (OSError, UnicodeDecodeError) as failure:
        raise UserError(f"can't be read: {failure}", path) from failure
    except MarkedYAMLError as failure:
        mark = failure.problem_mark
        raise UserError(f"not YAML: {failure.problem}", path, mark.line + 1 if mark else None) from failure
    for error in sorted(Draft202012Validator(_schema()).iter_errors(settings), key=lambda e: list(map(str, e.path))):
        where = [str(key) for key in error.path]
        if error.validator == "additionalProperties":
            choices = error.schema["properties"]
            unknown = next(key for key in error.instance if key not in choices)
            raise _error(path, [*where, unknown], nothing_called("setting", str(unknown), choices), settings)
        wanted = error.schema.get("description", "settings, each in a line of its own: name: value")
        raise _error(path, where, f"'{error.instance}' is not {wanted}", settings)
    return settings


def _error(path: Path | None, keys: list[str], message: str, settings: Any = None) -> UserError:
    """Name the line of a setting."""
    if path is None:
        return UserError(message)
    node: Any = settings if settings is not None else _read(path)  # ruamel's mappings know their lines
    line = 0
    for key in keys:
        try:
            line = node.lc.key(key)[0]
        except (AttributeError, KeyError):
            break
        node = node[key]
    return UserError(message, path, line + 1)
