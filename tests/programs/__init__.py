"""Programs that the tests build or bring, each once for each version of it, in a folder that is kept.

Nothing here needs what the venv has: `make test` runs it while the venv is made.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

#: A folder a program, with what it is made of.
SOURCES = Path(__file__).parents[1] / "engines"
CACHE = Path(os.environ.get("KEYWATCH_ENGINES", Path(__file__).parents[2] / "build" / "engines"))


def missing(*names: str) -> list[str]:
    """Return the programs that are not there."""
    return [name for name in names if not shutil.which(name)]


def folder_for(name: str, sources: Iterable[Path]) -> Path:
    """Return the folder of what is made of some files; another one for other contents."""
    version = sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:12]
    return CACHE / f"{name}-{version}"


@contextmanager
def building(tool: str) -> Iterator[None]:
    """Wait until no other process builds or brings anything with a tool: tests run in several at once."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{tool}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def run(command: list[str], cwd: Path | None = None, environment: dict[str, str] | None = None) -> str:
    """Run a command, and return what it prints; raise AssertionError with the end of what it says if it fails."""
    variables = os.environ | (environment or {})
    result = subprocess.run(command, cwd=cwd, env=variables, capture_output=True, text=True, check=False)
    said = f"{result.stdout[-2000:]}{result.stderr[-2000:]}"
    assert result.returncode == 0, f"{' '.join(command[:3])} …: {said}"
    return result.stdout
