"""Bring and build all programs, while the venv is made: `PYTHONPATH=tests python3 -m programs`.

What is missing or fails is left to the tests that need it: they say so, or are skipped.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from programs import maven, npm, rust

#: What tells what is missing, and what brings a program.
Step = tuple[Callable[[], list[str]], Callable[[], Path]]

os.nice(5)  # everything waits for the venv
java: list[Step] = [(partial(maven.missing, name), partial(maven.build, name)) for name in maven.NAMES]
# Those first for which the longest tests wait.
steps: list[Step] = [*java[:3], (npm.missing, npm.kusto), (rust.missing, rust.search), *java[3:]]
for missing, build in steps:
    with suppress(AssertionError):
        if not missing():
            build()
