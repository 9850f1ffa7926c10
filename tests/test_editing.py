"""A setting is put into a settings file, and every other byte of the file stays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from test_backtest import attacks, run

from events import DENIED
from keywatch.conversion.editing import EditingError, with_setting
from keywatch.hunting.backtest import write_proposals
from packs import DENIALS, keywatch

KEYS = ["rules", "one", "threshold"]


#: What a settings file says before and after.
_EDITS = [
    ("", "rules:\n    one:\n        threshold: 4  # why\n"),
    ("# ours", "# ours\nrules:\n    one:\n        threshold: 4  # why\n"),
    ("rules: {}  # none yet\n", "rules:  # none yet\n    one:\n        threshold: 4  # why\n"),
    ("rules:\nsplunk: {index: a}\n", "rules:\n    one:\n        threshold: 4  # why\nsplunk: {index: a}\n"),
    ("splunk: {index: a}", "splunk: {index: a}\nrules:\n    one:\n        threshold: 4  # why\n"),
    ("splunk:\n  index: a\n", "splunk:\n  index: a\nrules:\n    one:\n        threshold: 4  # why\n"),
    ("rules:\n  one:\n    threshold: 12   # a guess\n", "rules:\n  one:\n    threshold: 4  # why\n"),
    ("rules:\r\n  one:\r\n    threshold: 12\r\n", "rules:\r\n  one:\r\n    threshold: 4  # why\r\n"),
    (
        "rules:\r\n  two: {enabled: true}\r\n",
        "rules:\r\n  two: {enabled: true}\r\n  one:\r\n    threshold: 4  # why\r\n",
    ),
    ("rules:\n  one: { threshold: 12, timespan: 1h }  # x\n", "rules:\n  one: { threshold: 4, timespan: 1h }  # why\n"),
    ("rules:\n  one: {threshold: 12}  # x\n", "rules:\n  one: {threshold: 4}  # why\n"),
    ("rules:\n  one: {timespan: 1h}\n", "rules:\n  one: {timespan: 1h, threshold: 4}  # why\n"),
    ("rules:\n  one: {timespan: 1h,}\n", "rules:\n  one: {timespan: 1h, threshold: 4}  # why\n"),
    ("rules: {one: {threshold: 9}, two: {threshold: 9}}\n", "rules: {one: {threshold: 4}, two: {threshold: 9}}\n"),
    ("rules: {two: {threshold: 9}}", "rules: {two: {threshold: 9}, one: {threshold: 4}}"),
    ("rules: {one: {timespan: 1h}}\n", "rules: {one: {timespan: 1h, threshold: 4}}\n"),
    ("{splunk: {index: a}}\n", "{splunk: {index: a}, rules: {one: {threshold: 4}}}\n"),
    (
        "rules:\n  one:\n    timespan: 1h  # x\n  # two\n",
        "rules:\n  one:\n    timespan: 1h  # x\n    threshold: 4  # why\n  # two\n",
    ),
    ("rules:\n    'one':\n        \"threshold\": 0x9\n", "rules:\n    'one':\n        \"threshold\": 4  # why\n"),
    ("\ufeffrules:\n  one:\n    threshold: 3\n", "\ufeffrules:\n  one:\n    threshold: 4  # why\n"),
]


@pytest.mark.parametrize(("before", "after"), _EDITS)
def test_only_the_setting_changes(before: str, after: str) -> None:
    assert with_setting(before, KEYS, 4, "why") == after
    assert with_setting(after, KEYS, 4, "why") == after


@pytest.mark.parametrize(
    "text",
    [
        "rules:\n  two: &t {threshold: 9}\n  one: *t\n",
        "rules:\n  two: {threshold: &t 9}\n  one: {threshold: *t}\n",
    ],
)
def test_what_would_change_more_is_refused(text: str) -> None:
    with pytest.raises(EditingError, match="rules: one: threshold: 4"):
        with_setting(text, KEYS, 4)


_VALUES = st.dictionaries(st.sampled_from(["one", "two"]), st.dictionaries(
    st.sampled_from(["threshold", "timespan", "enabled"]), st.sampled_from([3, "1h", True])))  # fmt: skip


@given(rules=_VALUES, flow=st.sampled_from([None, True, False]), line_end=st.sampled_from(["\n", "\r\n"]),
       indent=st.integers(2, 6), more=st.booleans())  # fmt: skip
def test_a_file_says_what_it_said_and_the_setting(
    rules: Any, flow: bool | None, line_end: str, indent: int, more: bool
) -> None:
    content = {"rules": rules} | ({"splunk": {"index": "x"}} if more else {})
    text = yaml.safe_dump(content, default_flow_style=flow, indent=indent).replace("\n", line_end)
    edited = with_setting(text, KEYS, 4, "why")
    content["rules"].setdefault("one", {})["threshold"] = 4
    assert yaml.safe_load(edited) == content
    assert edited.count("\r\n") == (edited.count("\n") if line_end == "\r\n" else 0)


def test_a_backtest_is_about_the_windows_of_the_file_it_writes(tmp_path: Path) -> None:
    """MALLORY's eight calls lie in eight minutes: in a window of two there are three Regions at most."""
    path, other = tmp_path / "mine.yaml", tmp_path / "other.yaml"
    run(tmp_path, attacks())
    events = tmp_path / "events.json"
    path.write_bytes(f"rules:\r\n  {DENIED}: {{threshold: 9, timespan: 2m}}\r\n".encode())
    other.write_text(f"rules: {{{DENIED}: {{timespan: 6h, threshold: 3}}}}\nsplunk: {{index: a}}\n")
    for options in ([], ["--settings", str(other)]):
        done = keywatch("backtest", *DENIALS, events, "--max-per-week", "1", "--write", path, *options, COLUMNS="200")
        assert done.exit_code == 0, done.output
        assert f"{DENIED}: threshold 4 (0 alerts from 2026-11-20 to 2026-12-10, 22 at 3)" in done.stderr
        assert f"  {DENIED}: {{threshold: 4, timespan: 2m}}".encode() in path.read_bytes()
        assert path.read_bytes().count(b"\n") == path.read_bytes().count(b"\r\n")
    new = tmp_path / "new.yaml"
    done = keywatch("backtest", *DENIALS, events, "--max-per-week", "1", "--write", new, "--settings", other)
    assert yaml.safe_load(new.read_text())["rules"][DENIED] == {"timespan": "6h", "threshold": 4}


def test_a_mistake_is_told_of_in_the_file_that_has_it(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text("rules: {}\n")
    bad.write_text("# mine\nrules:\n    nosuch: {enabled: true}\n")
    for first, second in ((good, bad), (bad, good)):
        done = keywatch("backtest", "x", "--max-per-week", "1", "--settings", first, "--write", second)
        assert done.stderr.splitlines()[-1].startswith(f"{bad}:3: there is no rule 'nosuch'")


def test_a_file_that_can_not_be_edited_is_left(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    text = f"rules:\n  correlation_aws_bedrock_many_models: &t {{threshold: 9}}\n  {DENIED}: *t\n"
    path.write_text(text)
    done = keywatch("backtest", "x", "--max-per-week", "1", "--write", path)
    assert done.exit_code == 2
    result = run(tmp_path, attacks())
    with pytest.raises(Exception, match="can't be edited without changing more of it; put in yourself: rules: "):
        write_proposals(result, 1, path)
    assert path.read_text() == text
