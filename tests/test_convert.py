"""The program, as a person runs it: what it writes, and what it says of what is wrong."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tarfile
import textwrap
import time
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from sigma.backends import keywatch as backends
from sigma.cli.convert import convert as stock_convert
from sigma.pipelines.keywatch._pack import PACK, guides

from events import DENIED
from hostile import ALIASES
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
    assert "1 detection for splunk" in result.stderr
    path = written([base, correlation], tmp_path)
    assert keywatch("convert", "splunk", "--rules", path, "--out", tmp_path / "out").exit_code == 0


_HEAD = "title: x\nname: n\nlogsource: {service: cloudtrail}\ndetection:\n  a: {eventName: x}\n"
_TEMPORAL = "---\ntitle: y\ncorrelation: {type: temporal, rules: [n], timespan: 5m, condition: %s}\n"


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("option", ["--rules", "--filters"])
@pytest.mark.parametrize(
    "text",
    [
        ALIASES,
        "a: &a [*a]",
        "a: " + "[" * 100_000,
        "\n".join(" " * depth + "a:" for depth in range(3000)),
        f"{_HEAD}  condition: {'not ' * 5000}a\n",
        f"{_HEAD}  condition: a\n" + _TEMPORAL % ("not " * 5000 + "n"),
        _HEAD.replace("{eventName: x}", f"{{eventName|re: '{'(' * 3000}{')' * 3000}'}}") + "  condition: a\n",
    ],
)
def test_a_bomb_is_a_line(target: str, option: str, text: str, tmp_path: Path) -> None:
    path, good = tmp_path / "bomb.yml", rule(tmp_path, "detection:\n  a:\n    eventName: x\n  condition: a")
    path.write_text(text)
    began = time.process_time()
    options = [] if option == "--rules" else ["--rules", str(good)]
    result = keywatch("convert", target, *options, option, path, "--out", tmp_path / "out")
    assert time.process_time() - began < 2
    assert result.exit_code == 2
    assert len([line for line in result.stderr.splitlines() if line.startswith(f"{path}:")]) == 1


def test_a_rule_that_can_not_be_written_does_not_stop_the_others(tmp_path: Path) -> None:
    odd, good = (
        one_rule({"eventName": name}, title=title, name=name) for name, title in (("x", "a\x1bb"), ("y", "Good"))
    )
    path = written([odd, good], tmp_path)
    result = keywatch("convert", "splunk", "--rules", path, "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert result.stderr.splitlines()[1] == "1 detection for splunk, format savedsearches."
    assert rf"{path}:1: rule 'a\x1bb': name: a control character" in result.stderr
    assert "[Keywatch - Good]" in (tmp_path / "out" / "savedsearches.conf").read_text()
    path = written([odd], tmp_path)
    result = keywatch("convert", "splunk", "--rules", path, "--out", tmp_path / "none")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "0 detections for splunk" in result.stderr
    assert "To import" not in result.stderr
    assert not (tmp_path / "none").exists()


def test_a_correlation_whose_rule_is_missing(tmp_path: Path) -> None:
    [correlation] = PACK.rglob(f"{DENIED}.yml")
    result = keywatch("convert", "splunk", "--rules", correlation, "--out", tmp_path)
    assert result.exit_code == 2
    line = 1 + correlation.read_text().splitlines().index("        - aws_cloudtrail_denied_enumeration_long_term_key")
    assert f"{correlation}:{line}: Rule 'aws_cloudtrail_denied_enumeration_long_term_key' not found" in result.output


@pytest.mark.parametrize("kind", ["value_median", "value_percentile"])
def test_correlations_without_a_window(kind: str, tmp_path: Path) -> None:
    text = next(PACK.rglob(f"{DENIED}.yml")).read_text().replace("value_count", kind)
    path = tmp_path / "c.yml"
    path.write_text(text)
    result = keywatch("convert", "splunk", "--rules", path, "--rules", BASE, "--out", tmp_path)
    assert result.exit_code == 2
    assert f"correlation type {kind} has no sliding window here; these have: " in result.output


@pytest.mark.parametrize(
    ("comparison", "said"),
    [
        ("lt", "fewer than N is true of almost every window"),
        ("lte", "fewer than N is true of almost every window"),
        ("eq", "exactly N is passed by a window that goes on to grow"),
        ("neq", "any number but N is true of almost every window"),
    ],
)
@pytest.mark.parametrize("target", TARGETS)
def test_comparisons_without_a_meaning(target: str, comparison: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "c.yml"
    path.write_text(next(PACK.rglob(f"{DENIED}.yml")).read_text().replace("gte: ", f"{comparison}: "))
    result = keywatch("convert", target, "--rules", path, "--rules", BASE, "--out", tmp_path / "out")
    assert (result.exit_code, f"needs gte or gt: {said}" in result.output) == (2, True), result.output


def test_a_range_is_what_pysigma_can_not_parse(tmp_path: Path) -> None:
    """The specification's `gt` and `lte` together. When pySigma parses them, they need an answer of their own."""
    path = tmp_path / "c.yml"
    text = next(PACK.rglob(f"{DENIED}.yml")).read_text()
    path.write_text(re.sub(r"^( *)gte: .*", r"\1gt: 3\n\1lte: 9", text, flags=re.MULTILINE))
    result = keywatch("convert", "duckdb", "--rules", path, "--rules", BASE, "--out", tmp_path / "out")
    assert "Sigma correlation condition must have exactly one condition item" in result.output


