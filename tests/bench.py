"""Measure `keywatch hunt`, and in the same run the floor: reading and decompressing the same files. `make bench`.

The floor is measured twice: as isal comes, and with the memory kept between files, as `keywatch` does it.

Prints tables in Markdown. Sizes are everyday events: `make bench EVENTS="100000 1000000"`. The second table is of many
rules and many alerts, with rules that are made here: the first of them matches every event. Where rsigma is installed
(`cargo install rsigma --version 0.23.0`), it takes its turn with the same rules, on events that were unpacked and made
flat beforehand.
"""

from __future__ import annotations

import os
import platform
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from pathlib import Path
from subprocess import DEVNULL
from typing import Any

import msgspec
import psutil
import yaml
from isal import igzip
from sigma.pipelines.keywatch._pack import PACK

from keywatch.hunting import simulate
from keywatch.hunting.workers import keep_freed_memory

FOLDER = Path(__file__).parents[1] / "build" / "bench"
PROGRAM = [sys.executable, "-m", "keywatch.cli"]
HUNT = [*PROGRAM, "hunt", "--format", "ndjson"]
#: The engine to compare with, if there is one.
RSIGMA = shutil.which("rsigma")
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


def hunt(*arguments: str | Path) -> tuple[float, float]:
    """Return the wall time and the CPU time of the program and its workers."""
    return run([*HUNT, *map(str, arguments)])


def run(command: list[str]) -> tuple[float, float]:
    """Return the wall time and the CPU time of a program and of the processes that it starts."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=DEVNULL, stderr=DEVNULL)
    wall = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def memory(*arguments: str | Path) -> int:
    """Return the most bytes that the program and its workers have together, in a run of its own: looking takes time."""
    process = psutil.Popen([*HUNT, *map(str, arguments)], stdout=DEVNULL, stderr=DEVNULL)
    most = 0
    while process.poll() is None:
        with suppress(psutil.NoSuchProcess):
            most = max(most, sum(one.memory_info().rss for one in [process, *process.children(recursive=True)]))
        time.sleep(0.05)
    return most


def made(number: int) -> Path:
    """Write rules of single events: one that matches each, others a call of the simulation, the rest none."""
    script = yaml.safe_load((Path(simulate.__file__).with_suffix(".yml")).read_text(encoding="utf-8"))
    names = ["*", *(call["name"] for call in script["calls"])]
    path = FOLDER / f"{number}-rules.yml"
    rules = [
        {
            "title": f"Rule {one}",
            "name": f"rule_{one}",
            "level": "low",
            "logsource": {"product": "aws", "service": "cloudtrail"},
            "detection": {
                "a": {"eventName": names[one] if one < len(names) else f"Call{one}"},
                "b": {"userAgent|contains": f"agent{one}"},
                "condition": "a and not b",
            },
        }
        for one in range(number)
    ]
    path.write_text(yaml.safe_dump_all(rules), encoding="utf-8")
    return path


def lines(folder: Path, most: int, form: Callable[[Any], Any] = lambda record: record, suffix: str = "") -> Path:
    """Write the events of a folder one a line, at most so many, if they are not there yet.

    :param form: makes of a record what is written of it.
    """
    path = FOLDER / f"{folder.name}-{most}{suffix}.ndjson"
    if path.exists():
        return path
    left, unfinished = most, path.with_suffix(".part")
    with unfinished.open("wb") as stream:
        for file in sorted(folder.rglob("*.json.gz")):
            records = msgspec.json.decode(igzip.decompress(file.read_bytes()))["Records"][:left]
            stream.writelines(msgspec.json.encode(form(record)) + b"\n" for record in records)
            left -= len(records)
    return unfinished.rename(path)


def flat(record: dict[str, Any], above: str = "") -> dict[str, Any]:
    """Return a record with its paths as keys: userIdentity.arn."""
    found: dict[str, Any] = {}
    for key, value in record.items():
        found |= flat(value, f"{above}{key}.") if isinstance(value, dict) and value else {above + key: value}
    return found


def rsigma(rules: Path, events: Path) -> tuple[float, float] | None:
    """Return the wall time and the CPU time of rsigma; None where it is not installed."""
    if RSIGMA is None:
        return None
    return run([RSIGMA, "engine", "eval", "--rules", str(rules), "--event", f"@{events}", "--output-format", "ndjson"])


def many(folder: Path) -> None:
    """Measure many rules and many alerts on the events of a folder, and events one a line."""
    print("\n| Events | Input | Rules | Hunt | CPU | Memory | rsigma | CPU | Ratio | of CPU | Load |")
    print("|---:|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
    size, few = int(folder.name), 500
    cases = [(size, "AWS's files", number) for number in (1, 46, 733)]
    cases += [(few, "lines", 733), *((min(200_000, size), "lines", number) for number in (0, 46, 733))]
    for events, what, number in cases:
        source = folder if what != "lines" else lines(folder, events)
        rules = made(number) if number else PACK / "rules"
        options = ["--rules", rules, source] if number else [source]
        unpacked = lines(folder, events, flat, "-flat") if RSIGMA else source
        # In turn, because a machine's speed changes.
        rounds = [(hunt(*options), rsigma(rules, unpacked)) for _ in range(ROUNDS if what == "lines" else 1)]
        wall, cpu = map(min, zip(*(ours for ours, _ in rounds), strict=True))
        compared = "– | – | – | –"
        if theirs := [other for _, other in rounds if other is not None]:
            other_wall, other_cpu = map(min, zip(*theirs, strict=True))
            compared = f"{other_wall:.1f} s | {other_cpu:.1f} s | {other_wall / wall:.1f} | {other_cpu / cpu:.1f}"
        print(
            f"| {events:,} | {what} | {number or 'the pack'} | {wall:.2f} s | {cpu:.1f} s "
            f"| {memory(*options) / 2**20:.0f} MB | {compared} | {os.getloadavg()[0]:.1f} |",
            flush=True,
        )


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
    many(FOLDER / sys.argv[-1])


if __name__ == "__main__":
    main()
