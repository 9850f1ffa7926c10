"""However a hunt ends, it says so in a line, and leaves nothing behind: no process, no folder, no traceback."""

from __future__ import annotations

import gzip
import json
import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from events import DENIED, denied
from keywatch.hunting.loading import temporary_folder

PROGRAM = [sys.executable, "-m", "keywatch.cli"]
EVENTS = [denied(60 * i, i) for i in range(5)]
WHOLE = json.dumps({"Records": EVENTS}, separators=(",", ":")).encode()


def hold(path: Path) -> None:
    """Write a file that takes some seconds to read: its keys are not in AWS's order, so that each record is parsed."""
    line = json.dumps(denied(0, 0, errorCode=None), sort_keys=True).encode() + b"\n"
    path.write_bytes(gzip.compress(line * 4_000, 1) * 100)


def waiting(condition: Callable[[], Any], seconds: float = 30) -> Any:
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end
        time.sleep(0.05)
    return value


@contextmanager
def hunting(folder: Path, temporary: Path) -> Iterator[tuple[subprocess.Popen[bytes], list[psutil.Process]]]:
    """Hunt through many files of which the last take a while; give the process, and the workers that are busy then."""
    for number in range(64 * 3):
        (folder / f"{number:03}.json").write_bytes(WHOLE)
    for number in range(2):
        hold(folder / f"zz{number}.gz")
    process = subprocess.Popen(
        [*PROGRAM, "hunt", str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        env=os.environ | {"TMPDIR": str(temporary)},
    )
    try:
        workers = waiting(lambda: (found := psutil.Process(process.pid).children()) and len(found) > 1 and found)
        time.sleep(2)
        yield process, workers
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.mark.parametrize("group", [True, False])
@pytest.mark.parametrize(("number", "word"), [(signal.SIGINT, "Interrupted"), (signal.SIGTERM, "Terminated")])
def test_a_signal_ends_it_with_what_was_covered(number: int, word: str, group: bool, tmp_path: Path) -> None:
    temporary, folder = tmp_path / "tmp", tmp_path / "logs"
    temporary.mkdir()
    folder.mkdir()
    with hunting(folder, temporary) as (process, workers):
        began = time.monotonic()
        if group:
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
        out, told = process.communicate(timeout=30)
        assert time.monotonic() - began < 15
        assert (process.returncode, out) == (128 + number, b"")
        assert re.fullmatch(rf"{word}, so nothing can be said of the rest: \d+ records, \d+ files\.\n", told.decode())
        waiting(lambda: not any(map(alive, workers)))
        assert list(temporary.iterdir()) == []


def alive(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def handled(process: subprocess.Popen[bytes]) -> bool:
    """Tell whether a process has a handler of SIGTERM, as /proc shows it."""
    caught = re.search(r"SigCgt:\t(\w+)", Path(f"/proc/{process.pid}/status").read_text())
    return caught is not None and bool(int(caught[1], 16) & 1 << (signal.SIGTERM - 1))


# Before the first of these, it is Python that starts, which no program can do anything about.
@pytest.mark.parametrize("delay", [0, 0.1, 0.3, 0.6, 1.2])
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_at_any_moment(number: int, status: int, delay: float) -> None:
    process = subprocess.Popen([*PROGRAM, "hunt", "-"], stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    waiting(lambda: handled(process))
    time.sleep(delay)
    process.send_signal(number)
    _, told = process.communicate(timeout=30)
    assert process.returncode == status
    assert len(told.splitlines()) == 1
    assert b"Traceback" not in told


def test_workers_and_folders_go_when_the_parent_is_killed(tmp_path: Path) -> None:
    temporary, folder = tmp_path / "tmp", tmp_path / "logs"
    temporary.mkdir()
    folder.mkdir()
    with hunting(folder, temporary) as (process, workers):
        [left] = temporary.iterdir()
        process.kill()
        process.communicate(timeout=30)  # which waits until nobody holds the pipes any more
        waiting(lambda: not any(map(alive, workers)))
        assert left.is_dir()
    environment = os.environ | {"TMPDIR": str(temporary)}
    subprocess.run(
        [*PROGRAM, "hunt", "--rule", DENIED, "-"], input=WHOLE, env=environment, capture_output=True, check=True
    )
    assert list(temporary.iterdir()) == []


def test_folders_of_others_are_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "keywatch-mine").mkdir()
    (tmp_path / "keywatch-mine" / "notes").touch()
    (tmp_path / "keywatch-link").symlink_to(tmp_path / "keywatch-mine")
    with temporary_folder() as first, temporary_folder() as second:
        assert Path(first).is_dir()
        assert Path(second).is_dir()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["keywatch-link", "keywatch-mine"]


def test_a_worker_that_is_killed_costs_what_it_and_others_were_reading(tmp_path: Path) -> None:
    temporary, folder = tmp_path / "tmp", tmp_path / "logs"
    temporary.mkdir()
    folder.mkdir()
    with hunting(folder, temporary) as (process, workers):
        workers[0].kill()
        out, told = process.communicate(timeout=60)
    assert process.returncode == 2
    assert b"AWS Enumeration Denied" in out  # what was read is hunted
    assert b"a process that read it and others was killed; was there too little memory?" in told
    assert b"Traceback" not in told


@pytest.mark.parametrize(
    "command",
    [
        f"hunt --rule {DENIED} {{path}}",
        f"hunt --rule {DENIED} {{path}} --format csv",
        "targets",
        "--help",
        "hunt --help",
    ],
)
def test_standard_output_that_is_full_or_closed_is_a_line(command: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(WHOLE)
    whole = [*PROGRAM, *command.format(path=tmp_path / "a.json").split()]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(whole, stdout=full, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 2
    assert b"standard output: can't be written: No space left on device" in done.stderr.splitlines()
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as closed:
        broken = subprocess.run(whole, stdout=closed, stderr=subprocess.PIPE, check=False)
    assert broken.returncode == 2
    assert b"standard output: can't be written: Broken pipe" in broken.stderr.splitlines()
    none = subprocess.run(["sh", "-c", 'exec "$@" >&-', "sh", *whole], stderr=subprocess.PIPE, check=False)
    assert none.returncode == 2
    for told in (done.stderr, broken.stderr, none.stderr):
        assert b"Traceback" not in told
        assert b"Exception ignored" not in told


def bomb(unit: bytes, times: int) -> bytes:
    """Return gzip that unpacks to a unit over and over."""
    member = gzip.compress(unit * (2**20 // len(unit)), 9)
    return member * times


@pytest.mark.parametrize(
    "unit", [b"\0", b" ", b"[", b'{"a":', b"x", json.dumps(denied(0, 0, errorCode=None)).encode() + b"\n"],
    ids=["zeros", "blanks", "arrays", "objects", "text", "records"],
)  # fmt: skip
def test_a_bomb_is_named_and_the_rest_is_hunted(unit: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(WHOLE)
    (tmp_path / "bomb.json.gz").write_bytes(bomb(unit, 4000))
    command = [*PROGRAM, "hunt", "--rule", DENIED, str(tmp_path), "--unpack-limit", "0.1", "--format", "ndjson"]
    done = subprocess.run(command, capture_output=True, check=False, preexec_fn=limited)
    assert done.returncode == 2
    assert json.loads(done.stdout.splitlines()[0])["events"] == 5
    assert b"Traceback" not in done.stderr
    assert re.search(rb"bomb.json.gz(:\d+)?: (unpacks to more than 0.1 GB|more than 16 MB|not JSON)", done.stderr)


def limited() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (3 * 2**30, 3 * 2**30))  # less than the bomb unpacks to
