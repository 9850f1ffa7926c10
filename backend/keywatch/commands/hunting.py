"""The commands that look into CloudTrail files, or write some: hunt, backtest, simulate."""

from __future__ import annotations

import sys
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from datetime import datetime
from functools import partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from keywatch.commands.options import PATH, Choice, Examples, Moment, RuleName, load, pack_options, tell, tell_warnings
from keywatch.conversion.targets import TARGETS
from keywatch.errors import UserError, one_line, printable
from keywatch.words import counted

if TYPE_CHECKING:
    from keywatch.hunting.clients import Client
    from keywatch.hunting.selection import Selection

LEVELS = ("informational", "low", "medium", "high", "critical")


@dataclass(frozen=True)
class Source:
    """Which events a command looks at, and how far it unpacks files, in bytes."""

    paths: tuple[str, ...]
    selection: Selection
    limit: int


def _source_options(command: Any, *, needed: bool = True) -> Any:
    """Add the options that say what is looked at; the command gets them together, as `source`.

    :param needed: whether there is nothing to look at without paths.
    """

    @wraps(command)
    def gathered(
        paths: tuple[str, ...],
        start: datetime | None,
        end: datetime | None,
        accounts: tuple[str, ...],
        regions: tuple[str, ...],
        unpack_limit: float,
        **others: Any,
    ) -> None:
        from keywatch.hunting.selection import Selection

        source = Source(paths, Selection(start, end, accounts, regions), int(unpack_limit * 10**9))
        command(source=source, **others)

    made: Any = gathered
    for option in reversed(
        (
            click.argument("paths", nargs=-1, required=needed),
            click.option("--from", "start", type=Moment(), help="Events from this day or time (UTC) on."),
            click.option("--to", "end", type=Moment(), help="Events before this day or time (UTC)."),
            click.option("--account", "accounts", multiple=True, help="Events of this account; can be given again."),
            click.option("--region", "regions", multiple=True, help="Events in this Region; can be given again."),
            click.option(
                "--unpack-limit",
                type=click.FloatRange(min=0, min_open=True),
                default=4.0,
                show_default=True,
                help="Gigabytes up to which a packed file is unpacked. One that holds more is named.",
            ),
        )
    ):
        made = option(made)
    return made


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
        "keywatch hunt --on athena://default?workgroup=primary --from 2026-11-20 --to 2026-11-21 --out alerts.html",
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
@partial(_source_options, needed=False)
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
    """Find the attacks in CloudTrail files, or where they are in Trino or Athena.

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
    from keywatch.hunting.remote import hunting_on
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
            tell_warnings()
            with engine_progress(coverage, price, quiet=quiet) as told:
                there = (values, source.selection, coverage, told)
                alerts = stack.enter_context(hunting_on(client, conversion, packs, *there))
        if events or output_format in LOOKING_BEHIND:
            look_behind(alerts, coverage)
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


@click.command(
    cls=Examples,
    examples=(
        "keywatch simulate trail",
        "keywatch backtest trail --report report.html",
        "keywatch backtest trail --max-per-week 2 --write my-settings.yaml",
    ),
)
@click.option("--report", type=PATH, help="Write the result as one HTML page to this file.")
@click.option("--max-per-week", type=click.FloatRange(min=0), help="Propose thresholds that keep alerts to this rate.")
@click.option("--write", type=PATH, help="Put the proposed thresholds into this settings file.")
@pack_options
@_source_options
def backtest(
    source: Source,
    report: Path | None,
    max_per_week: float | None,
    write: Path | None,
    rules: tuple[Path, ...],
    filters: tuple[Path, ...],
    settings: Path | None,
) -> None:
    """Show how often the rules would have alerted.

    That is done for other thresholds and windows too, to choose them by. PATHS are those of `keywatch hunt`. The
    files are read once. Exit status: 0 when all was read, 2 when not.
    """
    from keywatch.conversion.rules import load_pack
    from keywatch.conversion.settings import load_settings
    from keywatch.hunting.backtest import backtest as run
    from keywatch.hunting.backtest import write_proposals
    from keywatch.hunting.coverage import Coverage
    from keywatch.show.grid import backtest as show
    from keywatch.show.progress import progress, summary

    if write is not None and max_per_week is None:
        raise UserError("--write needs --max-per-week: the rate that the thresholds are chosen for")
    # What the figures are written into says what they are about.
    own = (settings, write if write and write.is_file() else None)
    values = load_settings(*own)
    coverage = Coverage()
    try:
        with progress(coverage) as shown:
            result = run(
                lambda: load_pack(list(rules), list(filters), values, *own),
                values,
                source.paths,
                source.selection,
                coverage,
                shown,
                source.limit,
            )
    except UserError:
        tell(coverage.problems)
        raise
    show(result, max_per_week)
    if report is not None:
        from keywatch.files import replace
        from keywatch.hunting.report import report as render

        replace(report, render(result, max_per_week))
        click.echo(f"Report: {printable(str(report))}", err=True)
    if write is not None and max_per_week is not None:
        for line in write_proposals(result, max_per_week, write, values):
            click.echo(f"{printable(str(write))}: {one_line(line)}", err=True)
    problems = tell(result.problems)
    click.echo(summary(coverage, problems), err=True)
    if problems:
        sys.exit(2)


@click.command(cls=Examples, examples=("keywatch simulate trail", "keywatch hunt trail"))
@click.argument("folder", type=PATH)
@click.option("--events", type=click.IntRange(min=1), default=100_000, show_default=True, help="Everyday calls.")
@click.option("--days", type=click.IntRange(min=1), default=7, show_default=True, help="Days that they lie in.")
@click.option("--seed", type=int, default=1, show_default=True, help="The same seed writes the same files.")
def simulate(folder: Path, events: int, days: int, seed: int) -> None:
    """Write CloudTrail files with attacks in them.

    FOLDER, a new or an empty one, gets everyday calls, and attacks planted once a week. Prints a line on each
    attack. The files are as AWS delivers them, so that your SIEM's import can be tried too.
    """
    from keywatch.files import writing
    from keywatch.hunting.simulate import simulate as run

    files = 0
    with writing(folder):
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UserError("is not an empty folder; name one that is, or a new one", folder)
        for _, planted in run(folder, events, days, seed):
            files += 1
            for attack in planted:
                regions = counted(attack.regions, "Region")
                click.echo(f"{attack.start:%Y-%m-%dT%H:%M:%SZ} {attack.principal}: {attack.name}, {regions}")
    click.echo(f"{counted(events, 'everyday call')} in {counted(files, 'file')}.", err=True)
