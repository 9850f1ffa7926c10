"""Where records come from: folders as AWS leaves them, standard input, S3, large files, and all that goes wrong."""

from __future__ import annotations

import gzip
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer
from rows import read, row

import ocsf
from events import DENIED, REGIONS, denied
from keywatch.hunting import finding, reading
from keywatch.hunting.columns import Columns
from keywatch.hunting.coverage import Coverage
from keywatch.hunting.finding import find_files
from keywatch.hunting.reading import Reader
from keywatch.hunting.selection import Selection
from keywatch.hunting.sift import Sift
from keywatch.hunting.times import read_time
from packs import DENIALS, keywatch
from packs import denials as run

EVENTS = [denied(60 * i, i) for i in range(5)]
ALL = Reader(Sift(None, Columns(["eventName", "eventID", "userIdentity.arn"])))
ROWS = [row(ALL.sift.columns, event) for event in EVENTS]
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
    assert (len(files), coverage.pruned, list(coverage.problems)) == (read, 6 - read, [])


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
        command = [*PROGRAM, "hunt", *DENIALS, "-", "--format", "ndjson"]
        done = subprocess.run(command, input=content, capture_output=True, check=True)
        assert json.loads(done.stdout.splitlines()[0])["events"] == 5


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
    finding.s3_system.cache_clear()
    client = boto3.client("s3")
    client.create_bucket(Bucket="trail")
    yield client
    server.stop()


def test_s3(bucket: Any) -> None:
    name = "AWSLogs/111122223333/CloudTrail/us-east-1/2026/11/20/a"
    bucket.put_object(Bucket="trail", Key=name, Body=gzip.compress(WHOLE))
    bucket.put_object(Bucket="trail", Key=name.replace("11/20", "10/01"), Body=gzip.compress(WHOLE))
    bucket.put_object(Bucket="trail", Key=name.replace("CloudTrail", "CloudTrail-Digest"), Body=b"{}")
    bucket.put_object(Bucket="trail", Key="AWSLogs/", Body=b"")
    for path in ("s3://trail", "s3://trail/AWSLogs/", f"s3://trail/{name}"):
        done = keywatch("hunt", *DENIALS, path, "--from", "2026-11-20", "--format", "ndjson")
        assert done.exit_code == 0, done.output
        assert json.loads(done.stdout.splitlines()[0])["events"] == 5
    assert "1 file of other days" not in done.stderr  # a file that is named is read whatever its path says
    bucket.put_object(Bucket="trail", Key="AWSLogs/readme.txt", Body=b"no records")
    strange = subprocess.run([*PROGRAM, "hunt", *DENIALS, "s3://trail"], capture_output=True, check=False)
    assert strange.returncode == 2
    assert b"readme.txt: not understood" in strange.stderr
    gone = subprocess.run([*PROGRAM, "hunt", *DENIALS, "s3://gone/x"], capture_output=True, check=False)
    assert gone.returncode == 2
    assert gone.stderr.startswith(b"s3:/gone/x: can't be ")


def test_security_lake_in_s3(bucket: Any) -> None:
    """What the partitions tell is not opened: it is broken here."""
    place = "aws/CLOUD_TRAIL_MGMT/2.0/region=us-east-1/accountId=111122223333/eventDay={}/48c42a18.gz.parquet"
    bucket.put_object(Bucket="trail", Key=place.format("20261120"), Body=ocsf.parquet(EVENTS))
    bucket.put_object(Bucket="trail", Key=place.format("20261101"), Body=b"PAR1 broken")
    bucket.put_object(Bucket="trail", Key="aws/VPC_FLOW/2.0/region=us-east-1/x.gz.parquet", Body=b"PAR1 broken")
    command = [*PROGRAM, "hunt", "s3://trail/aws/", "--from", "2026-11-20", "--rule", DENIED, "--format", "ndjson"]
    done = subprocess.run(command, capture_output=True, check=True)
    assert json.loads(done.stdout)["events"] == 5


@pytest.mark.parametrize("packed", [False, True])
def test_a_large_file_of_lines_is_not_held_in_memory(
    packed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "WHOLE", 100)
    path = tmp_path / "large.ndjson"
    content = b"\n".join(json.dumps(event).encode() for event in EVENTS) + b"\n{broken\n"
    path.write_bytes(gzip.compress(content) if packed else content)
    coverage = Coverage()
    assert read(ALL, path, coverage) == ROWS
    assert [str(problem)[: len(str(path)) + 2] for problem in coverage.problems] == [f"{path}:6"]
    path.write_bytes(gzip.compress(content)[:-30])
    cut = Coverage()
    read(ALL, path, cut)
    assert "can't be read to its end" in str(list(cut.problems)[-1])


