"""The commands that tell what the rules are: rules, explain."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from keywatch.commands.converting import format_of, formats_of
from keywatch.commands.options import Choice, Examples, RuleName, load, pack_options, tell
from keywatch.conversion.targets import TARGETS
from keywatch.words import wrapped

if TYPE_CHECKING:
    from sigma.backends.keywatch._correlation import Rule

    from keywatch.conversion.convert import Conversion
    from keywatch.conversion.rules import Pack

#: Longer lines are hard to read.
_WIDEST = 120


@click.command(cls=Examples, examples=("keywatch rules",))
@pack_options
def rules(rules: tuple[Path, ...], filters: tuple[Path, ...], settings: Path | None) -> None:
    """List the rules.

    Each has its name, its title, its level, when it raises an alert, and the calls that it looks at.
    """
    from keywatch.conversion.choosing import name_of
    from keywatch.conversion.describing import calls_of, raised_when
    from keywatch.errors import printable

    pack, _ = load(rules, filters, settings)
    for rule in pack.outputs():
        level = rule.level.name.lower() if rule.level else "no level"
        click.echo(printable(name_of(rule)))
        for text in (rule.title, f"{level}; {raised_when(rule)}", f"looks at {calls_of(rule)}"):
            _paragraph(text, "    ")
        click.echo()
    if tell(pack.problems):
        sys.exit(2)


@click.command(
    cls=Examples,
    examples=(
        "keywatch explain correlation_aws_bedrock_many_models",
        "keywatch explain correlation_aws_bedrock_many_models --target elasticsearch --format esql",
    ),
)
@click.argument("rule", type=RuleName())
@click.option(
    "--target",
    metavar="TARGET",
    type=Choice("target", TARGETS),
    help="Show the rule's query for this target too; `keywatch targets` lists them.",
)
@click.option(
    "--format",
    "output_format",
    shell_complete=formats_of,
    help="One of the target's formats; the one that shows the query most plainly if none.",
)
@pack_options
def explain(
    rule: str,
    target: str | None,
    output_format: str | None,
    rules: tuple[Path, ...],
    filters: tuple[Path, ...],
    settings: Path | None,
) -> None:
    """Show what a rule looks for, and why.

    This is its description, the reason for its numbers, the triage guide and, with --target, its query. RULE is a
    rule's name, title or ID; `keywatch rules` lists them.
    """
    from keywatch.conversion.choosing import named
    from keywatch.conversion.convert import convert

    if target is not None:
        output_format = format_of(target, output_format or TARGETS[target].plain)
    pack, values = load(rules, filters, settings)
    found = named(rule, pack.collection.rules)
    for one in found:
        for heading, texts in _explained(one):
            click.echo(f"\n{heading}" if heading else "", nl=bool(heading))
            for text in texts:
                _paragraph(text, "    " if heading else "")
    problems = list(pack.problems)
    if target is not None:
        _only(pack, found)
        conversion = convert(pack, TARGETS[target], values, output_format)
        click.echo(f"\nQuery for {target}, format {conversion.output_format}")
        for text in _queries(conversion):
            click.echo(text.rstrip())
        problems = conversion.problems
    if tell(problems):
        sys.exit(2)


def _explained(rule: Rule) -> Iterator[tuple[str, list[str]]]:
    """Yield headings, and the paragraphs below each."""
    from sigma.pipelines.keywatch._pack import guides

    from keywatch.conversion.choosing import name_of
    from keywatch.conversion.describing import calls_of, raised_when

    guide = guides().get(rule.name or "")
    level = rule.level.name.lower() if rule.level else "no level"
    yield "", [rule.title, f"{name_of(rule)}; {level}; {raised_when(rule)}"]
    yield "Description", [rule.description or "It has none."]
    yield "Looks at", [calls_of(rule)]
    if guide is not None:
        yield "Why these numbers", [guide.threshold]
    if rule.falsepositives:
        yield "False positives", list(map(str, rule.falsepositives))
    for title, text in guide.steps.items() if guide is not None else ():
        yield title, [text]


def _only(pack: Pack, rules: list[Rule]) -> None:
    """Have a pack convert some rules, be they alerts by themselves or not."""
    from sigma.backends.keywatch._repairs import enable_output

    for rule in pack.collection.rules:
        rule.disable_output()
    for rule in rules:
        enable_output(rule)
    pack.disabled.clear()


def _queries(conversion: Conversion) -> list[str]:
    """Return the queries as text: as they are, or where they are something else, as the file that has them."""
    queries = [query for of_rule in conversion.queries.values() for query in of_rule]
    if all(isinstance(query, str) for query in queries):
        return queries
    files = conversion.backend.artefacts(conversion.queries, conversion.output_format)
    return [next(iter(files.values())).decode(errors="replace")]


def _paragraph(text: str, indent: str) -> None:
    from shutil import get_terminal_size

    from keywatch.errors import printable

    click.echo(wrapped(printable(" ".join(text.split())), min(get_terminal_size().columns, _WIDEST), indent, indent))
