"""From rule files, settings and filters to a pySigma collection."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain, groupby
from pathlib import Path
from typing import Any

import yaml
from sigma.backends.keywatch._correlation import Correlation, Rule, in_order
from sigma.backends.keywatch._repairs import fits
from sigma.collection import SigmaCollection
from sigma.correlations import SigmaCorrelationRule
from sigma.exceptions import SigmaError, SigmaRuleLocation
from sigma.filters import SigmaFilter  # type: ignore[attr-defined]
from sigma.pipelines.keywatch._fields import cloudtrail_names
from sigma.pipelines.keywatch._pack import PACK
from sigma.rule import SigmaDetection, SigmaRule
from sigma.types import SigmaFieldReference

from keywatch.conversion.documents import Document, read_documents
from keywatch.conversion.settings import check_rule_settings
from keywatch.errors import UserError, line_of

#: What pySigma adds to what is wrong: the file, which we name in front, and types as Python writes them.
_STAGE = re.compile(r" \(while (?:converting|applying)[^()]* rule .*\)$", re.DOTALL)
_TYPE = re.compile(r"<class '(?:\w+\.)*(\w+)'>")


@dataclass
class Pack:
    """Rules that are ready to convert, and what could not be read."""

    collection: SigmaCollection
    disabled: set[str]
    problems: list[UserError] = field(default_factory=list)

    def in_order(self) -> list[Rule]:
        """Return the rules that are alerts by themselves, and those that they refer to, each after the latter."""
        outputs = {id(rule) for rule in self.outputs()}
        needed: set[int] = set()
        rules = in_order(self.collection.rules)
        for rule in reversed(rules):
            if id(rule) in outputs | needed:
                needed |= {id(rule), *(id(reference.rule) for reference in getattr(rule, "referenced_rules", ()))}
        return [rule for rule in rules if id(rule) in needed]

    def outputs(self) -> list[Rule]:
        """Return the rules that are alerts by themselves, and enabled."""
        rules: Iterable[Any] = self.collection.get_output_rules()
        return [rule for rule in rules if rule.name not in self.disabled]


def load_pack(
    paths: list[Path], filters: list[Path], settings: dict[str, Any], settings_path: Path | None = None
) -> Pack:
    """Read rules and filters and apply the settings.

    :param paths: rule files or folders of them; none means the pack's own.
    :param filters: Sigma filter files or folders of them.
    :raises UserError: for settings that fit no rule.
    """
    problems: list[UserError] = []
    documents = read_documents(paths or [PACK], "*.yml", problems)
    check_rule_settings(settings_path, settings, {doc.name: doc.correlation for doc in documents if doc.name})
    documents += read_documents(filters, "*.y*ml", problems)
    for document in documents:
        _apply_settings(document, settings["rules"].get(document.name, {}))
    rules, sigma_filters, refused = _parsed(documents, problems)
    rules, unresolved = _resolvable(rules, problems)
    collection = SigmaCollection(rules, resolve_references=False)
    for sigma_filter in sigma_filters:
        _apply(sigma_filter, collection, problems)
    collection.resolve_rule_references()
    # What a correlation that could not be read builds on is no alert by itself either.
    needed = set(chain(_needed_by_documents(refused), *(map(str, _references(rule)) for rule in unresolved)))
    for rule in collection.rules:
        if needed & {rule.name, str(rule.id)}:
            rule.disable_output()
    problems += _doubles(collection.rules)
    _tell_titles_apart(collection.rules)
    disabled = {name for name, values in settings["rules"].items() if not values.get("enabled", True)}
    return Pack(collection, disabled, problems)


def problem_of(error: Exception, rule: Rule) -> UserError:
    """Say in one line what a conversion found wrong with a rule."""
    message = _message(error)
    if rule.title not in message:
        message = f"rule '{rule.title}': {message}"
    return _located(message, rule.source, message.replace(f"'{rule.title}'", ""))


def _apply_settings(document: Document, settings: dict[str, Any]) -> None:
    correlation = document.correlation
    if correlation is None:
        return
    if "threshold" in settings:
        kept = {key: value for key, value in correlation["condition"].items() if key in ("field", "percentile")}
        correlation["condition"] = kept | {"gte": settings["threshold"]}
    if "timespan" in settings:
        correlation["timespan"] = settings["timespan"]


def _parsed(
    documents: list[Document], problems: list[UserError]
) -> tuple[list[Rule], list[SigmaFilter], list[Document]]:
    """Parse documents; return rules, filters, and the documents that can't be parsed."""
    rules: list[Rule] = []
    filters: list[SigmaFilter] = []
    refused: list[Document] = []
    for _, of_file in groupby(documents, key=lambda document: document.path):
        together = list(of_file)
        # Documents with an action change each other, so they are parsed at once.
        at_once = any("action" in document.content for document in together)
        for group in [together] if at_once else [[document] for document in together]:
            location = SigmaRuleLocation(group[0].path, group[0].line)
            try:
                part = SigmaCollection.from_dicts(
                    [document.content for document in group],
                    source=location,
                    collect_filters=True,
                    resolve_references=False,
                )
            except Exception as error:  # pySigma meets odd YAML with whatever Python raises
                problems.append(_located(_message(error), location))
                refused += group
            else:
                rules += part.rules
                filters += part.filters
    return rules, filters, refused


