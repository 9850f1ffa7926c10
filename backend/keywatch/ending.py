"""End in good order when the user or the system says so: one line, nothing left behind, and the status that says why.

What is to be done then is done where the signal arrives. An exception would be swallowed, or shown as a traceback, in
the many places of other people's code where it could be raised.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

_WORDS = {signal.SIGINT: "Interrupted", signal.SIGTERM: "Terminated"}
_process: int | None = None
_covered: Callable[[], str] | None = None
_clean: list[Callable[[], object]] = []


def end_on_signals() -> None:
    """From now on, end with 130 on SIGINT (Ctrl-C), and with 143 on SIGTERM."""
    global _process  # noqa: PLW0603
    _process = os.getpid()
    for number in _WORDS:
        with suppress(ValueError):  # of a thread that is not the main one
            signal.signal(number, _end)


def say_at_end(covered: Callable[[], str]) -> None:
    """Take what says how far the program has come."""
    global _covered  # noqa: PLW0603
    _covered = covered


@contextmanager
def cleaning(clean: Callable[[], object]) -> Iterator[None]:
    """Do something before the program ends on a signal, unless the block was left by then."""
    _clean.append(clean)
    try:
        yield
    finally:
        _clean.remove(clean)


def _end(number: int, _: FrameType | None) -> None:
    if os.getpid() == _process:  # another is a copy that was just made, to read files
        for other in _WORDS:
            signal.signal(other, signal.SIG_IGN)
        if "multiprocessing" in sys.modules:
            from multiprocessing import active_children

            for child in active_children():
                child.kill()
        for clean in reversed(_clean):
            with suppress(Exception):
                clean()
        line = _WORDS[signal.Signals(number)]
        with suppress(Exception):
            line += f", so nothing can be said of the rest: {_covered()}" if _covered else "."
        with suppress(OSError):
            os.write(2, f"{line}\n".encode())
    os._exit(128 + number)
