"""The program `keywatch`. Each command imports what it needs when it runs."""

from __future__ import annotations

import gc
import os
import sys
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keywatch.ending import end_on_signals

end_on_signals()  # before anything is imported that takes a while

import click  # noqa: E402

from keywatch.conversion.targets import TARGETS  # noqa: E402
from keywatch.errors import UserError  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from keywatch.conversion.rules import Pack

_PATH = click.Path(path_type=Path)


def _pack_options(command: Any) -> Any:
    for option in (
        click.option("--filters", multiple=True, type=_PATH, help="A Sigma filter file, or a folder of them."),
        click.option("--rules", multiple=True, type=_PATH, help="Rules to use instead of the pack's: file or folder."),
        click.option("--settings", type=_PATH, help="A settings file; sigma/settings.yaml shows what it may say."),
    ):
        command = option(command)
    return command


def _load(
    rules: tuple[Path, ...], filters: tuple[Path, ...], settings_path: Path | None
) -> tuple[Pack, dict[str, Any]]:
    from keywatch.conversion.rules import load_pack
    from keywatch.conversion.settings import load_settings

    settings = load_settings(settings_path)
    pack = load_pack(list(rules), list(filters), settings, settings_path)
    # What is loaded by now stays until the end: without this, ending takes a third as long as starting.
    gc.freeze()
    return pack, settings


def _tell(problems: Iterable[UserError]) -> int:
    """Print what went wrong, a line each; return how many."""
    count = 0
    for count, problem in enumerate(problems, 1):  # noqa: B007
        click.echo(str(problem), err=True)
    return count


class _Group(click.Group):
    # Standard output is looked after in these two, because click is silent about a pipe that was closed.
    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        with _output():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with _output():
                return super().invoke(ctx)
        except UserError as error:
            click.echo(str(error), err=True)
            ctx.exit(2)


@contextmanager
def _output() -> Iterator[None]:
    """End with a line where standard output can't be written."""
    try:
        if sys.stdout is None:
            raise OSError(0, "it is closed")
        try:
            yield
        finally:
            sys.stdout.flush()
    except OSError as error:
        if sys.stdout is not None:  # what is still to be written is written nowhere, without a word
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        with suppress(OSError):
            click.echo(f"{error.filename or 'standard output'}: can't be written: {error.strerror}", err=True)
        sys.exit(2)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="keywatch")
def main() -> None:
    r"""Find stolen AWS keys and abused Bedrock models: Sigma rules for your SIEM and for your CloudTrail files.

    \b
    Examples:
      keywatch convert splunk
      keywatch convert elasticsearch --settings my-settings.yaml --filters my-filters/
      keywatch hunt ~/cloudtrail/AWSLogs/ --format ndjson
      keywatch backtest ~/cloudtrail/AWSLogs/ --report report.html
    """


@main.command()
@click.argument("target", type=click.Choice(list(TARGETS)))
@click.option("--format", "output_format", help="One of the target's formats (`keywatch targets`); the first if none.")
@click.option("--out", type=_PATH, help="Folder to write to.  [default: build/TARGET]")
@click.option("--method", help="Correlation method, where the target has another than `sliding`.")
@_pack_options
def convert(
    target: str,
    output_format: str | None,
    out: Path | None,
    method: str | None,
    rules: tuple[Path, ...],
    filters: tuple[Path, ...],
    settings: Path | None,
) -> None:
    r"""Write the detections that TARGET imports.

    \b
    Examples:
      keywatch convert splunk --format app
      keywatch convert elasticsearch --format esql --out /tmp/queries
      keywatch convert splunk --rules my_rule.yml
    """
    import warnings

    from keywatch.conversion.convert import convert as run
    from keywatch.conversion.convert import write

    warnings.showwarning = lambda message, *_, **__: click.echo(f"warning: {message}", err=True)
    formats = TARGETS[target].formats
    if output_format is not None and output_format not in formats:
        raise UserError(f"target {target} has no format '{output_format}'; choose from: {', '.join(formats)}")
    output_format = output_format or next(iter(formats))
    methods = formats[output_format].correlation_methods or {}
    if method is not None and method not in methods:
        raise UserError(f"target {target} has no correlation method '{method}'; choose from: {', '.join(methods)}")
    pack, values = _load(rules, filters, settings)
    conversion = run(pack, TARGETS[target], values, output_format, method)
    written = write(conversion, out or Path("build", target))
    for path in written:
        click.echo(path)
    click.echo(f"\n{len(conversion.queries)} detections for {target}, format {output_format}.", err=True)
    if written:
        click.echo(f"To import: {conversion.backend.import_steps[output_format]}", err=True)
    problems = _tell([*pack.problems, *conversion.problems])
    if problems:
        click.echo(
            f"{problems} problem{'s' * (problems > 1)}: see above. All that they do not name was converted.",
            err=True,
        )
        sys.exit(2)