def test_stock_method_is_there_and_warns(tmp_path: Path) -> None:
    result = keywatch("convert", "splunk", "--format", "spl", "--method", "stats", "--out", tmp_path)
    assert result.exit_code == 2, result.output  # the stock method has no chains
    assert result.output.count("Correlation type 'temporal_ordered' is not supported by backend") == 2
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
    text = (PACK / "filters" / "known_automation.yaml").read_text()
    path.write_text(text.replace("        - aws_", "        - nosuch_"))
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


def test_stock_sigma_cli_discovers_and_converts(tmp_path: Path) -> None:
    for target, pipeline, says in (
        ("keywatch_splunk", "cloudtrail_splunk", "time_window=3601s"),
        ("keywatch_elasticsearch", "cloudtrail_elastic", "MV_EXPAND step"),
        ("keywatch_athena", "cloudtrail_athena", "sum(step) OVER"),
        ("keywatch_duckdb", "cloudtrail_raw", "RANGE BETWEEN INTERVAL 1800 SECONDS PRECEDING"),
    ):
        result = CliRunner().invoke(stock_convert, ["-t", target, "-p", pipeline, str(PACK)])
        assert result.exit_code == 0, result.output
        assert says in result.stdout
    sigma = Path(sys.executable).with_name("sigma")
    conf = [str(sigma), "convert", "-t", "keywatch_splunk", "-p", "cloudtrail_splunk", "-f", "savedsearches", str(PACK)]
    assert keywatch("convert", "splunk", "--out", tmp_path).exit_code == 0
    done = subprocess.run(conf, capture_output=True, text=True, check=True)
    ours = (tmp_path / "savedsearches.conf").read_text()
    assert sorted(done.stdout.strip().split("\n\n")) == sorted(ours.strip().split("\n\n"))


def sigma_convert(backend: Any, output_format: str | None, *options: str | Path) -> Result:
    """Run `sigma convert` as it is installed, within this process."""
    pipeline = backend.identifier.replace("keywatch_", "cloudtrail_")
    chosen = ["-f", output_format] if output_format else []
    command = ["-t", backend.identifier, "-p", pipeline, *chosen, *map(str, options)]
    return CliRunner().invoke(stock_convert, command)


def documents(text: str) -> list[Any]:
    """Return the JSON documents that follow one another in a text."""
    found, at = [], 0
    while text[at:].strip():
        document, at = json.JSONDecoder().raw_decode(text, at + len(text[at:]) - len(text[at:].lstrip()))
        found.append(document)
    return found


BACKENDS = [getattr(backends, name) for name in backends.__all__]
JSON_FORMATS = {"kibana", "arm", "rule", "terraform", "monitor", "dsl"}
CHOICES = [(backend, output_format) for backend in BACKENDS for output_format in (None, *backend.formats)]


@pytest.mark.parametrize(("backend", "output_format"), CHOICES)
def test_every_format_works_with_stock_sigma_cli(backend: Any, output_format: str | None) -> None:
    """Sentinel's table lacks a field of some rules, and Lucene has no correlations: -s passes over those."""
    some_fail = backend.identifier in ("keywatch_sentinel", "keywatch_lucene")
    result = sigma_convert(backend, output_format, *(["-s"] if some_fail else []), PACK)
    assert result.exit_code == 0, result.stderr
    if output_format == "app":
        with tarfile.open(fileobj=BytesIO(result.stdout_bytes.strip(b"\n"))) as app:
            assert app.getnames()
    elif output_format in JSON_FORMATS:
        assert documents(result.stdout)
    elif output_format in (None, "default"):
        [same] = [name for name in backend.formats if f"same as {name}" in backend.formats["default"]]
        assert result.stdout == sigma_convert(backend, same, *(["-s"] if some_fail else []), PACK).stdout
    if some_fail:
        assert sigma_convert(backend, output_format, PACK).exit_code == 1


@pytest.mark.parametrize(("backend", "output_format"), CHOICES)
def test_stock_sigma_cli_skips_what_can_not_be_converted(
    backend: Any, output_format: str | None, tmp_path: Path
) -> None:
    ids = [f"00000000-0000-4000-8000-00000000000{number}" for number in range(8)]
    rules = [
        one_rule({"nosuch": "x"}, id=ids[0], title="No field", name="nofield"),
        one_rule({"userAgent": "x\n| delete"}, id=ids[1], title="Control", name="control"),
        one_rule({"eventName": "Good"}, id=ids[3], title="Good", name="good"),
        {"title": "Median", "id": ids[4], "correlation": _correlation("value_median", "good")},
        {"title": "On a rule that fails", "id": ids[5], "correlation": _correlation("value_count", "nofield")},
    ]
    rules[3]["correlation"]["generate"] = True  # else the good one is no output
    written(rules, tmp_path)
    result = sigma_convert(backend, output_format, "-s", tmp_path)
    assert result.exit_code == 0, result.stderr
    if output_format != "app":
        assert result.stdout.lower().count("good") >= 1
        assert not [title for title in ("No field", "Control", "Median", "fails") if title in result.stdout]
    assert sigma_convert(backend, output_format, tmp_path).exit_code == 1


def _correlation(kind: str, rule_name: str) -> dict[str, Any]:
    return {
        "type": kind,
        "rules": [rule_name],
        "group-by": ["userIdentity.arn"],
        "timespan": "5m",
        "condition": {"field": "awsRegion", "gte": 3},
    }


def test_nothing_but_our_packages_lies_in_the_namespaces() -> None:
    root = Path(__file__).parents[1]
    for folder in ("backend/sigma", "backend/sigma/backends", "pipelines/sigma", "pipelines/sigma/pipelines"):
        assert [path.name for path in (root / folder).iterdir() if path.suffix == ".py"] == []
    assert not list((root / "sigma").rglob("*.py"))
