"""A row is the same however a record was read, and whatever stands in its fields."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rows import row

from keywatch.hunting.columns import Columns
from keywatch.hunting.coverage import Coverage
from keywatch.hunting.rows import Rows, table_of

KEYS = st.sampled_from(["eventName", "a", "user-agent", "count", "é"])
NAMES = st.builds(".".join, st.lists(KEYS, min_size=1, max_size=3))
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.text()
    | st.floats(allow_nan=False, allow_infinity=False)
)
VALUES = st.recursive(
    SCALARS, lambda inside: st.lists(inside, max_size=3) | st.dictionaries(KEYS, inside, max_size=4), max_leaves=12
)


@settings(max_examples=120, deadline=None)
@given(names=st.lists(NAMES, min_size=1, unique=True), records=st.lists(st.dictionaries(KEYS, VALUES), min_size=1))
def test_what_is_decoded_in_part_gives_the_same_row(names: list[str], records: list[dict[str, Any]]) -> None:
    columns = Columns(names)
    decoded = columns.decode(json.dumps(records, ensure_ascii=False).encode())
    assert [row(columns, record) for record in decoded] == [row(columns, record) for record in records]


def test_a_row() -> None:
    columns = Columns(["a.b", "eventName", "a", "a.b.c", "x.y", "missing", "missing.too"])
    record = {"eventName": "é", "a": {"b": {"c": 1, "d": "\u2028"}}, "x": None, "ignored": {"missing": 1}}
    wanted = {
        "eventName": "é",
        "a": '{"b":{"c":1,"d":"\u2028"}}',
        "a.b": '{"c":1,"d":"\u2028"}',
        "a.b.c": "1",
        "x.y": None,
        "missing": None,
        "missing.too": None,
    }
    for one in (record, *columns.decode(json.dumps([record]).encode())):
        assert dict(zip(columns.names, row(columns, one), strict=True)) == wanted


@pytest.mark.parametrize("wrong", [b"", b"{}", b"[1]", b"[{}", b"[{}]]", b'[{"a":01}]', b"[{\"ignored\":'1'}]"])
def test_what_is_no_array_of_objects(wrong: bytes) -> None:
    with pytest.raises(ValueError):
        Columns(["eventName", "a"]).decode(wrong)


TIMES = {
    "2026-11-20T10:00:00Z": datetime(2026, 11, 20, 10),
    "2026-11-20T10:00:00+05:30": datetime(2026, 11, 20, 4, 30),
    "2026-11-20 10:00:00.250": datetime(2026, 11, 20, 10, 0, 0, 250_000),
    1763632800: datetime(2025, 11, 20, 10),
    "1969-12-31T23:59:59Z": None,
    "9999-01-01T00:00:00Z": None,
    "yesterday": None,
    None: None,
}


@pytest.mark.parametrize("written", [*([one] for one in TIMES), list(TIMES)])
def test_times_of_a_table(written: list[Any]) -> None:
    """Those that can't be read are named and left out, whatever the others are."""
    columns, coverage = Columns(["eventTime", "eventID"]), Coverage()
    records = [{"eventTime": one, "eventID": str(number)} for number, one in enumerate(written)]
    table = table_of([Rows(columns.values([record])) for record in records], columns, coverage)
    wanted = [(TIMES[one], str(number)) for number, one in enumerate(written) if TIMES[one]]
    assert list(zip(table["eventTime"].to_pylist(), table["eventID"].to_pylist(), strict=True)) == wanted
    assert len(coverage.problems) == len(written) - len(wanted)
