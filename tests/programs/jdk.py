"""Looks for a JDK by its version: that of `java` on the PATH may be another than an engine needs."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

#: Where JDKs lie: Debian's and Temurin's packages, CI's images, SDKMAN's, macOS's.
_USUAL = ("/usr/lib/jvm/*", "/opt/*", "/opt/hostedtoolcache/Java_*/*/*", "~/.sdkman/candidates/java/*", "~/.jdks/*")
_MACOS = "/Library/Java/JavaVirtualMachines/*/Contents/Home"


def find(least: int) -> Path | None:
    """Return the home of a JDK of a version or a later one, JAVA_HOME's first; None if there is none."""
    return next((home for home in _homes() if (home / "bin" / "javac").exists() and _version(home) >= least), None)


def _homes() -> Iterator[Path]:
    if home := os.environ.get("JAVA_HOME"):
        yield Path(home)
    if javac := shutil.which("javac"):
        yield Path(javac).resolve().parents[1]
    for pattern in (*_USUAL, _MACOS):
        path = Path(pattern).expanduser()
        yield from sorted(Path(path.anchor).glob(str(path.relative_to(path.anchor))))


def _version(home: Path) -> int:
    """Return what the file `release` of a JDK says; 0 if there is none."""
    try:
        text = (home / "release").read_text(encoding="utf-8")
    except OSError:
        return 0
    version = re.search(r'^JAVA_VERSION="(\d+)', text, re.MULTILINE)
    return int(version[1]) if version else 0
