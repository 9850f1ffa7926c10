"""Athena's SQL is SQL to Trino's own parser."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from engines import athena
from events import DENIED, MALLORY, MINUTE, REGIONS, denied
from keywatch.convert import Conversion, convert
from keywatch.rules import load_pack
from keywatch.settings import load_settings
from keywatch.targets import TARGETS


def converted() -> Conversion:
    values = load_settings(None)
    return convert(load_pack([], [], values), TARGETS["athena"], values)


def test_trino_parses_it(parse: Callable[..., list[str]], tmp_path: Path) -> None:
    queries = [query.rstrip().removesuffix(";") for [query] in converted().queries.values()]
    *good, bad = parse(athena.PARSER, [*queries, "SELECT count(*) FRO x"], tmp_path)
    assert good == [""] * len(queries)
    assert "mismatched input 'x'" in bad


def test_an_alert_row_says_what_happened() -> None:
    events = [denied(MINUTE * i, i % 6, userAgent=f"agent/{i % 2}") for i in range(12)]
    [row] = athena.Athena().rows(converted().queries[DENIED][0], events)
    assert row["userIdentity.arn"] == MALLORY
    assert (row["value_count"], row["event_count"]) == (6, 12)
    assert row["awsRegion"] == sorted(REGIONS[:6])
    assert row["userAgent"] == ["agent/0", "agent/1"]
    assert (row["last_seen"] - row["first_seen"]).total_seconds() == 11 * MINUTE


def test_events_outside_the_windows_are_no_evidence() -> None:
    events = [denied(0, 0), *(denied(3600 + i, i) for i in range(5)), denied(3 * 3600, 1)]
    [row] = athena.Athena().rows(converted().queries[DENIED][0], events)
    assert row["event_count"] == 5


def test_days_are_parameters() -> None:
    for [query] in converted().queries.values():
        assert query.count('"timestamp" BETWEEN ? AND ?') == query.count("?") / 2 == 1
