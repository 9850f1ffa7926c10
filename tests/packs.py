"""What most tests begin with: rules written to files, a pack of them converted, and the program run."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Set
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from click.testing import CliRunner, Result
from sigma.pipelines.keywatch._pack import PACK

from events import ACCESS_LONG, DENIED
from keywatch.cli import main
from keywatch.conversion.convert import Conversion, convert
from keywatch.conversion.rules import load_pack
from keywatch.conversion.settings import load_settings
from keywatch.conversion.targets import TARGETS
from keywatch.hunting.coverage import Coverage
from keywatch.hunting.hunt import Alert, hunt
from keywatch.hunting.selection import Selection

EVERYTHING = Selection()


def written(documents: Iterable[dict[str, Any]], folder: Path) -> Path:
    """Write rules to a file."""
    path = folder / "rules.yml"
    path.write_text(yaml.dump_all(documents, Dumper=yaml.CSafeDumper), encoding="utf-8")
    return path


def one_rule(selection: dict[str, Any], **head: Any) -> dict[str, Any]:
    """Return a rule of one selection."""
    rule = {"title": "One", "name": "one", "logsource": {"product": "aws", "service": "cloudtrail"}}
    return rule | {"detection": {"a": selection, "condition": "a"}} | head


def counting_names(group_by: list[str], timespan: str) -> list[dict[str, Any]]:
    """Return a correlation of another group and count than the pack's, after its rule: List* calls of two names."""
    correlation = {
        "type": "value_count",
        "rules": ["one"],
        "group-by": group_by,
        "timespan": timespan,
        "condition": {"field": "eventName", "gt": 1},
    }
    return [
        one_rule({"eventName|startswith": "List"}),
        {"title": "Two", "name": "two", "correlation": correlation},
    ]


def attempted(
    target: str,
    output_format: str | None = None,
    *,
    rules: Iterable[Path] = (),
    filters: Iterable[Path] = (),
    settings: Path | None = None,
    method: str | None = None,
    without: Set[str] = frozenset(),
) -> Conversion:
    """Convert the pack or other rules; what could not be read stands among the problems too.

    :param output_format: the target's first if none.
    :param without: names of rules that are left out.
    """
    values = load_settings(settings)
    pack = load_pack(list(rules), list(filters), values, settings)
    pack.disabled |= without
    conversion = convert(pack, TARGETS[target], values, output_format, method)
    conversion.problems[:0] = pack.problems
    return conversion


def converted(target: str, output_format: str | None = None, **choice: Any) -> Conversion:
    """Convert as `attempted` does.

    :raises keywatch.errors.UserError: if a rule could not be read or converted.
    """
    conversion = attempted(target, output_format, **choice)
    for problem in conversion.problems:
        raise problem
    return conversion


def only(conversion: Conversion, *names: str) -> Conversion:
    """Return a conversion of some of its rules."""
    queries = {name: conversion.queries[name] for name in names}
    return replace(conversion, queries=queries, rules={name: conversion.rules[name] for name in names})


def queries(target: str, output_format: str | None = None, **choice: Any) -> dict[str, Any]:
    """Return the one query of each rule of `converted`."""
    return {name: query for name, [query] in converted(target, output_format, **choice).queries.items()}


def hunted(*paths: Path, selection: Selection = EVERYTHING, **choice: Any) -> tuple[list[Alert], Coverage]:
    """Hunt through files with what `converted` takes; return the alerts, and what was read."""
    coverage = Coverage()
    conversion = converted("duckdb", **choice) if any(choice.values()) else _pack()
    return hunt(conversion, map(str, paths), selection, coverage), coverage


@cache
def _pack() -> Conversion:
    return converted("duckdb")


def denials(*paths: Path, selection: Selection = EVERYTHING) -> tuple[list[Alert], Coverage]:
    """Hunt through files with one rule of the pack, which costs a tenth of what all of them do."""
    coverage = Coverage()
    return hunt(only(_pack(), DENIED), map(str, paths), selection, coverage), coverage


def chosen(*names: str) -> list[str]:
    """Return the options that have some rules of the pack take the place of all."""
    return [word for name in names for word in ("--rules", str(next(PACK.rglob(f"{name}.yml"))))]


#: A rule that counts, with the one that it counts by; and with one of single events.
DENIALS = chosen(DENIED, "aws_cloudtrail_denied_enumeration_long_term_key")
SEED = [*DENIALS, *chosen(ACCESS_LONG)]


def keywatch(*arguments: str | Path, **environment: str) -> Result:
    """Run the program within this process."""
    result = CliRunner(env=environment).invoke(main, [str(argument) for argument in arguments])
    gc.unfreeze()  # the program ends where this process goes on
    return result
