"""Athena's SQL and CloudTrail Lake's are SQL to Trino's own parser, and say what happened."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from engines import athena
from events import denied

Engine = type[athena.Athena]
BOTH = pytest.mark.parametrize("engine", [athena.Athena, athena.Lake])


@BOTH
def test_trino_parses_it(engine: Engine, parse: Callable[..., list[str]], tmp_path: Path) -> None:
    queries = [engine().over_all_days(query)[0] for [query] in engine().pack.queries.values()]
    statements = [query.rstrip().removesuffix(";") for query in queries]
    *good, bad = parse(athena.PARSER, [*statements, "SELECT count(*) FRO x"], tmp_path)
    assert good == [""] * len(queries)
    assert "mismatched input 'x'" in bad


def test_days_are_parameters() -> None:
    for [query] in athena.Athena().pack.queries.values():
        assert query.count('"timestamp" BETWEEN ? AND ?') == query.count("?") / 2 == 1


def test_what_is_to_be_filled_in_stands_once() -> None:
    for [query] in athena.Lake().pack.queries.values():
        assert [query.count(name) for name in ("$EDS_ID", "$FROM", "$TO", "$")] == [1, 1, 1, 3]


def test_fields_that_only_lake_has_or_has_otherwise(tmp_path: Path) -> None:
    text = """title: Writes
logsource: {product: aws, service: cloudtrail}
fields: [userIdentity.sessionContext.attributes.creationDate, readOnly]
detection:
    selection: {managementEvent: true, readOnly: false}
    condition: selection
"""
    (tmp_path / "writes.yml").write_text(text, encoding="utf-8")
    session = {"sessionContext": {"attributes": {"creationDate": "2026-11-20T09:00:00Z"}}}
    events = [denied(0, 0, readOnly=read, managementEvent=True, identity=session) for read in (True, False)]
    [[query]] = athena.Lake().converted(rules=[tmp_path]).queries.values()
    [row] = athena.Lake().rows(query, events)
    assert row["eventID"] == events[1]["eventID"]
    assert row["userIdentity.sessionContext.attributes.creationDate"] == "2026-11-20T09:00:00Z"
    assert row["readOnly"] == "false"
