"""Where records come from: folders as AWS leaves them, standard input, S3, large files, and all that goes wrong."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import boto3
import psutil
import pytest
from moto.server import ThreadedMotoServer

from events import REGIONS, denied
from keywatch.hunting import records
from keywatch.hunting.columns import Columns
from keywatch.hunting.records import Coverage, Selection, find_files, read_rows
from keywatch.hunting.sift import Sift
from packs import hunted as run

EVENTS = [denied(60 * i, i) for i in range(5)]
ALL = Sift(None, Columns(["eventName", "eventID", "userIdentity.arn"]))
ROWS = [ALL.columns.row(event) for event in EVENTS]
WHOLE = json.dumps({"Records": EVENTS}, separators=(",", ":")).encode()
PROGRAM = [sys.executable, "-m", "keywatch.cli"]


def delivered(folder: Path, account: str, region: str, day: str, prefix: str = "") -> None:
    """Write a file where AWS would deliver it."""
    where = folder / "AWSLogs" / prefix / account / "CloudTrail" / region / day
    where.mkdir(parents=True, exist_ok=True)
    path = where / f"{account}_CloudTrail_{region}_{day.replace('/', '')}T0005Z_a.json.gz"
    path.write_bytes(gzip.compress(WHOLE))


@pytest.mark.parametrize(
    ("selection", "read"),
    [
        (Selection(), 6),
        (Selection(accounts=("111122223333",)), 4),
        (Selection(regions=("us-east-1",)), 3),
        (Selection(start=datetime(2026, 11, 20)), 4),
        (Selection(end=datetime(2026, 11, 19, 12)), 6),
        (Selection(end=datetime(2026, 11, 19)), 2),  # delivered the day after, it can be of the day before
        (Selection(end=datetime(2026, 11, 18)), 0),
        (Selection(start=datetime(2026, 11, 21), accounts=("444455556666",), regions=("eu-west-1",)), 0),
    ],
)
def test_files_are_passed_over_by_their_path(selection: Selection, read: int, tmp_path: Path) -> None:
    for day in ("2026/11/19", "2026/11/20"):
        delivered(tmp_path, "111122223333", "us-east-1", day)
        delivered(tmp_path, "111122223333", "eu-west-1", day)
    delivered(tmp_path, "444455556666", "us-east-1", "2026/11/20", prefix="o-ab12cd34ef")
    delivered(tmp_path, "444455556666", "eu-west-1", "2026/11/20", prefix="o-ab12cd34ef")
    coverage = Coverage()
    files = find_files([str(tmp_path)], selection, coverage)
    assert (len(files), coverage.pruned, coverage.problems) == (read, 6 - read, [])


@pytest.mark.parametrize(
    ("selection", "found"),
    [
        (Selection(start=datetime(2026, 11, 20, 10)), 1),
        (Selection(start=datetime(2026, 11, 20, 10, 0, 1)), 0),
        (Selection(end=datetime(2026, 11, 20, 10, 4, 1)), 1),
        (Selection(end=datetime(2026, 11, 20, 10, 4)), 0),
        (Selection(accounts=("111122223333",)), 1),
        (Selection(accounts=("444455556666",)), 0),
        (Selection(regions=tuple(REGIONS[:5])), 1),
        (Selection(regions=tuple(REGIONS[:4])), 0),
    ],
)
def test_only_wanted_events_count(selection: Selection, found: int, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(WHOLE)
    alerts, _ = run(tmp_path, selection=selection)
    assert len(alerts) == found


def test_standard_input() -> None:
    for content in (WHOLE, gzip.compress(WHOLE), b"\n".join(json.dumps(event).encode() for event in EVENTS)):
        command = [*PROGRAM, "hunt", "-", "--format", "ndjson"]
        done = subprocess.run(command, input=content, capture_output=True, check=True)
        assert json.loads(done.stdout)["events"] == 5


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    records._s3_system.cache_clear()
    client = boto3.client("s3")
    client.create_bucket(Bucket="trail")
    yield client
    server.stop()


def test_s3(bucket: Any) -> None:
    name = "AWSLogs/111122223333/CloudTrail/us-east-1/2026/11/20/a.json.gz"
    bucket.put_object(Bucket="trail", Key=name, Body=gzip.compress(WHOLE))
    bucket.put_object(Bucket="trail", Key=name.replace("11/20", "10/01"), Body=gzip.compress(WHOLE))
    bucket.put_object(Bucket="trail", Key="AWSLogs/readme.txt", Body=b"no records")
    for path in ("s3://trail", "s3://trail/AWSLogs/", f"s3://trail/{name}"):
        command = [*PROGRAM, "hunt", path, "--from", "2026-11-20", "--format", "ndjson"]
        done = subprocess.run(command, capture_output=True, check=True)
        assert json.loads(done.stdout)["events"] == 5
    assert b"1 files of other days" not in done.stderr  # a file that is named is read whatever its path says
    gone = subprocess.run([*PROGRAM, "hunt", "s3://gone/x"], capture_output=True, check=False)
    assert gone.returncode == 2
    assert gone.stderr.startswith(b"s3:/gone/x: can't be ")


@pytest.mark.parametrize("packed", [False, True])
def test_a_large_file_of_lines_is_not_held_in_memory(
    packed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "_LARGE", 100)
    path = tmp_path / "large.ndjson"
    content = b"\n".join(json.dumps(event).encode() for event in EVENTS) + b"\n{broken\n"
    path.write_bytes(gzip.compress(content) if packed else content)
    coverage = Coverage()
    assert list(read_rows(str(path), ALL, coverage)) == ROWS
    assert [str(problem)[: len(str(path)) + 2] for problem in coverage.problems] == [f"{path}:6"]
    path.write_bytes(gzip.compress(content)[:-30])
    cut = Coverage()
    list(read_rows(str(path), ALL, cut))
    assert "can't be read to its end" in str(cut.problems[-1])


@pytest.mark.parametrize("packed", [False, True])
def test_a_large_file_of_records(packed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "_LARGE", 100)
    path = tmp_path / "large.json"
    indented = json.dumps({"Records": EVENTS}, indent=1).encode()
    path.write_bytes(gzip.compress(indented) if packed else indented)
    assert list(read_rows(str(path), ALL, Coverage())) == ROWS


def test_gzip_in_several_members_and_with_a_wrong_end(tmp_path: Path) -> None:
    half = len(WHOLE) // 2
    for content in (
        gzip.compress(WHOLE[:half]) + gzip.compress(WHOLE[half:]),
        gzip.compress(b"") + gzip.compress(WHOLE),
        gzip.compress(WHOLE) + gzip.compress(b""),
    ):
        (tmp_path / "a.json.gz").write_bytes(content)
        assert list(read_rows(str(tmp_path / "a.json.gz"), ALL, Coverage())) == ROWS
    for broken in (
        gzip.compress(WHOLE)[:-1],
        gzip.compress(WHOLE)[:-8],
        gzip.compress(WHOLE)[:40],
        gzip.compress(WHOLE)[:-8] + b"\0" * 8,
        gzip.compress(WHOLE) + gzip.compress(WHOLE)[:-3],
        gzip.compress(WHOLE) + b"rubbish",
        b"\x1f\x8b",
    ):
        (tmp_path / "a.json.gz").write_bytes(broken)
        coverage = Coverage()
        assert not list(read_rows(str(tmp_path / "a.json.gz"), ALL, coverage))
        assert len(coverage.problems) == 1


def test_a_file_that_disappears_during_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(100):  # enough for several processes
        (tmp_path / f"{number}.json").write_bytes(WHOLE)

    def listed(path: str) -> list[str] | None:
        files = sorted(str(file) for file in Path(path).iterdir())
        (tmp_path / "77.json").unlink()
        return files

    monkeypatch.setattr(records, "_listed", listed)
    alerts, coverage = run(tmp_path)
    assert len(alerts) == 1
    assert coverage.files == 99
    assert [str(problem) for problem in coverage.problems] == [
        f"{tmp_path}/77.json: can't be read: No such file or directory"
    ]


def test_a_file_without_permission(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(WHOLE)
    (tmp_path / "a.json").chmod(0)
    if os.geteuid():
        _, coverage = run(tmp_path / "a.json")
    else:  # root may read all
        for folder in [tmp_path, *tmp_path.parents[:2]]:
            folder.chmod(0o755)
        os.seteuid(65534)
        try:
            coverage = Coverage()
            assert not list(read_rows(str(tmp_path / "a.json"), ALL, coverage))
        finally:
            os.seteuid(0)
    assert [str(problem) for problem in coverage.problems] == [f"{tmp_path}/a.json: can't be read: Permission denied"]


@pytest.mark.parametrize("files", [0, 100])
def test_an_interrupted_hunt_says_what_was_covered(files: int, tmp_path: Path) -> None:
    for number in range(files):
        (tmp_path / f"{number:03}.json").write_bytes(WHOLE)
    os.mkfifo(tmp_path / "zzz.json")  # nobody writes to it: reading waits
    process = subprocess.Popen([*PROGRAM, "hunt", str(tmp_path)], stderr=subprocess.PIPE, start_new_session=True)
    time.sleep(2)
    began = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    _, told = process.communicate(timeout=20)
    assert time.monotonic() - began < 5
    assert process.returncode == 130
    [line] = told.decode().splitlines()
    assert line.startswith("Interrupted, so nothing can be said of the rest: ")
    if files:
        assert b" 64 files" in told


def test_odd_types_are_text(tmp_path: Path) -> None:
    odd: list[Any] = [1, 1.5, True, [1], {"a": 1}, "x" * 100_000, "\ud7ff"]
    texts = ["1", "1.5", "true", "[1]", '{"a":1}', "x" * 100_000, "\ud7ff", "aws-cli/2.15"]
    events = [denied(60 * i, i, userAgent=odd[i % len(odd)], awsRegion=REGIONS[i]) for i in range(7)]
    events += [denied(0, 0, userIdentity=7), denied(0, 0, userIdentity=None), denied(0, 0, requestParameters="text")]
    (tmp_path / "a.json").write_text(json.dumps(events))
    [alert], coverage = run(tmp_path)
    assert not coverage.problems
    assert alert.evidence["userAgent"] == sorted(texts)


def test_an_empty_stream_is_no_error() -> None:
    done = subprocess.run([*PROGRAM, "hunt", "-"], input=b"", capture_output=True, check=True)
    assert done.stdout == b"No alerts.\n"


def test_a_reading_process_that_is_killed(tmp_path: Path) -> None:
    for number in range(100):
        (tmp_path / f"{number:03}.json").write_bytes(WHOLE)
    os.mkfifo(tmp_path / "zzz.json")
    process = subprocess.Popen([*PROGRAM, "hunt", str(tmp_path)], stderr=subprocess.PIPE)
    time.sleep(2)
    for worker in psutil.Process(process.pid).children():
        worker.kill()
    _, told = process.communicate(timeout=20)
    assert process.returncode == 2
    assert told.decode() == "a process that read files was killed; was there too little memory?\n"
