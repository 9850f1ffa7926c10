"""The output of every target and format, kept under tests/golden. `make golden` writes it anew."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from keywatch.conversion.convert import write
from keywatch.conversion.targets import TARGETS
from packs import attempted

GOLDEN = Path(__file__).parent / "golden"
FORMATS = [(target, output_format) for target in TARGETS for output_format in TARGETS[target].formats]


def outputs(target: str, output_format: str, folder: Path) -> dict[str, bytes]:
    paths = write(attempted(target, output_format), folder)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def readable(name: str, content: bytes) -> tuple[str, str] | None:
    """Return what a person can read in a diff: JSON indented, texts of several lines as lists; no archives."""
    if name.endswith(".gz") or name.startswith("all."):  # what is in them is there in files of its own
        return None
    if name.endswith(".ndjson"):
        rules = [_lines(json.loads(line)) for line in content.splitlines()]
        return name.replace(".ndjson", ".json"), json.dumps(rules, indent=2, ensure_ascii=False) + "\n"
    return name, content.decode()


def _lines(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _lines(item) for key, item in value.items()}
    return value.split("\n") if isinstance(value, str) and "\n" in value else value


@pytest.mark.parametrize(("target", "output_format"), FORMATS)
def test_golden(target: str, output_format: str, tmp_path: Path) -> None:
    got = dict(
        pair for name, content in outputs(target, output_format, tmp_path).items() if (pair := readable(name, content))
    )
    folder = GOLDEN / target / output_format
    if os.environ.get("KEYWATCH_WRITE_GOLDEN"):
        for name, text in got.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text, encoding="utf-8")
    kept = {
        path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8")
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    assert got == kept


_WRITES_ALL = """
import sys
from pathlib import Path
from test_golden import FORMATS, outputs
for target, output_format in FORMATS:
    outputs(target, output_format, Path(sys.argv[1], target, output_format))
"""


def test_same_input_same_bytes(tmp_path: Path) -> None:
    """Sets of texts have another order in each process, unless it is told the seed of their hashes."""
    runs = []
    for seed in ("1", "2"):
        environment = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)}
        subprocess.run([sys.executable, "-c", _WRITES_ALL, str(tmp_path / seed)], env=environment, check=True)
        files = [path for path in (tmp_path / seed).rglob("*") if path.is_file()]
        runs.append({path.relative_to(tmp_path / seed).as_posix(): path.read_bytes() for path in files})
    one, other = runs
    assert {tuple(name.split("/")[:2]) for name in one} == set(FORMATS)
    assert [name for name in sorted({*one, *other}) if one.get(name) != other.get(name)] == []


def test_all_is_every_rule(tmp_path: Path) -> None:
    files = outputs("elasticsearch", "kibana", tmp_path)
    assert files.pop("all.ndjson") == b"".join(files.values())