def _resolvable(rules: list[Rule], problems: list[UserError]) -> tuple[list[Rule], list[SigmaCorrelationRule]]:
    """Part the rules from the correlations that need a rule which is not there, or themselves."""
    left_out: list[SigmaCorrelationRule] = []
    # Some packs refer to rules by their titles, as far as they have no names.
    wanted = {reference for rule in rules for reference in _references(rule)}
    for rule in rules:
        if rule.name is None and rule.title in wanted:
            rule.name = rule.title
    while True:
        known = {key: rule for rule in rules for key in (rule.name, str(rule.id)) if key}
        for rule in rules:
            if isinstance(rule, SigmaCorrelationRule) and (problem := _unresolvable(rule, known)):
                problems.append(_located(problem, rule.source))
                left_out.append(rule)
                rules = [other for other in rules if other is not rule]
                break
        else:
            return rules, left_out


def _unresolvable(rule: SigmaCorrelationRule, known: dict[str, Rule]) -> str | None:
    seen: list[Rule] = []
    todo: list[Rule] = [rule]
    while todo:
        for reference in _references(todo.pop()):
            if reference not in known:
                return f"Rule '{reference}' not found in rule collection"
            if known[reference] is rule:
                return f"rule '{rule.title}' refers to itself, by way of '{reference}'"
            if not any(known[reference] is other for other in seen):
                seen.append(known[reference])
                todo.append(known[reference])
    return None


def _references(rule: Rule) -> list[str]:
    """Return the names or ids of the rules that a rule refers to, before they are resolved."""
    if not isinstance(rule, SigmaCorrelationRule):
        return []
    if rule.rules is not None:
        return [reference.reference for reference in rule.rules]
    return list(getattr(rule.condition, "get_referenced_rules", list)())


def _needed_by_documents(refused: list[Document]) -> Iterator[str]:
    """Yield the names or ids of rules that correlations refer to which can't be parsed."""
    for document in refused:
        correlation = document.correlation or {}
        if correlation.get("generate") is not True:
            names = correlation.get("rules")
            yield from (name for name in (names if isinstance(names, list) else [names]) if isinstance(name, str))


def _apply(sigma_filter: SigmaFilter, collection: SigmaCollection, problems: list[UserError]) -> None:
    """Put a filter into the rules it is for; name one that changes none: that would be an alert too many."""
    try:
        if any(fits(sigma_filter, rule) for rule in collection.rules):
            collection.apply_filters([sigma_filter])
            return
        message = "fits no rule: its logsource, or the names under rules, match none"
    except Exception as error:  # as for rules
        message = f"can't be applied: {_message(error)}"
    problems.append(_located(f"filter '{sigma_filter.title}' {message}", sigma_filter.source, message))


def _doubles(rules: Iterable[Rule]) -> list[UserError]:
    seen: dict[Any, Rule] = {}
    problems = []
    for rule in rules:
        for key in (rule.id, rule.name):
            other = seen.setdefault(key, rule) if key is not None else rule
            if other is not rule and other.source is not None:
                where = f"{other.source.path}:{other.source.line}"
                message = f"'{key}' is the id or name of the rule in {where} too; each needs its own"
                problems.append(_located(message, rule.source))
    return problems


def _tell_titles_apart(rules: Iterable[Rule]) -> None:
    """Add a number to a title that another rule has too: most SIEMs know a detection by its name."""
    seen: dict[str, int] = {}
    for rule in rules:
        seen[rule.title] = number = seen.get(rule.title, 0) + 1
        if number > 1:
            rule.title = f"{rule.title} ({number})"


def _located(message: str, source: SigmaRuleLocation | None, words: str | None = None) -> UserError:
    """Return a problem with the line that it is about.

    :param words: what the line is looked for with, if it is another text than the message.
    """
    if source is None:
        return UserError(message)
    return UserError(message, source.path, line_of(source.path, words or message, source.line or 1))


def _message(error: Exception) -> str:
    """Say what an error says, without the file that pySigma adds: we name it in front, with the line."""
    if isinstance(error, SigmaError):
        said = str(error.args[0]) if error.args else type(error).__name__
        return _TYPE.sub(r"\1", _STAGE.sub("", said))
    if isinstance(error, yaml.MarkedYAMLError):
        return str(error.problem)
    if isinstance(error, RecursionError):
        return "its condition is nested too deeply"
    return f"{type(error).__name__}: {error}" if not isinstance(error, NotImplementedError) else str(error)


def fields_used(rules: Iterable[Rule]) -> list[str]:
    """Return CloudTrail's names of the fields that converted rules, and those they refer to, match, count and show."""
    found: dict[str, None] = {}
    for rule in rules:
        names: list[str] = list(rule.fields)
        correlation = Correlation.of(rule)
        if correlation is not None:
            found |= dict.fromkeys(fields_used(reference.rule for reference in correlation.rule.referenced_rules))
            names += correlation.keys
        elif isinstance(rule, SigmaRule):
            for detection in rule.detection.detections.values():
                names += _item_fields(detection)
        original = cloudtrail_names(rule)
        found |= dict.fromkeys(original.get(name, name) for name in names)
    return list(found)


def _item_fields(detection: SigmaDetection) -> Iterator[str]:
    for item in detection.detection_items:
        if isinstance(item, SigmaDetection):
            yield from _item_fields(item)
        elif item.field is not None:
            yield item.field
            yield from (value.field for value in item.value if isinstance(value, SigmaFieldReference))
