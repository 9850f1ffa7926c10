"""What the commands share: their help, the options that several take, and what stands for a value."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from keywatch.errors import UserError, one_line
from keywatch.words import nothing_called

if TYPE_CHECKING:
    from keywatch.conversion.rules import Pack
    from keywatch.hunting.selection import Selection

PATH = click.Path(path_type=Path)
#: New objects after which Python looks for cycles: rules make many, and hardly any cycle.
_OBJECTS = 100_000


class Examples(click.Command):
    """A command whose help ends with examples, each a line that can be copied."""

    def __init__(self, *args: Any, examples: Sequence[str] = (), elsewhere: Sequence[str] = (), **kwargs: Any) -> None:
        """Take the lines; the examples run one after another in an empty folder, and those for elsewhere where it is.

        :param elsewhere: need what a person has to name, such as a server.
        """
        super().__init__(*args, **kwargs)
        self.examples, self.elsewhere = examples, elsewhere

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples as they are: a line that is broken can't be copied."""
        titled = {"Examples, with names of your own in them": self.elsewhere, "Examples": self.examples}
        for title, lines in titled.items():
            if lines:
                with formatter.section(title):
                    for line in lines:
                        formatter.write(f"{'':{formatter.current_indent}}{line}\n")


class Choice(click.Choice[str]):
    """One of a few names; for another one, the nearest is named."""

    def __init__(self, kind: str, choices: Iterable[str]) -> None:
        """Take what the names are of, such as `target`, and the names."""
        super().__init__(list(choices))
        self.kind = kind

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the name.

        :raises UserError: for another one.
        """
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter as error:
            raise UserError(nothing_called(self.kind, str(value), self.choices)) from error


class Moment(click.ParamType[datetime]):
    """A day or a time as ISO 8601 writes it; UTC if it has no offset."""

    name = "time"
    #: The years between which CloudTrail's times lie, as they are read.
    _YEARS = range(1970, 9999)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Return the time in UTC, without saying so.

        :raises UserError: for what is no time.
        """
        try:
            time = datetime.fromisoformat(str(value).strip())
            time = time.astimezone(UTC).replace(tzinfo=None) if time.tzinfo else time
            if time.year in self._YEARS:
                return time
        except (ValueError, OverflowError):
            pass
        raise UserError(f"'{value}' is no time of the years 1970 to 9998; 2026-09-05, 2026-09-05T10:00 and …Z are")


class RuleName(click.ParamType[str]):
    """The name of a rule, completed from the pack's."""

    name = "rule"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
        """Return the pack's rules that begin so."""
        from click.shell_completion import CompletionItem
        from sigma.pipelines.keywatch._pack import PACK

        names = sorted(path.stem for path in PACK.rglob("*.yml"))
        return [CompletionItem(name) for name in names if name.startswith(incomplete)]


def pack_options(command: Any) -> Any:
    """Add the options that say which rules, and with which settings."""
    for option in (
        click.option(
            "--filters",
            multiple=True,
            type=PATH,
            help="A Sigma filter file, or a folder of them; `keywatch settings` says where examples are.",
        ),
        click.option("--settings", type=PATH, help="A settings file; `keywatch settings` prints one to start from."),
        click.option("--rules", multiple=True, type=PATH, help="Rules to use instead of the pack's: file or folder."),
    ):
        command = option(command)
    return command


@dataclass(frozen=True)
class Source:
    """Which events a command looks at, and how far it unpacks files, in bytes."""

    paths: tuple[str, ...]
    selection: Selection
    limit: int


def source_options(command: Any, *, needed: bool = True) -> Any:
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
            click.argument("paths", nargs=-1, required=needed, metavar="PATHS..." if needed else "[PATHS...]"),
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


def load(rules: Sequence[Path], filters: Sequence[Path], settings_path: Path | None) -> tuple[Pack, dict[str, Any]]:
    """Read rules, filters and settings.

    :raises UserError: for settings that make no sense.
    """
    from keywatch.conversion.rules import load_pack
    from keywatch.conversion.settings import load_settings

    gc.set_threshold(_OBJECTS, *gc.get_threshold()[1:])
    settings = load_settings(settings_path)
    pack = load_pack(list(rules), list(filters), settings, settings_path)
    # What is loaded by now stays until the end: without this, ending takes a third as long as starting.
    gc.freeze()
    gc.disable()  # rows are freed without it, and queries stay
    return pack, settings


def tell_warnings() -> None:
    """From now on, print a warning as one line."""
    import warnings

    warnings.showwarning = lambda message, *_, **__: click.echo(f"warning: {one_line(str(message))}", err=True)


def tell(problems: Iterable[UserError]) -> int:
    """Print what went wrong, a line each; return how many."""
    count = 0
    for count, problem in enumerate(problems, 1):  # noqa: B007
        click.echo(str(problem), err=True)
    return count