@pytest.mark.parametrize("packed", [False, True])
def test_a_large_file_of_records(packed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "WHOLE", 100)
    path = tmp_path / "large.json"
    indented = json.dumps({"Records": EVENTS}, indent=1).encode()
    path.write_bytes(gzip.compress(indented) if packed else indented)
    assert read(ALL, path, Coverage()) == ROWS


def test_gzip_in_several_members_and_with_a_wrong_end(tmp_path: Path) -> None:
    half = len(WHOLE) // 2
    path = tmp_path / "a.json.gz"
    for content in (
        gzip.compress(WHOLE[:half]) + gzip.compress(WHOLE[half:]),
        gzip.compress(b"") + gzip.compress(WHOLE),
        gzip.compress(WHOLE) + gzip.compress(b""),
        gzip.compress(WHOLE) + b"\0" * 512,
    ):
        path.write_bytes(content)
        assert read(ALL, path, Coverage()) == ROWS
    for broken, rows in (
        (gzip.compress(WHOLE)[:-1], ROWS),
        (gzip.compress(WHOLE)[:-8], ROWS),
        (gzip.compress(WHOLE)[:40], []),
        (gzip.compress(WHOLE, 0)[: half + 30], ROWS[:2]),
        (gzip.compress(WHOLE)[:-8] + b"\0" * 8, []),  # of what has a wrong checksum nothing is believed
        (gzip.compress(WHOLE) + b"rubbish", ROWS),
        (b"\x1f\x8b", []),
    ):
        path.write_bytes(broken)
        coverage = Coverage()
        assert read(ALL, path, coverage) == rows
        [problem] = coverage.problems
        assert str(problem).startswith(f"{path}: can't be read to its end: ")


def test_a_file_that_disappears_during_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(100):  # enough for several processes
        (tmp_path / f"{number}.json").write_bytes(WHOLE)

    def listed(path: str, _: Coverage) -> list[str] | None:
        files = sorted(str(file) for file in Path(path).iterdir())
        (tmp_path / "77.json").unlink()
        return files

    monkeypatch.setattr(finding, "_listed", listed)
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
            assert not read(ALL, tmp_path / "a.json", coverage)
        finally:
            os.seteuid(0)
    assert [str(problem) for problem in coverage.problems] == [f"{tmp_path}/a.json: can't be read: Permission denied"]


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


def test_a_selection_that_leaves_nothing_says_what_was_there(tmp_path: Path) -> None:
    delivered(tmp_path, "111122223333", "eu-west-1", "2026/11/20")
    (tmp_path / "export.json").write_bytes(WHOLE)
    (tmp_path / "export.ndjson").write_bytes(b"\n".join(json.dumps(event).encode() for event in EVENTS))
    there = f"Regions eu-west-1, {', '.join(sorted(REGIONS[:4]))}"
    _, coverage = run(tmp_path, selection=Selection(regions=("us-esat-1",)))
    assert [str(problem) for problem in coverage.problems] == [
        "--region us-esat-1 leaves nothing of 10 records; "
        f"there were {there}; times from 2026-11-20T00:00:00Z to 2026-11-20T10:04:00Z"
    ]
    _, one = run(tmp_path / "AWSLogs", selection=Selection(accounts=("999988887777",)))
    assert [str(problem) for problem in one.problems] == [
        "--account 999988887777 leaves nothing of 1 file; "
        "there were accounts 111122223333; times from 2026-11-20T00:00:00Z to 2026-11-20T00:00:00Z"
    ]
    for selection in (Selection(regions=("us-east-1",)), Selection(start=datetime(2026, 11, 20))):
        assert not run(tmp_path, selection=selection)[1].problems


