"""The command that looks for attacks: hunt."""

from __future__ import annotations

import sys
from contextlib import ExitStack, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from keywatch.commands.options import (
    PATH,
    Choice,
    Examples,
    RuleName,
    Source,
    load,
    pack_options,
    source_options,
    tell,
    tell_warnings,
)
from keywatch.conversion.targets import TARGETS
from keywatch.errors import UserError
from keywatch.words import counted

if TYPE_CHECKING:
    from keywatch.hunting.clients import Client

LEVELS = ("informational", "low", "medium", "high", "critical")


@click.command(
    cls=Examples,
    examples=(
        "keywatch simulate trail",
        "keywatch hunt trail --from 2026-09-02T10:00 --min-level high",
        "keywatch hunt trail --out alerts.html --events evidence.ndjson",
        "keywatch hunt trail/AWSLogs/111122223333/CloudTrail/us-east-1 --format ndjson > alerts.ndjson",
    ),
    elsewhere=(
        "keywatch hunt --on trino://ana@trino.example:8080/hive/default --from 2026-11-01 --to 2026-11-21",
        "keywatch hunt --on 'athena://default?workgroup=primary' --from 2026-11-20 --to 2026-11-21 --out alerts.html",
    ),
)
@click.option("--on", help="Ask an engine that has the table, instead of reading files. Needs --from and --to.")
@click.option(
    "--format",
    "output_format",
    type=Choice("format", ["table", "ndjson", "csv", "html"]),
    help="The table is for people; the others have each alert.  [default: table, or what the suffix of --out says]",
)
@click.option("--out", type=PATH, help="Write to this file, whole or not at all, in place of standard output.")
@click.option("--events", type=PATH, help="Write the raw records behind the alerts to this file, a line each.")
@click.option("--min-level", type=Choice("level", LEVELS), help="Only rules of this level and above.")
@click.option("--rule", "names", multiple=True, type=RuleName(), help="Only this rule; can be given again.")
@click.option("--quiet", is_flag=True, help="Say nothing on standard error but what went wrong.")
@click.option("--exit-code", is_flag=True, help="Exit with 1 if there are alerts.")
@pack_options
@partial(source_options, needed=False)
def hunt(
    source: Source,
    on: str | None,
    output_format: str | None,
    out: Path | None,
    events: Path | None,
    min_level: str | None,
    names: tuple[str, ...],
    quiet: bool,
    exit_code: bool,
    rules: tuple[Path, ...],
    filters: tuple[Path, ...],
    settings: Path | None,
) -> None:
    """Find the attacks in CloudTrail: files, Trino, Athena.

    PATHS are files, folders, - for standard input, or s3://bucket/prefix. Files are known by what they hold: as AWS
    delivers them, events on lines or one after another, what `aws cloudtrail
    lookup-events` prints, what services and SIEMs wrap around events. Where folders are as AWS lays them out, --from,
    --to, --account and --region pass over files without opening them.

    --on asks Trino (trino://user@host:port/catalog/schema, password in TRINO_PASSWORD) or Athena
    (athena://database?workgroup=name, AWS's usual credentials) for the events that the rules match, in the table that
    AWS documents. What is scanned, and costs money on Athena, are the days from --from to --to and one more; for all
    there is, give an early --from, such as 2013-01-01.

    Exit status: 0 when all was read, with or without alerts; 1 with --exit-code and alerts; 2 when something could not
    be read, could never match, or nothing was left to look at; 130 or 143 when interrupted or terminated.
    """
    from keywatch.conversion.choosing import choose
    from keywatch.conversion.convert import convert as run_conversion
    from keywatch.files import replacing
    from keywatch.hunting.cases import look_behind, records
    from keywatch.hunting.coverage import Coverage
    from keywatch.hunting.hunt import hunting
    from keywatch.show.progress import engine_progress, progress, statements, summary
    from keywatch.show.writers import LOOKING_BEHIND, WRITERS, format_for

    output_format = format_for(output_format, out)
    packs = []
    for _ in range(1 if on is None else 2):  # a rule can be converted once
        pack, values = load(rules, filters, settings)
        choose(pack, names, min_level)
        packs.append(pack)
    client = _engine(on, source, raw=events is not None)
    conversion = run_conversion(packs[0], TARGETS["duckdb"], values)
    coverage = Coverage()
    price = values["hunt"]["usd_per_tb"] if client is not None and client.charges else None
    with ExitStack() as stack:
        if client is None:
            with progress(coverage, quiet=quiet) as shown:
                of_files = (source.paths, source.selection, coverage, shown, source.limit)
                alerts = stack.enter_context(hunting(conversion, *of_files, raw=events is not None))
        else:
            from keywatch.hunting.remote import hunting_on

            tell_warnings()
            with engine_progress(coverage, price, quiet=quiet) as told:
                there = (values, source.selection, coverage, told)
                alerts = stack.enter_context(hunting_on(client, conversion, packs, *there))
        if events or output_format in LOOKING_BEHIND:
            look_behind(alerts)
        with replacing(out) if out else nullcontext(sys.stdout.buffer) as stream:
            WRITERS[output_format](alerts, stream.write, plain=out is not None or not sys.stdout.isatty())
        if events:
            with replacing(events) as stream:
                stream.writelines(records(alerts))
    problems = tell([*packs[0].problems, *conversion.problems, *coverage.problems])
    if not quiet:
        for line in statements(coverage):
            click.echo(line, err=True)
        click.echo(f"{counted(alerts.count, 'alert')}, {summary(coverage, problems, price)}", err=True)
    if problems:
        sys.exit(2)
    if exit_code and alerts.count:
        sys.exit(1)


def _engine(on: str | None, source: Source, *, raw: bool) -> Client | None:
    """Return the engine that is to be asked; None where files are read.

    :param raw: whether the raw records are wanted.
    :raises UserError: for what does not go together, and for an engine that there is not.
    """
    from keywatch.hunting.clients import client_of

    start, end = source.selection.start, source.selection.end
    if on is None:
        if not source.paths:
            raise UserError("there is nothing to look at; name PATHS, files or folders, or an engine with --on")
        return None
    if source.paths:
        raise UserError("--on and PATHS exclude each other: either an engine is asked, or files are read")
    if raw:
        raise UserError("--events does not go with --on: the table there has no raw records; hunt through the files")
    if start is None or end is None:
        raise UserError(
            "--on needs --from and --to, the days that are scanned and paid for; for all there is, give an early day "
            "and one to come: --from 2013-01-01 --to 2100-01-01"
        )
    if start >= end:
        raise UserError("--to is not after --from, so that nothing lies between them")
    return client_of(on)
