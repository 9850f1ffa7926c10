"""DuckDB, through the hunt that users run."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from sigma.backends.keywatch._correlation import id_of

from engines import Engine
from keywatch.conversion.convert import Conversion
from keywatch.hunting.coverage import Coverage
from keywatch.hunting.hunt import hunt
from keywatch.hunting.selection import Selection


class DuckDB(Engine):
    """`keywatch hunt` over a file of records."""

    name = "DuckDB, through hunt"
    target = "duckdb"
    by_window = True
    region = "values"

    def __init__(self, folder: Path) -> None:
        """Take a folder to write records to."""
        self.path = folder / "events.json"

    def alerts(self, conversion: Conversion, events: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
        """Hunt through the events; return the alerts as a hunt's user gets them, with the names of the other rows."""
        self.path.write_text(json.dumps({"Records": events}), encoding="utf-8")
        coverage = Coverage()
        alerts = hunt(conversion, [str(self.path)], Selection(), coverage)
        # CloudTrail writes a Region and a source into every record; some of these have none.
        known = re.compile("a record without (awsRegion|eventSource): ")
        assert all(known.search(str(problem)) for problem in coverage.problems), [*map(str, coverage.problems)]
        names = {id_of(rule): name for name, rule in conversion.rules.items()}
        rows: dict[str, list[dict[str, Any]]] = {name: [] for name in conversion.queries}
        for alert in alerts:
            row = vars(alert) | alert.group | alert.evidence
            rows[names[alert.rule_id]].append(row | {"value_count": alert.count, "event_count": alert.events})
        return rows
