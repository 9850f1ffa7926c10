"""A row is the same however a record was read, and whatever stands in its fields."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rows import row

from keywatch.hunting.columns import Columns

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


@settings(max_examples=300, deadline=None)
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
