"""What the rules find in incidents, and in everyday work: files that lie outside of the project.

KEYWATCH_CASES names their folder, with `detect/` in it: `a*` are attacks, `b*` everyday work. Scenarios of the same
kinds are in events.py, and run everywhere.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from sigma.pipelines.keywatch._pack import PACK

from engines import Engine
from events import denied
from keywatch.hunting.hunt import Alert
from packs import hunted

PAGES = PACK.parent / "docs" / "detections"
#: Attacks that raise no alert, and where a page says that they can't be seen.
NOT_SEEN = {
    "a14": ("denied-enumeration-multi-region.md", "allowed reads of quotas"),
    "a17": ("bedrock-model-access.md", "Keys of `aws login`"),
    "a21": ("bedrock-invocation-multi-region.md", "Two Regions with signed requests"),
}
#: Everyday work that may raise more than a low alert, until its owner filters it.
FILTERED = {"b02", "b05"}


@pytest.fixture(scope="session")
def cases() -> Path:
    """Return the folder of incidents that KEYWATCH_CASES names."""
    folder = os.environ.get("KEYWATCH_CASES")
    if not folder:
        pytest.skip("KEYWATCH_CASES names no folder of incidents")
    return Path(folder) / "detect"


def alerts(path: Path, filters: tuple[str, ...] = ()) -> list[Alert]:
    return hunted(path, filters=tuple(PACK / "filters" / name for name in filters))[0]


def levels_of(paths: list[Path], engine: Engine) -> dict[str, set[str]]:
    """Return of which levels the alerts are in each file, by the number of its case, from one hunt through all."""
    assert paths
    histories = [json.loads(path.read_text(encoding="utf-8"))["Records"] for path in paths]
    found = engine.alerts_each(engine.pack, histories)
    return {
        path.name[:3]: {row["level"] for rows in of_rules.values() for row in rows}
        for path, of_rules in zip(paths, found, strict=True)
    }


def test_attacks_raise_an_alert_or_stand_in_a_page(cases: Path, engines: Callable[[str], Engine]) -> None:
    levels = levels_of(sorted(cases.glob("a*.json")), engines("duckdb"))
    quiet = {case for case in levels if not levels[case]}
    assert quiet <= set(NOT_SEEN)
    for name in quiet:
        page, words = NOT_SEEN[name]
        section = (PAGES / page).read_text(encoding="utf-8").split("**What it cannot see.**")[1].split("\n**")[0]
        assert words in " ".join(section.split())


def test_everyday_work_stays_quiet(cases: Path, engines: Callable[[str], Engine]) -> None:
    levels = levels_of(sorted(cases.glob("b*.json")), engines("duckdb"))
    loud = {case for case in levels if levels[case] - {"low", "informational"}}
    assert loud <= FILTERED
    for path in cases.glob("b05*.json"):
        assert alerts(path)
        assert not alerts(path, ("closed_regions.yaml",))


@pytest.mark.parametrize(
    ("denial", "levels"), [("a service control policy", []), ("an identity-based policy", ["low", "medium"])]
)
def test_the_filter_for_closed_regions_leaves_other_denials(denial: str, levels: list[str], tmp_path: Path) -> None:
    message = f"User is not authorized to perform: lambda:ListFunctions with an explicit deny in {denial}"
    events = [denied(60 * i, i, errorMessage=message) for i in range(9)]
    (tmp_path / "events.json").write_text(json.dumps({"Records": events}))
    assert {alert.level for alert in alerts(tmp_path)} == {"low", "medium"}
    assert sorted(alert.level for alert in alerts(tmp_path, ("closed_regions.yaml",))) == levels
