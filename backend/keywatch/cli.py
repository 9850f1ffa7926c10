"""The program `keywatch`. Each command imports what it needs when it runs."""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from keywatch.errors import UserError
from keywatch.targets import TARGETS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from keywatch.hunt import Alert
    from keywatch.records import Coverage
    from keywatch.rules import Pack

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
    from keywatch.rules import load_pack
    from keywatch.settings import load_settings

    settings = load_settings(settings_path)
    return load_pack(list(rules), list(filters), settings, settings_path), settings


def _tell(problems: Iterable[UserError]) -> int:
    """Print what went wrong, a line each; return how many."""
    count = 0
    for count, problem in enumerate(problems, 1):  # noqa: B007
        click.echo(str(problem), err=True)
    return count


class _Group(click.Group):
    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except UserError as error:
            click.echo(str(error), err=True)
            ctx.exit(2)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="keywatch")
def main() -> None:
    r"""Find stolen AWS keys and abused Bedrock models: Sigma rules for your SIEM and for your CloudTrail files.

    \b
    Examples:
      keywatch convert splunk
      keywatch convert elasticsearch --settings my-settings.yaml --filters my-filters/
      keywatch hunt ~/cloudtrail/AWSLogs/ --format ndjson
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

    from keywatch.convert import convert as run
    from keywatch.convert import write

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
    written = write(conversion, out or Path("build", target), clean=out is None) if conversion.queries else []
    for path in written:
        click.echo(path)
    click.echo(f"\n{len(conversion.queries)} detections for {target}, format {output_format}.", err=True)
    if written:
        click.echo(f"To import: {conversion.backend.import_steps[output_format]}", err=True)
    problems = _tell([*pack.problems, *conversion.problems])
    if problems:
        click.echo(f"{problems} problems: see above. Nothing was left out besides what they name.", err=True)
        sys.exit(2)


@main.command()
@click.argument("paths", nargs=-1, required=True, type=_PATH)
@click.option(
    "--format", "output_format", type=click.Choice(["table", "ndjson", "csv"]), default="table", show_default=True
)
@click.option("--exit-code", is_flag=True, help="Exit with 1 if there are alerts.")
@_pack_options
def hunt(
    paths: tuple[Path, ...],
    output_format: str,
    exit_code: bool,
    rules: tuple[Path, ...],
    filters: tuple[Path, ...],
    settings: Path | None,
) -> None:
    r"""Find the attacks in CloudTrail files: PATHS are files and folders, .json and .json.gz, as AWS delivers them.

    Exit status: 0 when all was read, with or without alerts; 1 with --exit-code and alerts; 2 when something could not
    be read.

    \b
    Examples:
      keywatch hunt AWSLogs/111122223333/CloudTrail/
      keywatch hunt events.json.gz --format ndjson | jq .evidence
    """
    from keywatch.convert import convert as run_conversion
    from keywatch.hunt import hunt as run

    pack, values = _load(rules, filters, settings)
    conversion = run_conversion(pack, TARGETS["duckdb"], values)
    alerts, coverage = run(conversion, paths, _progress)
    _WRITERS[output_format](alerts)
    problems = _tell([*pack.problems, *conversion.problems, *coverage.problems])
    click.echo(_summary(len(alerts), coverage, problems), err=True)
    if problems:
        sys.exit(2)
    if exit_code and alerts:
        sys.exit(1)


@main.command()
def targets() -> None:
    """List the targets, their formats and correlation methods."""
    for name, target in TARGETS.items():
        for number, (output_format, backend) in enumerate(target.formats.items()):
            default = " (default)" if number == 0 else ""
            click.echo(f"{name:14} {output_format:14} {backend.formats[output_format]}{default}")


def _progress(files: list[Path]) -> Iterable[Path]:
    if not sys.stderr.isatty():
        return files
    from rich.console import Console
    from rich.progress import track

    return track(files, "Reading", console=Console(stderr=True), transient=True)


def _summary(alerts: int, coverage: Coverage, problems: int) -> str:
    parts = [f"{alerts} alerts", f"{coverage.records} records", f"{coverage.files} files"]
    if coverage.duplicates:
        parts.append(f"{coverage.duplicates} duplicate events left out")
    if coverage.digests:
        parts.append(f"{coverage.digests} digest files passed over")
    if problems:
        parts.append(f"{problems} problems, named above")
    return ", ".join(parts) + "."


def _write_ndjson(alerts: list[Alert]) -> None:
    from keywatch.hunt import to_ndjson

    for alert in alerts:
        click.echo(to_ndjson(alert))


def _write_csv(alerts: list[Alert]) -> None:
    """Write a row an alert; what is no plain text is JSON, which no spreadsheet takes for a formula."""
    import json
    from dataclasses import asdict, fields

    from keywatch.hunt import Alert

    writer = csv.DictWriter(sys.stdout, [field.name for field in fields(Alert)])
    writer.writeheader()
    for alert in alerts:
        row = asdict(alert)
        writer.writerow(
            {key: json.dumps(value) if isinstance(value, dict | list) else value for key, value in row.items()}
        )


def _write_table(alerts: list[Alert]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if not alerts:
        click.echo("No alerts.")
        return
    table = Table("Level", "Seen", "Alert", box=box.SIMPLE_HEAD, pad_edge=False)
    for alert in alerts:
        seen = alert.first_seen if alert.first_seen == alert.last_seen else f"{alert.first_seen}\n{alert.last_seen}"
        if alert.values:
            who = ", ".join(map(str, alert.group.values()))
            what = f"{alert.count} in one window: {', '.join(alert.values)}; {alert.events} events"
        else:
            who = ", ".join(alert.evidence.get("userIdentity.arn", []))
            what = " in ".join(", ".join(alert.evidence.get(name, [])) for name in ("eventName", "awsRegion"))
        text = Text(_printable(f"{alert.title}\n{who}\n{what}"), overflow="fold")
        text.stylize("bold", 0, len(alert.title))
        table.add_row(Text(alert.level, _STYLES.get(alert.level, "")), seen, text)
    Console().print(table)


#: An event's text can hold terminal escape sequences.
def _printable(text: str) -> str:
    return "".join(char if char.isprintable() or char == "\n" else f"\\x{ord(char):02x}" for char in text)


_STYLES = {"critical": "bold red", "high": "red", "medium": "yellow"}
_WRITERS = {"table": _write_table, "ndjson": _write_ndjson, "csv": _write_csv}

if __name__ == "__main__":
    main()
