"""Inputs from outside of the project, where KEYWATCH_CASES names a folder of them: none is passed over in silence."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from packs import keywatch, one_rule, written

CASES = Path(os.environ.get("KEYWATCH_CASES", "/nonexistent"))
#: Neighbours of a trail, which are passed over and counted.
NEIGHBOURS = {"insight", "aggregated"}
#: What is read, or named as what it is.
NAMED = {"17-lake-queryresults.json", "20-athena.csv"}
OPTIONS = {"minus7.ndjson": ["--from", "2026-11-10T09:30:00Z", "--to", "2026-11-10T10:30:00Z"]}


def hunted(path: Path, *options: str) -> tuple[int, int, str]:
    """Return the exit status, the number of alerts, and what was said."""
    done = keywatch("hunt", "--format", "ndjson", path, *options, *OPTIONS.get(path.name, []))
    return done.exit_code, len(done.stdout.splitlines()), done.stderr


@pytest.mark.skipif(not CASES.is_dir(), reason="KEYWATCH_CASES names no folder of cases")
@pytest.mark.parametrize("path", sorted(CASES.glob("read/*")), ids=lambda path: path.name)
def test_what_is_to_be_read(path: Path) -> None:
    status, alerts, said = hunted(path)
    if path.name in NEIGHBOURS:
        assert (status, alerts) == (0, 0)
        assert "passed over" in said
    elif path.name in NAMED:
        assert status == 2 or alerts
    else:
        assert status == 0, said
        assert alerts


@pytest.mark.skipif(not CASES.is_dir(), reason="KEYWATCH_CASES names no folder of cases")
@pytest.mark.parametrize(
    ("name", "status", "alerts", "lines"),
    [
        ("surrogate_control.json.gz", 0, 2, 1),
        ("surrogate_hides_file.json.gz", 2, 2, 2),
        ("time_bc_traceback.json", 2, 0, 2),
        ("time_max_traceback.json", 2, 0, 2),
        ("time_offset_ignored.json", 0, 2, 1),
        ("flood_sample.ndjson", 2, 0, 3),
    ],
)
def test_what_hurts(name: str, status: int, alerts: int, lines: int, tmp_path: Path) -> None:
    rules = written([one_rule({"eventSource": "bedrock.amazonaws.com"})], tmp_path)
    found, raised, said = hunted(CASES / "faults" / name, "--rules", str(rules))
    assert (found, raised) == (status, alerts)
    assert len(said.splitlines()) == lines
