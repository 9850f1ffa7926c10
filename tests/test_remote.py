"""A hunt on an engine finds what one through files finds, byte for byte: on a real Trino, also behind Athena's API."""

from __future__ import annotations

import gzip
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from test_correlations import CASES, NAMES, WINDOW, correlated
from test_ends import waiting
from trino.dbapi import Connection

from events import denied, invoked, record, scenarios
from keywatch.commands.hunting import hunt
from keywatch.hunting import statements
from keywatch.hunting.loading import columns_of
from keywatch.hunting.selection import Selection
from packs import converted, keywatch, one_rule, written
from standins import ATHENA, AthenaAPI, athena, headed

Event = dict[str, Any]
EngineOf = Callable[[str], Any]
ALL = ("--from", "2000-01-01", "--to", "2100-01-01")
ALWAYS = Selection(datetime(2000, 1, 1), datetime(2100, 1, 1))
NDJSON = ("--format", "ndjson")


@pytest.fixture
def on(trino: Connection) -> tuple[str, ...]:
    """Return the options that ask the tests' Trino about all days."""
    return ("--on", f"trino://keywatch@127.0.0.1:{trino.port}/memory/default", *ALL)


def in_a_file(events: list[Event], folder: Path) -> Path:
    path = folder / "events.json"
    path.write_text(json.dumps({"Records": events}), encoding="utf-8")
    return path


def later(event: Event, by: timedelta) -> Event:
    time = datetime.fromisoformat(event["eventTime"]) + by
    return event | {"eventTime": time.strftime("%Y-%m-%dT%H:%M:%SZ")}


def apart() -> list[Event]:
    """Return the events of all scenarios, each a day and a half after that before it: some in one window of a day."""
    return [
        later(event, number * timedelta(hours=36)) for number, one in enumerate(scenarios()) for event in one.events
    ]


def test_the_scenarios(on: tuple[str, ...], engines: EngineOf, tmp_path: Path) -> None:
    events = apart()
    engines("athena").load(events)
    files = keywatch("hunt", in_a_file(events, tmp_path), *NDJSON)
    there = keywatch("hunt", *on, *NDJSON)
    assert len(files.stdout.splitlines()) > 70
    assert there.stdout == files.stdout
    assert there.exit_code == 0, there.stderr
    assert re.search(r"^\d+ alerts, \d+ events, 1 statement, [\d.]+ \w+ scanned\.$", there.stderr.splitlines()[-1])
    for chosen in (
        ("--from", "2026-11-25T10:00:30", "--to", "2026-12-20T22:01", "--region", "us-east-1", "--region", "eu-west-1"),
        ("--account", "111122223333", "--min-level", "high", *ALL),
        ("--account", "999999999999", *ALL),
    ):
        few, those = (keywatch("hunt", *where, *NDJSON, *chosen) for where in ((tmp_path / "events.json",), on[:2]))
        assert those.stdout == few.stdout
        assert those.stdout != files.stdout
    page, same = (keywatch("hunt", *where) for where in ((tmp_path / "events.json",), on))
    assert same.stdout == page.stdout  # cases look at all events


def test_simulated_events(on: tuple[str, ...], engines: EngineOf, tmp_path: Path) -> None:
    simulated = tmp_path / "trail"
    assert keywatch("simulate", simulated, "--events", "3000").exit_code == 0
    texts = (gzip.decompress(path.read_bytes()) for path in sorted(simulated.rglob("*.gz")))
    engines("athena").load([event for text in texts for event in json.loads(text)["Records"]])
    files, there = (keywatch("hunt", *where, *NDJSON) for where in ((simulated,), on))
    assert len(files.stdout.splitlines()) > 5
    assert there.stdout == files.stdout
    assert (there.exit_code, there.stderr.count("problem")) == (0, 0)


def in_turn() -> list[Event]:
    """Return events of two principals in turn: six in one window of each minute, but for the fifth of some."""
    one, two, three = NAMES
    names, regions = (three, one, two, one, two, three), ("us-east-1", "eu-west-1", "eu-west-2")
    who = [f"arn:aws:iam::111122223333:user/{letter}" for letter in "ab"]
    return [
        record(
            60 * minute + (4 * minute if number == 4 else number),
            regions[number % 3],
            name,
            "lambda.amazonaws.com",
            arn=who[minute % 2],
            userAgent=who[number % 2],
            additionalEventData={"inputTokens": 12 * number},
        )
        for minute in range(6)
        for number, name in enumerate(names)
    ] + [denied(1000, 0, name="ListOther")]


@pytest.mark.parametrize("name", CASES)
def test_every_type_of_correlation(name: str, on: tuple[str, ...], engines: EngineOf, tmp_path: Path) -> None:
    events = in_turn()
    engines("athena").load(events)
    path = written(correlated(CASES[name], WINDOW), tmp_path)
    options = (*NDJSON, "--rules", path)
    files, there = (keywatch("hunt", *where, *options) for where in ((in_a_file(events, tmp_path),), on))
    assert "Correlation" in files.stdout
    assert there.stdout == files.stdout
    assert there.exit_code == 0, there.stderr