_MOMENT = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%SZ"])


def _source_options(command: Any) -> Any:
    for option in (
        click.argument("paths", nargs=-1, required=True),
        click.option("--from", "start", type=_MOMENT, help="Events from this day or time (UTC) on."),
        click.option("--to", "end", type=_MOMENT, help="Events before this day or time (UTC)."),
        click.option("--account", "accounts", multiple=True, help="Events of this account; can be given again."),
        click.option("--region", "regions", multiple=True, help="Events in this Region; can be given again."),
        click.option(
            "--unpack-limit",
            type=click.FloatRange(min=0, min_open=True),
            default=4.0,
            show_default=True,
            help="Gigabytes up to which a packed file is unpacked. One that holds more is named.",
        ),
    ):
        command = option(command)
    return command


@main.command()
@click.option(
    "--format", "output_format", type=click.Choice(["table", "ndjson", "csv"]), default="table", show_default=True
)
@click.option("--exit-code", is_flag=True, help="Exit with 1 if there are alerts.")
@_pack_options
@_source_options
def hunt(
    paths: tuple[str, ...],
    start: datetime | None,
    end: datetime | None,
    accounts: tuple[str, ...],
    regions: tuple[str, ...],
    unpack_limit: float,
    output_format: str,
    exit_code: bool,
    rules: tuple[Path, ...],
    filters: tuple[Path, ...],
    settings: Path | None,
) -> None:
    r"""Find the attacks in CloudTrail: PATHS are files, folders, - for standard input, or s3://bucket/prefix.

    Files are known by what they hold: as AWS delivers them, events on lines or one after another, what `aws cloudtrail
    lookup-events` prints, what services and SIEMs wrap around events. Where folders are as AWS lays them out, --from,
    --to, --account and --region pass over files without opening them.

    Exit status: 0 when all was read, with or without alerts; 1 with --exit-code and alerts; 2 when something could not
    be read, could never match, or nothing was left to look at; 130 or 143 when interrupted or terminated.

    \b
    Examples:
      keywatch hunt AWSLogs/111122223333/CloudTrail/ --from 2026-11-01
      keywatch hunt events.json.gz --format ndjson | jq .evidence
      keywatch hunt s3://my-trail/AWSLogs/ --region us-east-1
    """
    from keywatch import show
    from keywatch.conversion.convert import convert as run_conversion
    from keywatch.hunting.coverage import Coverage
    from keywatch.hunting.hunt import hunt as run
    from keywatch.hunting.selection import Selection

    pack, values = _load(rules, filters, settings)
    conversion = run_conversion(pack, TARGETS["duckdb"], values)
    coverage, selection = Coverage(), Selection(start, end, accounts, regions)
    with show.progress(coverage) as progress:
        alerts = run(conversion, paths, selection, coverage, progress, int(unpack_limit * 10**9))
    show.WRITERS[output_format](alerts)
    problems = _tell([*pack.problems, *conversion.problems, *coverage.problems])
    click.echo(f"{len(alerts)} alerts, {show.summary(coverage, problems)}", err=True)
    if problems:
        sys.exit(2)
    if exit_code and alerts:
        sys.exit(1)


