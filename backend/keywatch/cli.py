"""The program `keywatch`: its commands, and how it ends."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from keywatch.ending import end_on_signals

end_on_signals()  # before anything is imported that takes a while

import click  # noqa: E402

from keywatch.commands import converting, explaining, hunting, trying  # noqa: E402
from keywatch.commands.options import Examples  # noqa: E402
from keywatch.errors import UserError, printable  # noqa: E402


class _Group(Examples, click.Group):
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
        finally:
            gc.enable()  # which a command may have turned off


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
            where = printable(str(error.filename or "standard output"))
            click.echo(f"{where}: can't be written: {error.strerror}", err=True)
        sys.exit(2)


@click.group(
    cls=_Group,
    context_settings={"help_option_names": ["-h", "--help"]},
    examples=(
        "keywatch simulate trail --events 10000",
        "keywatch hunt trail",
        "keywatch backtest trail --report report.html",
        "keywatch convert splunk",
        "keywatch explain correlation_aws_bedrock_many_models --target splunk",
    ),
)
@click.version_option(package_name="keywatch")
def main() -> None:
    """Find stolen AWS keys and abused Bedrock models: Sigma rules for your SIEM and for your CloudTrail files."""


for command in (
    hunting.hunt,
    trying.backtest,
    trying.simulate,
    converting.convert,
    converting.targets,
    converting.settings,
    converting.upstream,
    converting.regression,
    explaining.rules,
    explaining.explain,
):
    main.add_command(command)

if __name__ == "__main__":
    main()
