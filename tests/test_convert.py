"""The program, as a person runs it: what it writes, and what it says of what is wrong."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from sigma.pipelines.keywatch._pack import PACK, guides

from events import DENIED
from keywatch.conversion.manifest import alone_in, keep
from keywatch.conversion.targets import TARGETS
from packs import counting_names, keywatch, one_rule, written

BASE_ID = "00000000-0000-4000-8000-00000000000{}"
BASE = PACK / "rules/cloud/aws/cloudtrail/aws_cloudtrail_denied_enumeration_long_term_key.yml"


def rule(tmp_path: Path, detection: str, name: str = "mine.yml", **more: str) -> Path:
    head = {"title": "Mine", "id": "5f3a6b1e-9f0a-4e1a-8d53-6f3a1f0a7c11", "level": "low"} | more
    lines = [f"{key}: {value}" for key, value in head.items()]
    text = "\n".join([*lines, "logsource: {product: aws, service: cloudtrail}", textwrap.dedent(detection)])
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def test_convert_writes_and_says_how_to_import(tmp_path: Path) -> None:
    result = keywatch("convert", "splunk", "--out", tmp_path)
    assert result.exit_code == 0, result.output
    assert str(tmp_path / "savedsearches.conf") in result.output
    assert f"{len(guides())} detections for splunk" in result.output
    assert "To import: " in result.output


@pytest.mark.parametrize(
    ("setting", "line", "says"),
    [
        ("splnk:\n    index: x", 1, "there is no setting 'splnk'; choose from: schedule, rules, splunk, elasticsearch"),
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
    ],
)
def test_settings_that_make_no_sense(setting: str, line: int, says: str, tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text(f"{setting}\n")
    result = keywatch("convert", "splunk", "--out", tmp_path / "out", "--settings", path)
    assert result.exit_code == 2
    assert f"{path}:{line}: " in result.output
    assert says in result.output
    assert len(result.output.splitlines()) == 1
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
    assert text.count('search = index="aws_trail"') == len(guides()) - 1
    assert "cron_schedule = 0 */1 * * *" in text
    assert "dispatch.earliest_time = -210m@m" in text  # 2 h + 1 h + 30 m


def test_a_rule_that_is_turned_off_is_not_converted_and_so_no_problem(tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    off = [name for name in guides() if name.startswith("correlation_")]
    path.write_text("\n".join(["rules:", *(f"    {name}: {{enabled: false}}" for name in off)]))
    result = keywatch("convert", "elasticsearch", "--format", "lucene", "--out", tmp_path, "--settings", path)
    assert result.exit_code == 0, result.output
    assert f"{len(guides()) - len(off)} detections for elasticsearch" in result.output


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(
    ("detection", "line", "says"),
    [
        ("detection:\n  a:\n    eventNam: x\n  condition: a", 7, "field 'eventNam' is not known to pipeline"),
        ("detection:\n  a:\n    - whoami\n  condition: a", 1, "a keyword without a field"),
        ("detection:\n  a:\n    eventName|regex: x\n  condition: a", 1, "Unknown modifier"),
        ("detection:\n  a:\n    eventName: x\n  condition: b", 8, "'b' not defined"),
        ("detection:\n  a:\n    eventName: x\n  condition: a and", 1, ""),
        ('detection:\n  a:\n    userAgent: "x\\n| delete"\n  condition: a', 7, "has a control character"),
        ('detection:\n  a:\n    userAgent: "x\\0"\n  condition: a', 7, "has a control character"),
        ("detection: 7", 1, ""),
    ],
)
def test_rules_that_can_not_be_converted(target: str, detection: str, line: int, says: str, tmp_path: Path) -> None:
    path = rule(tmp_path, detection)
    result = keywatch("convert", target, "--rules", path, "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert f"{path}:{line}: " in result.output
    assert says in result.output
    assert "Traceback" not in result.output


def test_a_broken_rule_does_not_stop_the_others(tmp_path: Path) -> None:
    rule(tmp_path, "detection:\n  a:\n    nosuch: x\n  condition: a", "a.yml")
    rule(
        tmp_path,
        "detection:\n  a:\n    eventName: x\n  condition: a",
        "b.yml",
        title="Good",
        id="6f3a6b1e-9f0a-4e1a-8d53-6f3a1f0a7c11",
    )
    (tmp_path / "c.yml").write_text("- 7\n")
    (tmp_path / "d.yml").write_text("a: [\n")
    (tmp_path / "e.yml").write_bytes(b"\xff\xfe")
    result = keywatch("convert", "splunk", "--format", "spl", "--rules", tmp_path, "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert [path.name for path in (tmp_path / "out").glob("[!.]*")] == ["b.spl"]
    assert "4 problems" in result.output


def test_a_correlation_of_a_rule_that_fails_is_named_too(tmp_path: Path) -> None:
    base, correlation = counting_names(["userIdentity.arn"], "5m")
    good = one_rule({"eventName": "x"}, title="Good", name="good")
    path = written([one_rule({"nosuch": "x"}), correlation, good], tmp_path)
    result = keywatch("convert", "splunk", "--format", "spl", "--rules", path, "--out", tmp_path / "out")
    assert result.exit_code == 2
    first, second, last = result.stderr.splitlines()[-3:]
    assert first.startswith(f"{path}:")
    assert "rule 'One': field 'nosuch' is not known" in first
    assert second.startswith(f"{path}:")
    assert "rule 'Two': it needs rule 'one', which can't be converted" in second
    assert last.startswith("2 problems: ")
    assert "1 detections for splunk" in result.stderr
    path = written([base, correlation], tmp_path)
    assert keywatch("convert", "splunk", "--rules", path, "--out", tmp_path / "out").exit_code == 0


def test_a_rule_that_can_not_be_written_does_not_stop_the_others(tmp_path: Path) -> None:
    odd, good = (
        one_rule({"eventName": name}, title=title, name=name) for name, title in (("x", "a\x1bb"), ("y", "Good"))
    )
    path = written([odd, good], tmp_path)
    result = keywatch("convert", "splunk", "--rules", path, "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert result.stderr.splitlines()[1] == "1 detections for splunk, format savedsearches."
    assert rf"{path}:1: rule 'a\x1bb': name: a control character" in result.stderr
    assert "[Keywatch - Good]" in (tmp_path / "out" / "savedsearches.conf").read_text()
    path = written([odd], tmp_path)
    result = keywatch("convert", "splunk", "--rules", path, "--out", tmp_path / "none")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "0 detections for splunk" in result.stderr
    assert "To import" not in result.stderr
    assert not (tmp_path / "none").exists()


def test_rules_of_one_file_name_in_two_folders_are_both_written(tmp_path: Path) -> None:
    detection = "detection:\n  a:\n    eventName: {}\n  condition: a"
    folders = [tmp_path / name for name in ("a", "b", "c")]
    for number, folder in enumerate(folders):
        folder.mkdir()
        rule(folder, detection.format(f"Call{number}"), title=f"Rule {number}", id=BASE_ID.format(number))
    options = [option for folder in folders for option in ("--rules", folder)]
    result = keywatch("convert", "splunk", "--format", "spl", *options, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    texts = {path.name: path.read_text() for path in (tmp_path / "out").glob("[!.]*")}
    assert set(texts) == {"mine.spl", "mine_2.spl", "mine_3.spl"}
    assert all(f"Call{number}" in text for number, text in enumerate(texts[name] for name in sorted(texts)))
    assert result.stdout.splitlines() == [str(tmp_path / "out" / name) for name in sorted(texts)]


def test_a_correlation_whose_rule_is_missing(tmp_path: Path) -> None:
    [correlation] = PACK.rglob(f"{DENIED}.yml")
    result = keywatch("convert", "splunk", "--rules", correlation, "--out", tmp_path)
    assert result.exit_code == 2
    line = 1 + correlation.read_text().splitlines().index("        - aws_cloudtrail_denied_enumeration_long_term_key")
    assert f"{correlation}:{line}: Rule 'aws_cloudtrail_denied_enumeration_long_term_key' not found" in result.output


@pytest.mark.parametrize("kind", ["event_count", "value_sum"])
def test_correlations_without_a_window(kind: str, tmp_path: Path) -> None:
    text = next(PACK.rglob(f"{DENIED}.yml")).read_text().replace("value_count", kind)
    path = tmp_path / "c.yml"
    path.write_text(text)
    result = keywatch("convert", "splunk", "--rules", path, "--rules", BASE, "--out", tmp_path)
    assert result.exit_code == 2
    assert "only value_count does" in result.output


def test_stock_method_is_there_and_warns(tmp_path: Path) -> None:
    result = keywatch("convert", "splunk", "--format", "spl", "--method", "stats", "--out", tmp_path)
    assert result.exit_code == 0, result.output
    assert "| bin _time span=30m" in (tmp_path / f"{DENIED}.spl").read_text()
    assert "warning: " in result.output
    assert "fixed time buckets" in result.output


def test_filter_is_in_every_query(tmp_path: Path) -> None:
    example = PACK / "filters" / "known_automation.yaml"
    for target, output_format, excluded in (
        ("splunk", "spl", 'userIdentity.arn="arn:aws:iam::111122223333:user/inventory"'),
        ("elasticsearch", "esql", 'CIDR_MATCH(TO_IP(source.address), "192.0.2.0/24")'),
        ("duckdb", "sql", "\"sourceIPAddress\" ILIKE '192.0.2.%'"),
    ):
        out = tmp_path / target
        result = keywatch("convert", target, "--format", output_format, "--filters", example, "--out", out)
        assert result.exit_code == 0, result.output
        assert all(excluded in path.read_text() for path in out.glob("[!.]*"))


def test_filter_that_fits_nothing_is_named(tmp_path: Path) -> None:
    path = tmp_path / "filter.yml"
    path.write_text((PACK / "filters" / "known_automation.yaml").read_text().replace("rules: any", "rules: [nosuch]"))
    result = keywatch("convert", "splunk", "--filters", path, "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert "filter 'Known Automation' fits no rule" in result.output


def test_unknown_format_and_method() -> None:
    assert "choose from: savedsearches, spl, app" in keywatch("convert", "splunk", "--format", "x").output
    assert "choose from: sliding, stats" in keywatch("convert", "splunk", "--method", "x").output


def test_targets_lists_the_default_first() -> None:
    lines = keywatch("targets").output.splitlines()
    assert lines[0].startswith("splunk")
    assert lines[0].endswith("(default)")


@pytest.mark.parametrize("out", [None, "out"])
def test_what_is_no_longer_written_is_removed_and_nothing_else(
    out: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = Path(out or "build/athena")
    options = ["--out", out] if out else []
    assert keywatch("convert", "athena", *options).exit_code == 0
    assert keywatch("convert", "athena", "--format", "sql-lake", *options).exit_code == 0
    written = {path.name: path.read_text() for path in folder.glob("[!.]*")}
    (folder / "mine.sql").write_text("")
    (folder / "keywatch").mkdir()
    changed, gone = list(guides())[:2]
    (folder / f"{changed}.sql").write_text("changed by hand")
    off = tmp_path / "settings.yaml"
    off.write_text("\n".join(["rules:", *(f"    {name}: {{enabled: false}}" for name in (changed, gone))]))
    assert keywatch("convert", "athena", "--settings", off, *options).exit_code == 0
    left = {path.name: path.read_text() for path in folder.glob("[!.]*") if path.is_file()}
    assert left.pop("mine.sql") == ""
    assert left.pop(f"{changed}.sql") == "changed by hand"
    del written[f"{changed}.sql"], written[f"{gone}.sql"]
    assert left == written
    assert (folder / "keywatch").is_dir()


def test_a_run_in_which_nothing_converts_leaves_nothing(tmp_path: Path) -> None:
    good = rule(tmp_path, "detection:\n  a:\n    eventName: x\n  condition: a")
    out = tmp_path / "out"
    assert keywatch("convert", "splunk", "--format", "app", "--rules", good, "--out", out).exit_code == 0
    (out / "keywatch" / "local").mkdir()
    (out / "keywatch" / "local" / "macros.conf").write_text("mine")
    rule(tmp_path, "detection:\n  a:\n    nosuch: x\n  condition: a")
    assert keywatch("convert", "splunk", "--format", "app", "--rules", good, "--out", out).exit_code == 2
    files = [path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()]
    assert sorted(files) == [".keywatch.json", "keywatch/local/macros.conf"]


def test_two_conversions_into_one_folder_do_not_mix(tmp_path: Path) -> None:
    with alone_in(tmp_path):
        result = keywatch("convert", "splunk", "--out", tmp_path)
    assert result.exit_code == 2
    assert result.output == f"{tmp_path}: another conversion writes into this folder; try again\n"


def test_an_app_has_no_more_of_what_an_older_one_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = Path("build/splunk")
    old, mine = folder / "keywatch/old/old.conf", folder / "keywatch/local/mine.conf"
    for path in (old, mine):
        path.parent.mkdir(parents=True)
        path.write_text("old")
    keep(folder, "splunk app", {old.relative_to(folder).as_posix(): b"old"})
    names = keywatch("convert", "splunk", "--format", "app").stdout.splitlines()
    assert not old.parent.exists()
    there = {str(path) for path in Path().rglob("*") if path.is_file()}
    assert there == {*names, str(mine), str(folder / ".keywatch.json")}


@pytest.mark.parametrize("target", TARGETS)
def test_a_folder_that_a_person_names_keeps_what_is_in_it(target: str, tmp_path: Path) -> None:
    for output_format in TARGETS[target].formats:
        folder = tmp_path / output_format
        assert keywatch("convert", target, "--format", output_format, "--out", folder).stdout
        for path in list(folder.rglob("[!.]*")):
            path.with_name(f"mine{''.join(path.suffixes)}").write_text("mine")
        assert keywatch("convert", target, "--format", output_format, "--out", folder).stdout
        mine = [path for path in folder.rglob("mine*") if path.is_file()]
        assert mine
        assert {path.read_text() for path in mine} == {"mine"}


def test_stock_sigma_cli_discovers_and_converts(tmp_path: Path) -> None:
    sigma = Path(sys.executable).with_name("sigma")
    for target, pipeline, says in (
        ("keywatch_splunk", "cloudtrail_splunk", "time_window=3601s"),
        ("keywatch_elasticsearch", "cloudtrail_elastic", "MV_EXPAND step"),
        ("keywatch_athena", "cloudtrail_athena", "sum(step) OVER"),
        ("keywatch_duckdb", "cloudtrail_raw", "RANGE BETWEEN INTERVAL 1800 SECONDS PRECEDING"),
    ):
        command = [str(sigma), "convert", "-t", target, "-p", pipeline, str(PACK)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert says in done.stdout
    conf = [str(sigma), "convert", "-t", "keywatch_splunk", "-p", "cloudtrail_splunk", "-f", "savedsearches", str(PACK)]
    assert keywatch("convert", "splunk", "--out", tmp_path).exit_code == 0
    done = subprocess.run(conf, capture_output=True, text=True, check=True)
    ours = (tmp_path / "savedsearches.conf").read_text()
    assert sorted(done.stdout.strip().split("\n\n")) == sorted(ours.strip().split("\n\n"))


def test_nothing_but_our_packages_lies_in_the_namespaces() -> None:
    root = Path(__file__).parents[1]
    for folder in ("backend/sigma", "backend/sigma/backends", "pipelines/sigma", "pipelines/sigma/pipelines"):
        assert [path.name for path in (root / folder).iterdir() if path.suffix == ".py"] == []
    assert not list((root / "sigma").rglob("*.py"))
