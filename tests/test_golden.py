"""The output of every target and format, kept under tests/golden. `make golden` writes it anew."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from keywatch.conversion.convert import convert, write
from keywatch.conversion.rules import load_pack
from keywatch.conversion.settings import load_settings
from keywatch.conversion.targets import TARGETS

GOLDEN = Path(__file__).parent / "golden"
FORMATS = [(target, output_format) for target in TARGETS for output_format in TARGETS[target].formats]


def outputs(target: str, output_format: str, folder: Path) -> dict[str, bytes]:
    settings = load_settings(None)
    conversion = convert(load_pack([], [], settings), TARGETS[target], settings, output_format)
    paths = write(conversion, folder)
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


@pytest.mark.parametrize(("target", "output_format"), FORMATS)
def test_same_input_same_bytes(target: str, output_format: str, tmp_path: Path) -> None:
    assert outputs(target, output_format, tmp_path / "a") == outputs(target, output_format, tmp_path / "b")


def test_all_is_every_rule(tmp_path: Path) -> None:
    files = outputs("elasticsearch", "kibana", tmp_path)
    assert files.pop("all.ndjson") == b"".join(files.values())
