"""DuckDB, through the hunt that users run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sigma.backends.keywatch._correlation import id_of

from engines import Engine
from keywatch.conversion.convert import Conversion
from keywatch.hunting.hunt import hunt
from keywatch.hunting.records import Coverage, Selection


class DuckDB(Engine):
    """`keywatch hunt` over a file of records."""

    name = "DuckDB, through hunt"
    target = "duckdb"

    def __init__(self, folder: Path) -> None:
        """Take a folder to write records to."""
        self.path = folder / "events.json"

    def found(self, conversion: Conversion, events: list[dict[str, Any]]) -> dict[str, list[str]]:
        """Hunt through the events."""
        self.path.write_text(json.dumps({"Records": events}), encoding="utf-8")
        coverage = Coverage()
        alerts = hunt(conversion, [str(self.path)], Selection(), coverage)
        assert not coverage.problems
        names = {id_of(rule): name for name, rule in conversion.rules.items()}
        found: dict[str, list[str]] = {name: [] for name in conversion.queries}
        for alert in alerts:
            found[names[alert.rule_id]] += map(str, alert.group.values())
        return found