#: What stands below an object, as it is in files: a list, a number, a text with JSON in it, what was cut off.
BELOW = [
    {"a": {"b": "x"}}, {"a": {"b": ["x", "y"]}}, {"a": [{"b": "x"}, {"b": 1.50}]}, {"a": {"b": 7}}, {"a": {"b": None}},
    {"a": '{"b": "x"}'}, {"a": "x"}, {"a": {"b": True, "c": [1e3, {}]}}, {}, None, '{"a": {"b": "x"}, "c', "x",
    {"a": {"b": "\u001b[1m'\"\\ä\u202e"}},
]  # fmt: skip


def test_what_comes_is_what_files_hold(on: tuple[str, ...], engines: EngineOf, tmp_path: Path) -> None:
    resources = [{"ARN": "arn:aws:s3:::one", "accountId": "1", "type": "x"}, {"ARN": "arn:aws:s3:::two"}]
    events = [denied(number, 0, requestParameters=value) for number, value in enumerate(BELOW)]
    events += [denied(100, 0, resources=some) for some in (resources, resources[:1], [], None)]
    events += [denied(200, 0, userAgent=text, errorMessage="") for text in ("", "null", '{"a": 1}', "Ünï 名😀")]
    events.append(denied(300, 0) | {"eventTime": "2026-11-20 at ten"})
    shown = ["requestParameters", "requestParameters.a.b", "resources.ARN", "userAgent", "errorMessage", "readOnly"]
    rule = one_rule({"eventName|startswith": "List"}, fields=shown)
    engines("athena").load(events)
    options = (*NDJSON, "--rules", written([rule], tmp_path))
    files, there = (keywatch("hunt", *where, *options) for where in ((in_a_file(events, tmp_path),), on))
    assert len(files.stdout.splitlines()) == len(events) - 1
    assert there.stdout == files.stdout
    told = "a record whose eventTime is no time, or out of range; it was left out ('2026-11-20 at ten')"
    assert (there.exit_code, there.stderr.splitlines()[0]) == (2, told)


