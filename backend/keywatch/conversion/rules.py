"""From rule files, settings and filters to a pySigma collection."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from sigma.backends.keywatch._sliding import Rule, counted_field, in_order
from sigma.collection import SigmaCollection
from sigma.correlations import SigmaCorrelationRule
from sigma.exceptions import SigmaError, SigmaRuleLocation, SigmaRuleNotFoundError
from sigma.pipelines.keywatch._pack import PACK
from sigma.rule import SigmaDetection, SigmaRule
from sigma.rule.base import SigmaYAMLLoader
from sigma.types import SigmaFieldReference

from keywatch.conversion.settings import check_rule_settings
from keywatch.errors import UserError, line_of


@dataclass
class Pack:
    """Rules that are ready to convert, and what could not be read."""

    collection: SigmaCollection
    disabled: set[str]
    problems: list[UserError] = field(default_factory=list)

    def in_order(self) -> list[Rule]:
        """Return the rules that are alerts by themselves, and those that they refer to, each after the latter."""
        rules = in_order(self.collection.rules)
        needed: set[int] = set()
        for rule in reversed(rules):
            if self.is_output(rule) or id(rule) in needed:
                needed |= {id(rule), *(id(reference.rule) for reference in getattr(rule, "referenced_rules", ()))}
        return [rule for rule in rules if id(rule) in needed]

    def is_output(self, rule: Rule) -> bool:
        """Tell whether a rule is an alert by itself, and enabled."""
        return rule._output and rule.name not in self.disabled


def load_pack(
    paths: list[Path], filters: list[Path], settings: dict[str, Any], settings_path: Path | None = None
) -> Pack:
    """Read rules and filters and apply the settings.

    :param paths: rule files or folders of them; none means the pack's own.
    :param filters: Sigma filter files or folders of them.
    :raises UserError: for settings that fit no rule.
    """
    problems: list[UserError] = []
    documents = [document for path in _files(paths or [PACK], problems) for document in _documents(path, problems)]
    names = {document["name"]: "correlation" in document for _, document in documents if "name" in document}
    check_rule_settings(settings_path, settings, names)
    documents += [document for path in _files(filters, problems, "*.y*ml") for document in _documents(path, problems)]
    parts = []
    for path, document in documents:
        _apply_settings(document, settings["rules"].get(document.get("name"), {}))
        try:
            parts.append(_parse(document, path))
        except Exception as error:  # pySigma meets odd YAML with whatever Python raises
            problems.append(_problem(error, path))
    problems += _doubles(parts)
    collection = SigmaCollection.merge(parts, resolve_references=False)
    problems += _drop_unresolved(collection)
    problems += _idle_filters(collection)
    disabled = {name for name, values in settings["rules"].items() if not values.get("enabled", True)}
    return Pack(collection, disabled, problems)


def problem_of(error: Exception, rule: Rule) -> UserError:
    """Say in one line what a conversion found wrong with a rule."""
    path = rule.source.path if rule.source else None
    message = _message(error)
    if rule.title not in message:
        message = f"rule '{rule.title}': {message}"
    return UserError(message, path, line_of(path, message.replace(f"'{rule.title}'", "")) if path else None)


def _files(paths: list[Path], problems: list[UserError], pattern: str = "*.yml") -> list[Path]:
    files: list[Path] = []
    for path in paths:
        found = sorted(path.rglob(pattern)) if path.is_dir() else [path] if path.exists() else []
        if not found:
            problems.append(UserError(f"no {pattern} file there" if path.is_dir() else "no such file", path))
        files += found
    return files


def _documents(path: Path, problems: list[UserError]) -> list[tuple[Path, dict[str, Any]]]:
    try:
        documents = list(yaml.load_all(path.read_text(encoding="utf-8"), SigmaYAMLLoader))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problems.append(UserError(f"not YAML: {_message(error)}", path, mark.line + 1 if mark else 1))
        return []
    except (OSError, UnicodeDecodeError) as error:
        problems.append(UserError(f"can't be read: {error}", path))
        return []
    wrong = [document for document in documents if not isinstance(document, dict | None)]
    if wrong or not any(documents):
        problems.append(UserError("not a Sigma rule: a mapping with title, logsource and detection is wanted", path, 1))
        return []
    return [(path, document) for document in documents if document]


def _apply_settings(document: dict[str, Any], settings: dict[str, Any]) -> None:
    if "threshold" in settings:
        correlation = document["correlation"]
        correlation["condition"] = {"field": correlation["condition"]["field"], "gte": settings["threshold"]}
    if "timespan" in settings:
        document["correlation"]["timespan"] = settings["timespan"]


def _parse(document: dict[str, Any], path: Path) -> SigmaCollection:
    return SigmaCollection.from_dicts(
        [document], source=SigmaRuleLocation(path), collect_filters=True, resolve_references=False
    )


def _doubles(parts: list[SigmaCollection]) -> list[UserError]:
    seen: dict[Any, Path] = {}
    problems = []
    for rule in (rule for part in parts for rule in part.rules):
        assert rule.source is not None
        for key in (rule.id, rule.name, rule.title):
            if key is not None and seen.setdefault(key, rule.source.path) is not rule.source.path:
                message = f"'{key}' is the id, name or title of the rule in {seen[key]} too; each needs its own"
                problems.append(UserError(message, rule.source.path, line_of(rule.source.path, message)))
    return problems


def _idle_filters(collection: SigmaCollection) -> list[UserError]:
    """Name the filters that change no rule: a filter that silently does nothing is an alert too many."""
    return [
        UserError(
            f"filter '{sigma_filter.title}' fits no rule: its logsource, or the names under rules, match none",
            sigma_filter.source.path if sigma_filter.source else None,
        )
        for sigma_filter in collection.filters
        if not any(sigma_filter._should_apply_on_rule(rule) for rule in collection.rules)
    ]


def _drop_unresolved(collection: SigmaCollection) -> list[UserError]:
    """Leave out correlations whose rules are not there, so that the rest still converts."""
    problems = []
    while True:
        try:
            collection.resolve_rule_references()
        except SigmaRuleNotFoundError as error:
            missing = str(error)
            rule = next(
                rule
                for rule in collection.rules
                if isinstance(rule, SigmaCorrelationRule)
                and any(f"'{reference.reference}'" in missing for reference in rule.rules or ())
            )
            problems.append(_problem(error, rule.source.path if rule.source else None))
            collection.rules.remove(rule)
            for other in collection.rules:
                other._backreferences.clear()
        else:
            return problems


def _problem(error: Exception, path: Path | None) -> UserError:
    message = _message(error)
    return UserError(message, path, line_of(path, message) if path else None)


def _message(error: Exception) -> str:
    """Say what an error says, without the file that pySigma adds: we name it in front, with the line."""
    if isinstance(error, SigmaError):
        return str(error.args[0]) if error.args else type(error).__name__
    if isinstance(error, yaml.MarkedYAMLError):
        return str(error.problem)
    return f"{type(error).__name__}: {error}" if not isinstance(error, NotImplementedError) else str(error)


def fields_used(rules: Iterable[Rule]) -> list[str]:
    """Return the names of all fields that rules, and those they refer to, match, group by, count and show, in order."""
    names: dict[str, None] = {}
    for rule in rules:
        if isinstance(rule, SigmaRule):
            for detection in rule.detection.detections.values():
                names.update(dict.fromkeys(_item_fields(detection)))
        else:
            names.update(dict.fromkeys(fields_used(reference.rule for reference in rule.referenced_rules)))
            names.update(dict.fromkeys(rule.group_by or ()))
            names[counted_field(rule)] = None
        names.update(dict.fromkeys(rule.fields))
    return list(names)


def _item_fields(detection: SigmaDetection) -> Iterator[str]:
    for item in detection.detection_items:
        if isinstance(item, SigmaDetection):
            yield from _item_fields(item)
        elif item.field is not None:
            yield item.field
            yield from (value.field for value in item.value if isinstance(value, SigmaFieldReference))
