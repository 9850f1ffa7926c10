"""Measure `keywatch hunt`, and in the same run the floor: reading and decompressing the same files. `make bench`.

The floor is measured twice: as isal comes, and with the memory kept between files, as `keywatch` does it.

Prints a table in Markdown. Sizes are everyday events: `make bench EVENTS="100000 1000000"`.
"""

from __future__ import annotations

import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from pathlib import Path
from subprocess import DEVNULL

import psutil
from isal import igzip

from keywatch.hunting.workers import keep_freed_memory

FOLDER = Path(__file__).parents[1] / "build" / "bench"
PROGRAM = [sys.executable, "-m", "keywatch.cli"]
HUNT = [*PROGRAM, "hunt", "--format", "ndjson"]
ROUNDS = 5


def decompress(files: list[str]) -> int:
    return sum(len(igzip.decompress(Path(file).read_bytes())) for file in files)


def floor(files: list[str], prepare: Callable[[], object] | None = None) -> tuple[float, int]:
    """Return the seconds that reading and decompressing take with one process a core, and the bytes that come out.

    :param prepare: is called in each process.
    """
    chunks = [files[start : start + 32] for start in range(0, len(files), 32)]
    began = time.perf_counter()
    with ProcessPoolExecutor(initializer=prepare) as pool:
        size = sum(pool.map(decompress, chunks))
    return time.perf_counter() - began, size


def hunt(folder: Path) -> tuple[float, float]:
    """Return the wall time and the CPU time of the program and its workers."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    subprocess.run([*HUNT, str(folder)], check=True, capture_output=True)
    wall = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def memory(folder: Path) -> int:
    """Return the most bytes that the program and its workers have together, in a run of its own: looking takes time."""
    process = psutil.Popen([*HUNT, str(folder)], stdout=DEVNULL, stderr=DEVNULL)
    most = 0
    while process.poll() is None:
        with suppress(psutil.NoSuchProcess):
            most = max(most, sum(one.memory_info().rss for one in [process, *process.children(recursive=True)]))
        time.sleep(0.05)
    return most


def main() -> None:
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, best of {ROUNDS}\n")
    print("| Events | Files | JSON | Floor | Hunt, all rules | Ratio | Floor, tuned | Ratio | CPU | Memory |")
    print("|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
    for events in map(int, sys.argv[1:]):
        folder = FOLDER / str(events)
        if not folder.exists():
            subprocess.run(
                [*PROGRAM, "simulate", str(folder), "--events", str(events)], check=True, stdout=DEVNULL, stderr=DEVNULL
            )
        files = sorted(map(str, folder.rglob("*.json.gz")))
        # In turn, because a machine's speed changes.
        rounds = [(floor(files), floor(files, keep_freed_memory), hunt(folder)) for _ in range(ROUNDS)]
        (plain, size), (tuned, _), (wall, cpu) = (min(times) for times in zip(*rounds, strict=True))
        print(
            f"| {events:,} | {len(files):,} | {size / 1e9:.2f} GB | {plain:.2f} s | {wall:.2f} s | {wall / plain:.1f} "
            f"| {tuned:.2f} s | {wall / tuned:.1f} | {cpu:.1f} s | {memory(folder) / 2**20:.0f} MB |"
        )


if __name__ == "__main__":
    main()
