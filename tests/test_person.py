"""What a person types: helps and their examples, names that are nearly right, times, make, and completion."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
from sigma.pipelines.keywatch._pack import PACK, guides, read_yaml

import oracle
from events import DENIED, MINUTE, denied
from keywatch.cli import main
from keywatch.commands.options import Examples, Moment
from keywatch.conversion.targets import TARGETS
from keywatch.words import counted
from packs import keywatch, one_rule, written

ROOT = Path(__file__).parents[1]
RULES = oracle.load(PACK)
COMMANDS: dict[str, click.Command] = {"": main, **main.commands}


def shell(script: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", script], cwd=folder, env=os.environ | environment, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("name", list(COMMANDS))
def test_a_help_is_laid_out_as_meant(name: str) -> None:
    text = keywatch(*name.split(), "--help").output
    assert "\\b" not in text
    assert "\b" not in text
    assert "..." not in text.replace("PATHS...", "").replace("[ARGS]...", "")  # no line is cut
    assert all(len(line) <= 80 or line.startswith("  keywatch ") for line in text.splitlines())
    examples = getattr(COMMANDS[name], "examples", ())
    if examples:
        assert text.endswith("Examples:\n" + "".join(f"  {line}\n" for line in examples))


@pytest.mark.parametrize("name", [name for name, command in COMMANDS.items() if isinstance(command, Examples)])
def test_the_examples_of_a_help_run_in_an_empty_folder(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    examples = COMMANDS[name].examples  # type: ignore[attr-defined]
    assert examples
    monkeypatch.chdir(tmp_path)
    for line in examples:
        program, *words = re.sub(r"simulate trail\b.*", "simulate trail --events 2000", line).split()
        assert program == "keywatch"
        arguments, into = (words[:-2], words[-1]) if ">" in words else (words, None)
        done = keywatch(*arguments)
        assert done.exit_code == 0, (line, done.output)
        if into:
            Path(into).write_text(done.stdout, encoding="utf-8")


def test_rules_are_listed_with_what_is_set(tmp_path: Path) -> None:
    settings = tmp_path / "settings.yaml"
    settings.write_text(f"rules:\n    {DENIED}:\n        threshold: 9\n")
    blocks = {
        block.splitlines()[0]: " ".join(" ".join(block.split()).split()[1:])
        for block in keywatch("rules", "--settings", settings).output.strip().split("\n\n")
    }
    assert set(blocks) == set(guides())
    for name, block in blocks.items():
        rule = RULES[name]
        assert block.startswith(f"{rule['title']} {rule['level']}; ")
        spec = rule.get("correlation")
        if spec is None:
            assert "; each event looks at" in block
        else:
            least = 9 if name == DENIED else spec.get("condition", {}).get("gte")
            assert f"; {least or ' and '.join(spec['rules'])} " in block
            assert f" in {spec['timespan']}, one {' and '.join(spec['group-by'])} looks at" in block
    logged = blocks["aws_cloudtrail_bedrock_invocation_logging_changed"]
    assert logged.endswith(
        "looks at DeleteModelInvocationLoggingConfiguration, PutModelInvocationLoggingConfiguration of "
        "bedrock.amazonaws.com"
    )


@pytest.mark.parametrize("target", list(TARGETS))
def test_a_rule_is_explained(target: str) -> None:
    result = keywatch("explain", DENIED, "--target", target)
    assert result.exit_code == 0, result.output
    said = " ".join(result.stdout.split())
    guide, rule = guides()[DENIED], RULES[DENIED]
    for text in (rule["title"], rule["description"], guide.threshold, *guide.steps, *guide.steps.values()):
        assert " ".join(text.split()) in said
    assert f"Query for {target}, format " in said
    assert "accessdenied" in result.stdout.partition("Query for ")[2].lower()
    by_id = keywatch("explain", rule["id"], "--target", target)
    assert by_id.stdout == result.stdout


def test_a_part_of_a_correlation_is_explained_too(tmp_path: Path) -> None:
    result = keywatch("explain", "aws_cloudtrail_denied_enumeration_long_term_key", "--target", "duckdb")
    assert result.exit_code == 0, result.output
    assert "SELECT" in result.stdout
    rules = written([one_rule({"eventName": "x"}, title="Mine", name="mine", level="low")], tmp_path)
    mine = keywatch("explain", "mine", "--rules", rules, "--target", "splunk", "--format", "spl")
    assert mine.exit_code == 0
    assert 'eventName="x"' in mine.stdout
    failing = written([one_rule({"nosuch": "x"}, name="mine")], tmp_path)
    failed = keywatch("explain", "mine", "--rules", failing, "--target", "splunk")
    assert failed.exit_code == 2
    assert "field 'nosuch' is not known" in failed.stderr


def test_settings_are_those_that_the_program_starts_from(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(keywatch("settings").output)
    assert read_yaml(path) == read_yaml(PACK / "settings.yaml")
    assert keywatch("convert", "splunk", "--settings", path, "--out", tmp_path / "out").exit_code == 0
    folder = Path(path.read_text().splitlines()[-1].rpartition(": ")[2])
    assert (folder / "known_automation.yaml").is_file()


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (["convert", "splnk"], "splunk"),
        (["convert", "Sentinell"], "sentinel"),
        (["convert", "splunk", "--format", "savedsearch"], "savedsearches"),
        (["convert", "splunk", "--method", "slide"], "sliding"),
        (["hunt", "x", "--format", "json"], "ndjson"),
        (["hunt", "x", "--min-level", "hgih"], "high"),
        (["hunt", "x", "--rule", "correlation_aws_bedrock_manymodels"], "correlation_aws_bedrock_many_models"),
        (["explain", "bedrock_many"], "correlation_aws_bedrock_many_models"),
        (["explain", "AWS Bedrock Many Models of One Principal"], "AWS Bedrock Many Models Invoked by One Principal"),
        (["explain", DENIED, "--target", "kibana-elasticsearch"], "elasticsearch"),
    ],
)  # fmt: skip
def test_of_names_that_are_wrong_the_nearest_is_said(arguments: list[str], meant: str, tmp_path: Path) -> None:
    result = keywatch(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.count("\n") == 1
    assert f"did you mean '{meant}'?" in result.stderr


def test_of_a_name_that_is_like_none_all_are_said() -> None:
    said = keywatch("convert", "qradar").stderr
    assert "did you mean" not in said
    assert all(name in said for name in TARGETS)
    assert "`keywatch rules` lists them" in keywatch("explain", "xyzzy").stderr
    assert "Did you mean 'hunt'" in keywatch("hunnt").stderr


@pytest.mark.parametrize(
    ("text", "means"),
    [
        ("2026-09-05", "2026-09-05T00:00:00"),
        ("2026-09-05T10:00", "2026-09-05T10:00:00"),
        ("2026-09-05 10:00", "2026-09-05T10:00:00"),
        ("2026-09-05T10:00Z", "2026-09-05T10:00:00"),
        ("2026-09-05T10:00:30Z", "2026-09-05T10:00:30"),
        ("2026-09-05T10:00:30.5Z", "2026-09-05T10:00:30.500000"),
        ("2026-09-05T10:00+02:00", "2026-09-05T08:00:00"),
    ],
)
def test_times_are_read(text: str, means: str) -> None:
    assert Moment().convert(text, None, None).isoformat() == means


@pytest.mark.parametrize(
    "text", ["yesterday", "2026-13-01", "2026-09-05T25:00", "0001-01-01T00:00+10:00", "9999-01-01"]
)
def test_what_is_no_time_is_said_in_a_line(text: str) -> None:
    for option in ("--from", "--to"):
        result = keywatch("hunt", option, text, "x")
        assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
        assert f"'{text}' is no time" in result.stderr


def test_from_a_minute_on(tmp_path: Path) -> None:
    path = tmp_path / "events.json"
    path.write_text(json.dumps({"Records": [denied(MINUTE * i, i) for i in range(5)]}))
    for start, alerts in (("2026-11-20T10:00", 1), ("2026-11-20T10:01", 0)):
        result = keywatch("hunt", "--rule", DENIED, "--from", start, path)
        assert result.stderr.startswith(f"{counted(alerts, 'alert')}, ")


def test_one_of_a_thing_is_said_as_one() -> None:
    assert [counted(number, "alert") for number in (0, 1, 2)] == ["0 alerts", "1 alert", "2 alerts"]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["hun"], ["hunt"]),
        (["convert", "spl"], ["splunk"]),
        (["convert", "splunk", "--format", "s"], ["savedsearches", "spl"]),
        (["explain", "correlation_aws_bedrock_many"], ["correlation_aws_bedrock_many_models"]),
        (["hunt", "--min-level", "h"], ["high"]),
    ],
)
def test_bash_completes(words: list[str], found: list[str], tmp_path: Path) -> None:
    bindir = tmp_path / "bin"
    bindir.mkdir()
    program = bindir / "keywatch"
    program.write_text(f"#!{sys.executable}\nfrom keywatch.cli import main\nmain()\n")
    program.chmod(0o755)
    line = ["keywatch", *words]
    script = f"""eval "$(_KEYWATCH_COMPLETE=bash_source keywatch)"
        COMP_WORDS=({" ".join(line)}); COMP_CWORD={len(line) - 1}
        _keywatch_completion keywatch; printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = shell(script, tmp_path, PATH=f"{bindir}:{os.environ['PATH']}")
    assert done.stdout.split() == found, done.stderr