@main.command()
@click.option("--report", type=_PATH, help="Write the result as one HTML page to this file.")
@click.option("--max-per-week", type=click.FloatRange(min=0), help="Propose thresholds that keep alerts to this rate.")
@click.option("--write", type=_PATH, help="Put the proposed thresholds into this settings file.")
@_pack_options
@_source_options
def backtest(
    paths: tuple[str, ...],
    start: datetime | None,
    end: datetime | None,
    accounts: tuple[str, ...],
    regions: tuple[str, ...],
    unpack_limit: float,
    report: Path | None,
    max_per_week: float | None,
    write: Path | None,
    rules: tuple[Path, ...],
    filters: tuple[Path, ...],
    settings: Path | None,
) -> None:
    r"""Show how often the rules would have alerted on your CloudTrail, with other thresholds and windows too.

    PATHS are those of `keywatch hunt`. The files are read once. Exit status: 0 when all was read, 2 when not.

    \b
    Examples:
      keywatch backtest AWSLogs/ --report report.html
      keywatch backtest AWSLogs/ --max-per-week 2 --write my-settings.yaml
    """
    from keywatch import show
    from keywatch.conversion.rules import load_pack
    from keywatch.conversion.settings import load_settings
    from keywatch.hunting.backtest import backtest as run
    from keywatch.hunting.backtest import write_proposals
    from keywatch.hunting.coverage import Coverage
    from keywatch.hunting.selection import Selection

    if write is not None and max_per_week is None:
        raise UserError("--write needs --max-per-week: the rate that the thresholds are chosen for")
    values = load_settings(settings)
    coverage = Coverage()
    try:
        with show.progress(coverage) as progress:
            result = run(
                lambda: load_pack(list(rules), list(filters), values, settings),
                values,
                paths,
                Selection(start, end, accounts, regions),
                coverage,
                progress,
                int(unpack_limit * 10**9),
            )
    except UserError:
        _tell(coverage.problems)
        raise
    show.backtest(result, max_per_week)
    if report is not None:
        from keywatch.files import replace
        from keywatch.hunting.report import report as render

        replace(report, render(result, max_per_week))
        click.echo(f"Report: {report}", err=True)
    if write is not None and max_per_week is not None:
        for line in write_proposals(result, max_per_week, write):
            click.echo(f"{write}: {line}", err=True)
    problems = _tell(result.problems)
    click.echo(show.summary(coverage, problems), err=True)
    if problems:
        sys.exit(2)


@main.command()
@click.argument("folder", type=_PATH)
@click.option("--events", type=click.IntRange(min=1), default=100_000, show_default=True, help="Everyday calls.")
@click.option("--days", type=click.IntRange(min=1), default=7, show_default=True, help="Days that they lie in.")
@click.option("--seed", type=int, default=1, show_default=True, help="The same seed writes the same files.")
def simulate(folder: Path, events: int, days: int, seed: int) -> None:
    r"""Write CloudTrail files to FOLDER: everyday calls, with attacks of each rule planted once a week.

    Prints a line on each attack. The files are as AWS delivers them, so that your SIEM's import can be tried too.

    \b
    Examples:
      keywatch simulate /tmp/trail && keywatch hunt /tmp/trail
    """
    from keywatch.files import writing
    from keywatch.hunting.simulate import simulate as run

    files = 0
    with writing(folder):
        for _, planted in run(folder, events, days, seed):
            files += 1
            for attack in planted:
                click.echo(
                    f"{attack.start:%Y-%m-%dT%H:%M:%SZ} {attack.principal}: {attack.name}, {attack.regions} Regions"
                )
    click.echo(f"{events} everyday calls in {files} files.", err=True)


@main.command()
@click.argument("folder", type=_PATH)
def upstream(folder: Path) -> None:
    r"""Write to FOLDER what a pull request to SigmaHQ/sigma needs: the pack's rules, and the request's text.

    \b
    Examples:
      keywatch upstream ~/src/sigma
    """
    from keywatch.conversion.upstream import upstream as run

    for path in run(folder):
        click.echo(path)


@main.command()
def targets() -> None:
    """List the targets, their formats and correlation methods."""
    for name, target in TARGETS.items():
        for number, (output_format, backend) in enumerate(target.formats.items()):
            default = " (default)" if number == 0 else ""
            click.echo(f"{name:14} {output_format:14} {backend.formats[output_format]}{default}")


if __name__ == "__main__":
    main()