def test_duplicates_and_masked_ids_in_several_statements(
    on: tuple[str, ...], engines: EngineOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    masked = [denied(60 * number // 2, number // 2, eventID="REDACTED") for number in range(10)]
    events = [*(2 * [invoked(0, 0), denied(0, 3)]), *masked]
    rules = [one_rule({"eventName": name}, title=f"{name} {number}", name=f"{name.lower()[:4]}_{number}")
             for name in ("List*", "Invoke*") for number in range(3)]  # fmt: skip
    counted = {"type": "event_count", "rules": ["list_2"], "timespan": "1h", "group-by": ["userIdentity.arn"]}
    rules.append({"title": "Counted", "name": "counted", "correlation": counted | {"condition": {"gte": 2}}})
    engines("athena").load(events)
    options = (*NDJSON, "--rules", written(rules, tmp_path))
    files = keywatch("hunt", in_a_file(events, tmp_path), *options)
    columns = columns_of(converted("duckdb", rules=[tmp_path]))
    selected = statements.Statements("cloudtrail_logs_pp", columns, ALWAYS).select([])
    monkeypatch.setattr(statements, "LONGEST", len(selected.encode()) + 100)
    there = keywatch("hunt", *on, *options)
    assert there.stdout == files.stdout
    assert '"title":"Counted","level":"","group":{' in there.stdout
    told = there.stderr.splitlines()
    assert re.fullmatch(r"Statement 1: \d rules?, \d+ events, [\d.]+ \w+ scanned\.", told[0])
    assert 1 < len(told) - 1 == int(re.findall(r"(\d+) statements", told[-1])[0])
    assert "2 duplicate events left out" in told[-1]


def test_what_the_engine_has_no_form_for_is_named(on: tuple[str, ...], engines: EngineOf, tmp_path: Path) -> None:
    events = in_turn()
    engines("athena").load(events)
    lacking = one_rule({"managementEvent": True}, title="Lacking", name="lacking")
    wrong = one_rule({"userAgent|re": "(?P<a>x)"}, title="Wrong", name="wrong")
    both = {"type": "temporal", "rules": ["two", "wrong"], "group-by": ["userIdentity.arn"], "timespan": "1h"}
    path = written(
        [
            *correlated(CASES["a chain of two"], WINDOW),
            *(lacking, wrong, {"title": "Both", "name": "both", "correlation": both}),
        ],
        tmp_path,
    )
    there = keywatch("hunt", *on, *NDJSON, "--rules", path)
    assert there.exit_code == 2
    assert there.stdout.count('"Correlation"') > 1
    told = there.stderr.splitlines()
    named = [line.partition(": ")[2].partition(":")[0] for line in told if "rule '" in line]
    assert named == ["rule 'Lacking'", "rule 'Wrong'", "rule 'Both'"]
    assert "pipeline 'cloudtrail_athena' has nothing for field 'managementEvent'" in told[0]
    assert "can't run it: " in told[1]
    assert "it needs rule 'wrong'" in told[2]


def test_the_examples_of_the_help(trino: Connection, engines: EngineOf, tmp_path: Path) -> None:
    """They run as they are printed, but for the name of the server, and AWS's address."""
    engines("athena").load([invoked(60 * minute, minute) for minute in range(4)])
    api = AthenaAPI(lambda statement: headed(trino.cursor().execute(statement).fetchall()))
    of_trino, of_athena = hunt.elsewhere
    assert ("trino://" in of_trino, "athena://" in of_athena) == (True, True)
    here = of_trino.replace("trino.example:8080/hive", f"127.0.0.1:{trino.port}/memory")
    with athena(api) as environment:
        for line in (here, of_athena):
            program = f'keywatch() {{ "{sys.executable}" -m keywatch.cli "$@"; }}\n{line}'
            command = ["bash", "-c", program]
            done = subprocess.run(
                command, cwd=tmp_path, env=os.environ | environment, capture_output=True, text=True, check=False
            )
            assert (done.returncode, done.stderr.count("\n")) == (0, 1), done.stderr
            assert done.stderr.startswith("2 alerts, 4 events, 1 statement, ")
    assert "mallory" in (tmp_path / "alerts.html").read_text()


def test_a_query_on_a_real_trino_is_cancelled(trino: Connection, engines: EngineOf, tmp_path: Path) -> None:
    engines("athena").load([denied(0, 0)])
    many = "CROSS JOIN UNNEST(sequence(1, 10000)) CROSS JOIN UNNEST(sequence(1, 10000))"
    cursor = trino.cursor()
    cursor.execute(f"CREATE OR REPLACE VIEW endless AS SELECT t.* FROM cloudtrail_logs_pp t {2 * many}")
    settings = tmp_path / "settings.yaml"
    settings.write_text("athena: {table: endless}")
    states = "SELECT state, error_code FROM system.runtime.queries WHERE source = 'keywatch' AND query LIKE '%endless%'"

    def state() -> Any:
        return trino.cursor().execute(f"{states} AND query NOT LIKE '%runtime%' ORDER BY created DESC").fetchone()

    command = [sys.executable, "-m", "keywatch.cli", "hunt", "--on", f"trino://a@127.0.0.1:{trino.port}/memory/default"]
    process = subprocess.Popen([*command, *ALL, "--settings", settings], stderr=subprocess.PIPE)
    waiting(lambda: (found := state()) and found[0] == "RUNNING")
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=30)
    assert process.returncode == 130
    assert told.startswith(b"Interrupted, ")
    assert waiting(lambda: (found := state()) and found[0] == "FAILED" and found)[1] == "USER_CANCELED"


def test_failures_that_are_no_rules_end_with_a_line(trino: Connection, tmp_path: Path) -> None:
    settings = tmp_path / "settings.yaml"
    settings.write_text("athena: {table: there_is_no_such}")
    for where, says in (("memory/default", "there_is_no_such"), ("memory/nowhere", "nowhere"), ("gone/x", "gone")):
        address = f"trino://a@127.0.0.1:{trino.port}/{where}"
        result = keywatch("hunt", "--on", address, *ALL, "--settings", settings)
        assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
        assert result.stderr.startswith(f"Trino at 127.0.0.1:{trino.port}: ")
        assert says in result.stderr


def test_athena_with_pages_and_throttled(trino: Connection, engines: EngineOf, tmp_path: Path) -> None:
    """What stands behind the API is the tests' Trino: the statement runs, and its rows come in pages."""
    events = [*apart(), *(denied(number, 0) for number in range(2500))]
    engines("athena").load(events)
    throttled = [("TooManyRequestsException", "Rate exceeded"), ("ThrottlingException", "Rate exceeded")]
    operations = ("StartQueryExecution", "GetQueryExecution", "GetQueryResults")
    api = AthenaAPI(
        lambda statement: headed(trino.cursor().execute(statement).fetchall()),
        errors={name: list(throttled) for name in operations},
        looks=3,
    )
    with athena(api) as environment:
        there = keywatch("hunt", "--on", ATHENA, *ALL, *NDJSON, **environment)
    files = keywatch("hunt", in_a_file(events, tmp_path), *NDJSON)
    assert there.stdout == files.stdout
    assert there.exit_code == 0, there.stderr
    [given] = api.inputs
    assert given["QueryExecutionContext"] == {"Database": "default"}
    assert given["WorkGroup"] == "primary"
    assert len(given["ClientRequestToken"]) >= 32
    assert (api.calls["GetQueryExecution"], api.calls["StopQueryExecution"]) == (2 + 4, 0)
    assert api.calls["GetQueryResults"] > 2 + 3
    assert there.stderr.endswith("1 statement, 2.5 GB scanned, 0.01250 USD at 5.00 USD per TB.\n")