def make(*arguments: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run make with a program that writes its arguments in place of keywatch."""
    bindir = folder / "venv" / "bin"
    bindir.mkdir(parents=True, exist_ok=True)
    for name in ("keywatch", "pip", "python"):
        (bindir / name).write_text('#!/bin/sh\nfor one in "$@"; do echo "<$one>"; done\n')
        (bindir / name).chmod(0o755)
    installed = folder / "venv" / ".installed"
    installed.touch()
    environment = {
        key: value for key, value in os.environ.items() if key not in ("MAKEFLAGS", "MAKELEVEL")
    } | environment
    command = ["make", "-C", str(ROOT), f"VENV={folder / 'venv'}", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def given(done: subprocess.CompletedProcess[str]) -> list[str]:
    assert done.returncode == 0, done.stderr
    return [line[1:-1] for line in done.stdout.splitlines() if line.startswith("<")]


@pytest.mark.parametrize(
    ("arguments", "unknown"),
    [
        (["convert", "TARGET=splunk", "FILTER=x"], "FILTER"),
        (["hunt", "LOGS=x", "TARGET=splunk"], "TARGET"),
        (["simulate", "OUT=x", "EVENT=5"], "EVENT"),
        (["test", "LOGS=x"], "LOGS"),
        (["LOGS=x"], "LOGS"),
    ],
)
def test_make_refuses_a_variable_that_a_goal_does_not_take(arguments: list[str], unknown: str, tmp_path: Path) -> None:
    done = make(*arguments, folder=tmp_path)
    assert done.returncode == 2
    assert not [line for line in done.stdout.splitlines() if line.startswith("<")]
    assert f"does not take {unknown}; it takes: " in done.stderr


def test_make_takes_paths_with_blanks(tmp_path: Path) -> None:
    folder, other = tmp_path / "my logs", tmp_path / "others"
    for path in (folder, other):
        path.mkdir()
    assert given(make("hunt", f"LOGS={folder}", folder=tmp_path)) == ["hunt", "--", str(folder)]
    assert given(make("hunt", f"LOGS={other} {other}", folder=tmp_path)) == ["hunt", "--", str(other), str(other)]
    assert given(make("hunt", f"LOGS='{folder}' {other}", folder=tmp_path)) == ["hunt", "--", str(folder), str(other)]
    assert given(make("hunt", "LOGS=~/others", folder=tmp_path, HOME=str(tmp_path))) == ["hunt", "--", str(other)]
    options = [f"FILTERS={folder}", f"RULES={other} '{folder}'", "SETTINGS=my settings.yaml", "OUT=a b", "FORMAT=spl"]
    assert given(make("convert", "TARGET=splunk", *options, folder=tmp_path)) == [
        *("convert", "--settings", "my settings.yaml", "--filters", str(folder), "--rules", str(other)),
        *("--rules", str(folder), "--format", "spl", "--out", "a b", "--", "splunk"),
    ]


def test_make_has_each_command(tmp_path: Path) -> None:
    assert given(make("simulate", "OUT=a b", "EVENTS=5", "DAYS=2", folder=tmp_path)) == [
        "simulate", "--events", "5", "--days", "2", "--", "a b",
    ]  # fmt: skip
    assert given(make("backtest", "LOGS=x", "REPORT=r r.html", "MAX_PER_WEEK=2", "WRITE=w", folder=tmp_path)) == [
        "backtest", "--report", "r r.html", "--max-per-week", "2", "--write", "w", "--", "x",
    ]  # fmt: skip
    assert given(make("upstream", "OUT=a b", folder=tmp_path)) == ["upstream", "--", "a b"]
    assert given(make("regression", "RULES=a 'b c'", folder=tmp_path)) == ["regression", "--", "a", "b c"]
    on = "athena://default?workgroup=a b"
    assert given(make("hunt", f"ON={on}", "FROM=2026-11-20", "TO=2026-11-21", "FORMAT=csv", folder=tmp_path)) == [
        "hunt", "--on", on, "--from", "2026-11-20", "--to", "2026-11-21", "--format", "csv", "--",
    ]  # fmt: skip
    for goal in ("convert", "hunt", "backtest", "simulate", "upstream", "regression"):
        done = make(goal, folder=tmp_path)
        assert (done.returncode, f"make {goal} needs " in done.stderr) == (2, True)


def test_nothing_that_is_printed_points_into_a_checkout(tmp_path: Path) -> None:
    texts = [keywatch(*name.split(), "--help").output for name in COMMANDS]
    texts += [keywatch("settings").output, keywatch("explain", DENIED).output, keywatch("targets").output]
    for target in TARGETS.values():
        texts += [step for backend in target.formats.values() for step in backend.import_steps.values()]
    for path in (PACK / "filters").glob("*"):
        texts.append(path.read_text())
    for text in texts:
        said = text.replace(str(PACK), "")
        assert not re.search(
            r"docs/|README|sigma/(?:settings|filters|guides|rules)|\bmake \w+|(?:FILTERS|SETTINGS)=", said
        )


def test_the_commands_of_the_readme_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those in its first block, in an empty folder: make hands them on, and the program does what is asked."""
    block = (ROOT / "README.md").read_text(encoding="utf-8").partition("```sh\n")[2].partition("```")[0]
    commands = [line.partition("#")[0].split() for line in block.splitlines()]
    assert [words[1] for words in commands] == ["convert", "simulate", "hunt", "backtest", "test"]
    monkeypatch.chdir(tmp_path)
    for make_, *words in commands[:-1]:
        assert make_ == "make"
        arguments = given(make(*words, folder=tmp_path / "stub"))
        few = ["--events", "2000"] if "simulate" in arguments else []
        result = keywatch(arguments[0], *few, *arguments[1:])
        assert result.exit_code == 0, result.output
    assert {"build", "trail", "report.html"} <= {path.name for path in tmp_path.iterdir()}
