"""Datadog's search, built from the crate that has its grammar."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import programs

SOURCE = programs.SOURCES / "datadog_search"


def missing() -> list[str]:
    """Return what it needs and that is not there."""
    return programs.missing("cargo", "cc")


def search() -> Path:
    """Build the program that searches, once for each version of it.

    Of the crate that has the grammar, only the modules of the search are compiled: all of it takes ten times as long.
    """
    sources = [SOURCE / "Cargo.toml", SOURCE / "Cargo.lock", SOURCE / "src" / "main.rs"]
    folder = programs.folder_for("datadog-search", sources)
    built = folder / "target" / "debug" / "search"
    with programs.building("cargo"):
        if not built.exists():
            shutil.copytree(SOURCE, folder, dirs_exist_ok=True)
            said = programs.run(["cargo", "metadata", "--locked", "--format-version=1"], folder)
            [vrl] = (package for package in json.loads(said)["packages"] if package["name"] == "vrl")
            crate = Path(vrl["manifest_path"]).parent
            shutil.copytree(crate / "src" / "datadog", folder / "src" / "datadog", dirs_exist_ok=True)
            programs.run(["cargo", "build", "--locked", "--quiet"], folder)
    return built
