"""The settings file: what it changes, and what is said of what makes no sense."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from sigma.pipelines.keywatch._pack import PACK, guides

from events import DENIED
from hostile import ALIASES
from packs import keywatch

BASE_ID = "00000000-0000-4000-8000-00000000000{}"
BASE = PACK / "rules/cloud/aws/cloudtrail/aws_cloudtrail_denied_enumeration_long_term_key.yml"


@pytest.mark.parametrize(
    ("setting", "line", "says"),
    [
        ("splnk:\n    index: x", 1, "there is no setting 'splnk'; choose from: schedule, rules, placeholders, splunk"),
        ("splunk:\n    indx: x", 2, "there is no setting 'indx'; choose from: index, sourcetype"),
        ("splunk:\n    index: 'a\" | delete'", 2, "is not a name or pattern of letters"),
        ("schedule:\n    intervall: 7m", 2, "there is no setting 'intervall'; choose from: interval, ingest_delay"),
        ("schedule:\n    interval: 7m", 2, "'7m' is not one of 5m, 10m, 15m"),
        ("schedule:\n    ingest_delay: soon", 2, "'soon' is not a timespan, such as 15m or 1h"),
        (f"rules:\n    {DENIED}:\n        threshold: 1", 3, "'1' is not a number of distinct values, 2 or more"),
        (f"rules:\n    {DENIED}:\n        treshold: 3", 3, "there is no setting 'treshold'; choose from: enabled"),
        ("rules:\n    correlation_of_mine:\n        threshold: 3", 2, "there is no rule 'correlation_of_mine'"),
        (f"rules:\n    {BASE.stem}:\n        threshold: 3", 3, "counts nothing and has no threshold"),
        (f"rules:\n    {BASE.stem}:\n        timespan: 30m", 3, "counts nothing and has no timespan"),
        (f"rules:\n    {BASE.stem}:\n        enabled: 1", 3, "'1' is not true or false"),
        (f"rules:\n    {DENIED}:\n        timespan: 30", 3, "'30' is not a timespan, such as 15m or 1h"),
        ("rules: [1]", 1, "is not"),
        ("splunk: {index", 2, "not YAML"),
        (ALIASES, 6,
         "more than 100000 values, its aliases counted"),
        ("a: &a [*a]", 1, "more than 100000 values"),
        ("a: " + "[" * 100_000, 1, "nested deeper than 50"),
        ("\n".join(" " * depth + "a:" for depth in range(3000)), 50, "nested deeper than 50"),
        ("placeholders: {a: [" + "not " * 5000 + "]}\nx: 1", 2, "there is no setting 'x'"),
    ],
)  # fmt: skip
def test_settings_that_make_no_sense(setting: str, line: int, says: str, tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text(f"{setting}\n")
    began = time.process_time()
    result = keywatch("convert", "splunk", "--out", tmp_path / "out", "--settings", path)
    assert result.exit_code == 2
    assert f"{path}:{line}: " in result.output
    assert says in result.output
    assert len(result.output.splitlines()) == 1
    assert time.process_time() - began < 2
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "setting",
    [
        "",
        f"rules: {{{DENIED}: {{threshold: 2, timespan: 1s}}}}",
        f"rules: {{{DENIED}: {{timespan: 24h}}, {BASE.stem}: {{enabled: true}}}}",
        "schedule: {interval: 5m, ingest_delay: 99999s}",
        "schedule: {interval: 24h}",
        "splunk: {index: 'a.b_c-*:d,e', sourcetype: x}",
    ],
)
def test_settings_at_their_limits_are_taken(setting: str, tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text(setting)
    result = keywatch("convert", "duckdb", "--out", tmp_path / "out", "--settings", path)
    assert result.exit_code == 0, result.output


def test_settings_change_what_is_written(tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text(
        f"""
splunk: {{index: aws_trail}}
schedule: {{interval: 1h, ingest_delay: 30m}}
rules:
    {DENIED}: {{threshold: 8, timespan: 2h}}
    aws_cloudtrail_bedrock_model_access_temporary_credentials: {{enabled: false}}
"""
    )
    result = keywatch("convert", "splunk", "--out", tmp_path, "--settings", path)
    assert result.exit_code == 0, result.output
    text = (tmp_path / "savedsearches.conf").read_text()
    assert f"{len(guides()) - 1} detections for splunk" in result.output
    assert "[Keywatch - AWS Bedrock Model Access API Called with Long-Term Key]" in text
    assert "[Keywatch - AWS Bedrock Model Access API Called with Temporary Credentials]" not in text
    assert "where value_count >= 8" in text
    assert "time_window=14401s" in text
    of_several_rules = text.count('[ search index="aws_trail"') // 2
    assert text.count('search = index="aws_trail"') + of_several_rules == len(guides()) - 1
    assert "cron_schedule = 0 */1 * * *" in text
    assert "dispatch.earliest_time = -210m@m" in text  # 2 h + 1 h + 30 m


def test_a_rule_that_is_turned_off_is_not_converted_and_so_no_problem(tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    off = [name for name in guides() if name.startswith("correlation_")]
    path.write_text("\n".join(["rules:", *(f"    {name}: {{enabled: false}}" for name in off)]))
    result = keywatch("convert", "elasticsearch", "--format", "lucene", "--out", tmp_path, "--settings", path)
    assert result.exit_code == 0, result.output
    assert f"{len(guides()) - len(off)} detections for elasticsearch" in result.output


@pytest.mark.parametrize(
    ("text", "says"),
    [("a: 2026-99-99", "month must be in 1..12"), (f"a: {'9' * 5000}", "Exceeds the limit"), ("a: \x01", "not YAML: "),
     ("&a a: *b", "not YAML"), ("<<: 1", "not YAML")],
)  # fmt: skip
def test_settings_that_can_not_be_read(text: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text(text)
    [line] = keywatch("convert", "splunk", "--settings", path).output.splitlines()
    assert line.startswith(f"{path}:")
    assert says in line
