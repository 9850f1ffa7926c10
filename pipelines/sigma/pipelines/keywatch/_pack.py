"""Where the pack's YAML lies, and the triage guides in it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

#: The folder of the rules: inside an installed wheel, or `sigma/` of a checkout.
PACK = next(
    folder for folder in (Path(__file__).parent / "pack", Path(__file__).parents[4] / "sigma") if folder.is_dir()
)

#: Where a rule carries its triage guide from the pipeline to the backend.
GUIDE = "keywatch_guide"


@dataclass(frozen=True)
class Guide:
    """What an analyst needs with an alert. `{field}` in a text stands for the alert's value of a CloudTrail field."""

    detection: str
    title: str
    fields: tuple[str, ...]
    threshold: str
    steps: dict[str, str]


@cache
def guides() -> dict[str, Guide]:
    """Read the triage guides of the pack, keyed by the name of the rule that each belongs to."""
    folder = PACK / "guides"
    common = read_yaml(folder / "common.yaml")["steps"]
    return {
        rule: Guide(name, detection["title"], tuple(guide["fields"]), guide["threshold"], common | guide["steps"])
        for path in sorted(folder.glob("*.yaml"))
        if path.name != "common.yaml"
        for guide in (read_yaml(path),)
        for name, detection in guide["detections"].items()
        for rule in detection["rules"]
    }


@cache
def defaults(section: str) -> dict[str, str]:
    """Return a section of the pack's settings: what a target, or the schedule, has if nobody says otherwise."""
    settings: dict[str, str] = read_yaml(PACK / "settings.yaml")[section]
    return settings


def read_yaml(path: Path) -> Any:
    """Read a YAML file of the pack. For a user's file, see `settings` and `rules`, which say what is wrong in it."""
    return yaml.load(path.read_text(encoding="utf-8"), yaml.CSafeLoader)