def test_what_lies_in_a_folder_is_found_once_and_never_waited_for(tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.mkdir()
    for name in ("a.gz", "b.log", "C.JSON", "d", ".hidden"):
        (real / name).write_bytes(WHOLE)
    (tmp_path / "neighbour").mkdir()
    (real / "again").symlink_to(real)
    (tmp_path / "link").symlink_to(real)
    (tmp_path / "one").symlink_to(real / "d")
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone")
    os.mkfifo(tmp_path / "fifo.json")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "s"))
        coverage = Coverage()
        files = find_files([str(tmp_path), str(real / "d"), str(tmp_path / "fifo.json")], Selection(), coverage)
    assert [Path(file).relative_to(tmp_path).as_posix() for file in files] == [
        "real/.hidden", "real/C.JSON", "real/a.gz", "real/b.log", "real/d",
    ]  # fmt: skip
    assert sorted(str(problem).removeprefix(f"{tmp_path}/") for problem in coverage.problems) == [
        "fifo.json: can't be listed: it is a FIFO, and is not opened",
        "fifo.json: it is a FIFO, and is not opened",
        "nowhere: it is a link that leads nowhere: No such file or directory, and is not opened",
        "s: it is a socket, and is not opened",
    ]


def test_an_unreadable_folder_costs_itself_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.json").write_bytes(WHOLE)
    scandir = os.scandir

    def refusing(path: str) -> Any:
        if path.endswith("/a"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    coverage = Coverage()
    assert find_files([str(tmp_path)], Selection(), coverage) == [f"{tmp_path}/b/x.json"]
    assert [str(problem) for problem in coverage.problems] == [f"{tmp_path}/a: can't be listed: Permission denied"]


def test_neighbours_of_a_trail_are_passed_over_by_their_kind(tmp_path: Path) -> None:
    for name in ("CloudTrail-Digest", "CloudTrail-Insight", "CloudTrail-Aggregated", "Config", "vpcflowlogs"):
        folder = tmp_path / "AWSLogs" / "111122223333" / name / "us-east-1" / "2026" / "11" / "10"
        folder.mkdir(parents=True)
        (folder / "x").write_bytes(b"rubbish")
    coverage = Coverage()
    assert find_files([str(tmp_path)], Selection(), coverage) == []
    assert coverage.passed == {
        "digest files": 1, "Insight files": 1, "aggregated files": 1, "AWS Config files": 1, "VPC flow logs": 1,
    }  # fmt: skip
    assert not coverage.problems


@pytest.mark.parametrize(
    ("first", "second", "duplicates"),
    [
        ({}, {}, 1),
        ({"eventTime": "2026-11-20T10:00:00Z"}, {"eventTime": "2026-11-20T12:00:00+02:00"}, 1),
        ({}, {"eventTime": "2026-11-20T10:00:01Z"}, 0),
        ({}, {"eventName": "ListFunctions"}, 0),
        ({}, {"awsRegion": "eu-west-1"}, 0),
        ({}, {"recipientAccountId": "444455556666"}, 0),
        ({"eventID": ""}, {"eventID": ""}, 0),
        ({"eventID": "REDACTED"}, {"eventID": "REDACTED"}, 0),
        ({"eventID": "00000000-0000-0000-0000-000000000000"}, {"eventID": "00000000-0000-0000-0000-000000000000"}, 0),
    ],
)
def test_duplicates_are_the_same_event(first: Any, second: Any, duplicates: int, tmp_path: Path) -> None:
    event = denied(0, 0)
    (tmp_path / "a.json").write_text(json.dumps([event | first, event | second]))
    assert run(tmp_path)[1].duplicates == duplicates


def test_an_id_that_stands_on_different_events_is_none(tmp_path: Path) -> None:
    masked = [denied(60 * i, i, eventID="hash-1") for i in (0, 0, 1, 2, 3, 4)]
    (tmp_path / "a.json").write_text(json.dumps(masked))
    [alert], coverage = run(tmp_path)
    assert (alert.events, coverage.duplicates) == (6, 0)


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-20T10:00:00Z", "2026-11-20T19:00:00+09:00", "2026-11-20T03:00:00-07:00", "20261120T100000Z",
        "2026-11-20 10:00:00", "2026-11-20 10:00:00.000 UTC", "2026-11-20T10:00:00.000Z", "1795168800",
        "1795168800000", "1795168800.000", "1795168800000000",
    ],
)  # fmt: skip
def test_times(text: str) -> None:
    assert read_time(text) == datetime(2026, 11, 20, 10)


@pytest.mark.parametrize(
    "text",
    ["", "yesterday", "0044-03-15 (BC) 10:00:00", "294247-01-10T04:00:54Z", "0001-01-01T00:00:00+14:00",
     "9999-12-31T23:59:59Z", "20261110100000", "1e999", "9" * 400, "-1", "2026-13-01T00:00:00Z", "nan"],
)  # fmt: skip
def test_no_times(text: str) -> None:
    with pytest.raises(ValueError):
        read_time(text)
