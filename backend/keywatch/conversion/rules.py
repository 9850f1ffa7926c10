"""From rule files, settings and filters to a pySigma collection."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, groupby
from pathlib import Path
from typing import Any
from uuid import uuid5

from sigma.backends.keywatch._correlation import Correlation, Rule, in_order
from sigma.backends.keywatch._repairs import fits
from sigma.collection import SigmaCollection
from sigma.exceptions import SigmaRuleLocation
from sigma.filters import SigmaFilter  # type: ignore[attr-defined]
from sigma.pipelines.keywatch._fields import below, cloudtrail_names
from sigma.pipelines.keywatch._pack import PACK
from sigma.rule import SigmaDetection, SigmaRule
from sigma.types import SigmaFieldReference

from keywatch.conversion.decoration import plainly, without_what_is_wrong
from keywatch.conversion.documents import Document, read_documents, refuse_detection
from keywatch.conversion.problems import located, message_of
from keywatch.conversion.references import references, resolvable
from keywatch.conversion.settings import check_rule_settings
from keywatch.errors import UserError


@dataclass
class Pack:
    """Rules that are ready to convert, and what could not be read."""

    collection: SigmaCollection
    disabled: set[str]
    problems: list[UserError] = field(default_factory=list)
    #: Rules that are not wanted this time, by their identity.
    left_out: set[int] = field(default_factory=set)

    def in_order(self) -> list[Rule]:
        """Return the rules that are alerts by themselves, and those that they refer to, each after the latter."""
        needed = {id(rule) for rule in self.outputs()}
        rules = in_order(self.collection.rules)
        for rule in reversed(rules):
            if id(rule) in needed:
                needed |= {id(reference.rule) for reference in getattr(rule, "referenced_rules", ())}
        return [rule for rule in rules if id(rule) in needed]

    def outputs(self) -> list[Rule]:
        """Return the rules that are alerts by themselves, and enabled."""
        rules: Iterable[Any] = self.collection.get_output_rules()
        return [rule for rule in rules if rule.name not in self.disabled and id(rule) not in self.left_out]


def load_pack(paths: list[Path], filters: list[Path], settings: dict[str, Any], *settings_paths: Path | None) -> Pack:
    """Read rules and filters and apply the settings.

    :param paths: rule files or folders of them; none means the pack's own.
    :param filters: Sigma filter files or folders of them.
    :param settings_paths: the files that the settings were read from.
    :raises UserError: for settings that fit no rule.
    """
    problems: list[UserError] = []
    documents = read_documents(paths or [PACK], "*.yml", problems)
    check_rule_settings(settings_paths, settings, {doc.name: doc.correlation for doc in documents if doc.name})
    documents += read_documents(filters, "*.y*ml", problems)
    for document in documents:
        _apply_settings(document, settings["rules"].get(document.name, {}))
    rules, sigma_filters, refused = _parsed(documents, problems)
    rules, unresolved = resolvable(rules, problems)
    collection = SigmaCollection(rules, resolve_references=False)
    for sigma_filter in sigma_filters:
        _apply(sigma_filter, collection, problems)
    collection.resolve_rule_references()
    # What a correlation that could not be read builds on is no alert by itself either.
    needed = set(chain(_needed_by_documents(refused), *(map(str, references(rule)) for rule in unresolved)))
    for rule in collection.rules:
        if needed & {rule.name, str(rule.id)}:
            rule.disable_output()
    _tell_titles_apart(collection.rules)
    problems += _doubles(collection.rules)
    disabled = {name for name, values in settings["rules"].items() if not values.get("enabled", True)}
    return Pack(collection, disabled, problems)


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
                part = _collection(group, location, at_once)
            except Exception as error:  # pySigma meets odd YAML with whatever Python raises
                problems.append(located(message_of(error), location))
                refused += group
            else:
                rules += part.rules
                filters += part.filters
    return rules, filters, refused


def _collection(group: list[Document], location: SigmaRuleLocation, at_once: bool) -> SigmaCollection:
    """Parse documents; where one is wrong in what only describes it, parse it without that."""
    for document in group:
        plainly(document)
        if isinstance(detection := document.content.get("detection"), dict):
            refuse_detection(detection)
    parse = partial(SigmaCollection.from_dicts, source=location, collect_filters=True, resolve_references=False)
    contents = [document.content for document in group]
    try:
        # pySigma takes the actions out of documents, so these can't be parsed twice.
        return parse(deepcopy(contents) if at_once else contents)
    except Exception:
        wrong = [without_what_is_wrong(document) for document in group]
        if not any(wrong):
            raise
        return parse(contents)


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
        message = f"can't be applied: {message_of(error)}"
    problems.append(located(f"filter '{sigma_filter.title}' {message}", sigma_filter.source, message))


def _doubles(rules: Iterable[Rule]) -> list[UserError]:
    """Name the rules that have the id or the name of another; give them ids of their own, which SIEMs need."""
    seen: dict[Any, Rule] = {}
    problems = []
    for rule in rules:
        for key in (rule.id, rule.name):
            other = seen.setdefault(key, rule) if key is not None else rule
            if other is not rule and other.source is not None:
                where = f"{other.source.path}:{other.source.line}"
                message = f"'{key}' is the id or name of the rule in {where} too; each needs its own"
                problems.append(located(message, rule.source))
                if rule.id is not None and key is rule.id:
                    rule.id = uuid5(key, rule.title)
    return problems


def _tell_titles_apart(rules: Iterable[Rule]) -> None:
    """Add a number to a title that another rule has too: most SIEMs know a detection by its name."""
    seen: dict[str, int] = {}
    for rule in rules:
        seen[rule.title] = number = seen.get(rule.title, 0) + 1
        if number > 1:
            rule.title = f"{rule.title} ({number})"


def fields_used(rules: Iterable[Rule]) -> list[str]:
    """Return CloudTrail's names of the fields that converted rules, and those they refer to, match, count and show."""
    found: dict[str, None] = {}
    all_rules = {id(one): one for output in rules for one in [*below(output), output]}
    for rule in all_rules.values():
        names: list[str] = list(rule.fields)
        original = cloudtrail_names(rule)
        correlation = Correlation.of(rule)
        if correlation is not None:
            aliases = {alias.alias: alias.mapping.values() for alias in correlation.rule.aliases}
            keys = [name for key in correlation.keys for name in aliases.get(key, [key])]
            names += [name for name in keys if name in original]  # not what a correlation inside calls something
        elif isinstance(rule, SigmaRule):
            for detection in rule.detection.detections.values():
                names += _item_fields(detection)
        found |= dict.fromkeys(original.get(name, name) for name in names)
    return list(found)


def _item_fields(detection: SigmaDetection) -> Iterator[str]:
    for item in detection.detection_items:
        if isinstance(item, SigmaDetection):
            yield from _item_fields(item)
        elif item.field is not None:
            yield item.field
            yield from (value.field for value in item.value if isinstance(value, SigmaFieldReference))
