"""The commands that write what a SIEM, or SigmaHQ, takes: convert, upstream, regression, targets, settings."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from keywatch.commands.options import PATH, Choice, Examples, load, pack_options, tell, tell_warnings
from keywatch.conversion.targets import TARGETS
from keywatch.errors import UserError, printable
from keywatch.words import counted, nothing_called


def formats_of(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Complete a format: one of the target's that was given."""
    given = [ctx.params.get("target"), *ctx.args]  # what is typed so far is not yet told apart
    target = next((TARGETS[word] for word in given if word in TARGETS), None)
    return [name for name in (target.formats if target else ()) if name.startswith(incomplete)]


@click.command(
    cls=Examples,
    examples=(
        "keywatch convert splunk --format app",
        "keywatch convert elasticsearch --format esql --out queries",
        "keywatch settings > my-settings.yaml",
        "keywatch convert splunk --settings my-settings.yaml",
    ),
)
@click.argument("target", type=Choice("target", TARGETS))
@click.option(
    "--format",
    "output_format",
    shell_complete=formats_of,
    help="One of the target's formats (`keywatch targets`); the first if none.",
)
@click.option("--out", type=PATH, help="Folder to write to.  [default: build/TARGET]")
@click.option("--method", help="Correlation method, where the target has another than `sliding`.")
@pack_options
def convert(
    target: str,
    output_format: str | None,
    out: Path | None,
    method: str | None,
    rules: tuple[Path, ...],
    filters: tuple[Path, ...],
    settings: Path | None,
) -> None:
    """Write the detections that TARGET imports.

    Exit status: 0 when all was converted, 2 when not: what could not be is named, and the rest is written.
    """
    from keywatch.conversion.convert import convert as run
    from keywatch.conversion.convert import write

    tell_warnings()
    output_format = format_of(target, output_format)
    methods = TARGETS[target].formats[output_format].correlation_methods or {}
    if method is not None and method not in methods:
        raise UserError(f"target {target}: {nothing_called('correlation method', method, methods)}")
    pack, values = load(rules, filters, settings)
    conversion = run(pack, TARGETS[target], values, output_format, method)
    written = write(conversion, out or Path("build", target))
    for path in written:
        click.echo(printable(str(path)))
    click.echo(f"\n{counted(len(conversion.queries), 'detection')} for {target}, format {output_format}.", err=True)
    if written:
        click.echo(f"To import: {conversion.backend.import_steps[output_format]}", err=True)
    problems = tell([*pack.problems, *conversion.problems])
    if problems:
        click.echo(
            f"{counted(problems, 'problem')}: see above. All that {'it does' if problems == 1 else 'they do'} not name "
            "was converted.",
            err=True,
        )
        sys.exit(2)


def format_of(target: str, name: str | None) -> str:
    """Return a target's format; its first if none is named.

    :raises UserError: if the target has none of that name.
    """
    formats: dict[str, Any] = TARGETS[target].formats
    if name is not None and name not in formats:
        raise UserError(f"target {target}: {nothing_called('format', name, formats)}")
    return name or next(iter(formats))


@click.command(cls=Examples, examples=("keywatch upstream pull-request",))
@click.argument("folder", type=PATH)
def upstream(folder: Path) -> None:
    """Write what a pull request to SigmaHQ needs.

    FOLDER, a checkout of SigmaHQ/sigma or any other, gets the pack's rules, samples that they match, and the request's
    text.
    """
    from keywatch.conversion.upstream import upstream as run

    for path in run(folder):
        click.echo(printable(str(path)))


@click.command(cls=Examples, examples=("keywatch upstream pull-request", "keywatch regression pull-request"))
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path), metavar="PATHS...")
def regression(paths: tuple[Path, ...]) -> None:
    """Run the samples of SigmaHQ's regression_data.

    PATHS are rules, or folders of them, in a checkout of SigmaHQ/sigma or in what `keywatch upstream` wrote. Each
    CloudTrail rule that names samples (regression_tests_path) has to match them; other logs and EVTX are not read.

    Exit status: 0 when all passed, 1 when a sample does not raise its rule, 2 when one could not be tried.
    """
    from collections import Counter

    from keywatch.hunting.regression import FAILED, PASSED, UNTRIED, tried

    outcomes: Counter[str] = Counter()
    for one in tried(paths):
        outcomes[one.outcome] += 1
        click.echo(printable(f"{one.outcome:8}{one.rule}") + (f": {one.why}" if one.why else ""))
    told = ", ".join(f"{outcomes[outcome]} {outcome}" for outcome in (PASSED, FAILED, UNTRIED))
    click.echo(f"{counted(outcomes.total(), 'rule')} with samples: {told}", err=True)
    sys.exit(1 if outcomes[FAILED] else 2 if outcomes[UNTRIED] or not outcomes else 0)


@click.command()
def targets() -> None:
    """List the targets and their formats."""
    for name, target in TARGETS.items():
        for number, (output_format, backend) in enumerate(target.formats.items()):
            default = " (default)" if number == 0 else ""
            click.echo(f"{name:14} {output_format:14} {backend.formats[output_format]}{default}")


@click.command(cls=Examples, examples=("keywatch settings > my-settings.yaml",))
def settings() -> None:
    """Print the settings with their defaults.

    A settings file of yours starts from them. The last line says where examples of Sigma filters are.
    """
    from sigma.pipelines.keywatch._pack import PACK

    click.echo((PACK / "settings.yaml").read_text(encoding="utf-8"), nl=False)
    click.echo(f"\n# Sigma filters to start from, for --filters, are in this folder: {PACK / 'filters'}")
