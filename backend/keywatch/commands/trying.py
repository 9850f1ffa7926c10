"""The commands to choose thresholds with, and to write CloudTrail files to try things on: backtest, simulate."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from keywatch.commands.options import PATH, Examples, Source, pack_options, source_options, tell
from keywatch.errors import UserError, one_line, printable
from keywatch.words import counted


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
@source_options
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
