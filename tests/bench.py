"""Measure `keywatch hunt`, and in the same run the floor: reading and decompressing the same files. `make bench`.

Prints a table in Markdown. Sizes are everyday events: `make bench EVENTS="100000 1000000"`.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import psutil
from isal import igzip

FOLDER = Path(__file__).parents[1] / "build" / "bench"
PROGRAM = [sys.executable, "-m", "keywatch.cli"]
ROUNDS = 3


def decompress(files: list[str]) -> int:
    return sum(len(igzip.decompress(Path(file).read_bytes())) for file in files)


def floor(files: list[str]) -> tuple[float, int]:
    """Return the seconds that reading and decompressing take with one process a core, and the bytes that come out."""
    chunks = [files[start : start + 32] for start in range(0, len(files), 32)]
    began = time.perf_counter()
    with ProcessPoolExecutor() as pool:
        size = sum(pool.map(decompress, chunks))
    return time.perf_counter() - began, size


def hunt(folder: Path) -> tuple[float, float, int]:
    """Return the wall time, the CPU time, and the most memory that the program and its workers had together."""
    command = [*PROGRAM, "hunt", str(folder), "--format", "ndjson"]
    began = time.perf_counter()
    process = psutil.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    most = 0
    while process.poll() is None:
        try:
            most = max(most, sum(one.memory_info().rss for one in [process, *process.children(recursive=True)]))
            spent = process.cpu_times()
        except psutil.NoSuchProcess:
            pass
        time.sleep(0.1)
    assert process.returncode == 0
    wall = time.perf_counter() - began
    return wall, spent.user + spent.system + spent.children_user + spent.children_system, most


def main() -> None:
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, best of {ROUNDS}\n")
    print("| Events | Files | JSON | Floor | Hunt, all rules | Ratio | CPU | Memory |")
    print("|---:|---:|---:|---:|---:|---:|---:|---:|")
    for events in map(int, sys.argv[1:]):
        folder = FOLDER / str(events)
        if not folder.exists():
            command = [
                str(Path(sys.executable).with_name("keywatch")),
                "simulate",
                str(folder),
                "--events",
                str(events),
            ]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        files = sorted(map(str, folder.rglob("*.json.gz")))
        floors = [floor(files) for _ in range(ROUNDS)]
        hunts = [hunt(folder) for _ in range(ROUNDS)]
        least, size = min(floors)
        wall, cpu, _ = min(hunts)
        memory = max(most for _, _, most in hunts)
        print(
            f"| {events:,} | {len(files):,} | {size / 1e9:.2f} GB | {least:.2f} s | {wall:.2f} s | {wall / least:.1f} "
            f"| {cpu:.1f} s | {memory / 2**20:.0f} MB |"
        )


if __name__ == "__main__":
    main()
