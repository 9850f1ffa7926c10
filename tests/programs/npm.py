"""What the program that runs KQL needs from npm."""

from __future__ import annotations

import shutil
from pathlib import Path

import programs

SOURCE = programs.SOURCES / "kusto"


def missing() -> list[str]:
    """Return what it needs and that is not there."""
    return programs.missing("node", "npm")


def kusto() -> Path:
    """Bring it, once for each version of it; return its folder."""
    sources = [SOURCE / "package.json", SOURCE / "package-lock.json"]
    folder = programs.folder_for("kusto", sources)
    with programs.building("npm"):
        if not (folder / "node_modules").exists():
            folder.mkdir(parents=True, exist_ok=True)
            for path in sources:
                shutil.copy(path, folder)
            programs.run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=folder)
    return folder
