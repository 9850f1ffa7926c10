"""A hunt on an engine finds what a hunt through files finds, byte for byte; what goes wrong there is a line."""

from __future__ import annotations

import gzip
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from moto.server import ThreadedMotoServer
from standins import AWS, AthenaAPI, FailedError, Rows, athena, endless_trino
from test_correlations import CASES, NAMES, RULES, TOKENS
from test_ends import waiting
from trino.dbapi import Connection

from events import denied, invoked, record, scenarios
from keywatch.commands.hunting import hunt
from keywatch.hunting import clients, statements
from keywatch.hunting.loading import columns_of
from keywatch.hunting.selection import Selection
from packs import converted, keywatch, one_rule, written

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
        ("--from", "2026-11-25T10:00:30", "--to", "2026-12-20T22:01"),
        ("--region", "us-east-1", "--region", "eu-west-1", *ALL),
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


def correlated() -> list[Event]:
    """Return events of two principals in turn: five in one window of each minute, but for the last of some."""
    names, regions = (NAMES[2], NAMES[0], NAMES[1], NAMES[0], NAMES[1]), ("us-east-1", "eu-west-1", "eu-west-2")
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
    events = correlated()
    engines("athena").load(events)
    rules = [one_rule({"eventName": RULES[rule]}, title=rule, name=rule) for rule in RULES]
    path = written([*rules, CASES[name]], tmp_path)
    options = (*NDJSON, "--rules", path)
    files, there = (keywatch("hunt", *where, *options) for where in ((in_a_file(events, tmp_path),), on))
    assert "Correlation" in files.stdout
    assert there.stdout == files.stdout
    assert TOKENS in str(CASES[name]) or there.exit_code == 0


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
    shown = ["requestParameters", "requestParameters.a.b", "resources.ARN", "userAgent", "errorMessage", "readOnly"]
    rule = one_rule({"eventName|startswith": "List"}, fields=shown)
    engines("athena").load(events)
    options = (*NDJSON, "--rules", written([rule], tmp_path))
    files, there = (keywatch("hunt", *where, *options) for where in ((in_a_file(events, tmp_path),), on))
    assert len(files.stdout.splitlines()) == len(events)
    assert there.stdout == files.stdout
    assert there.exit_code == 0, there.stderr


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
    events = correlated()
    engines("athena").load(events)
    rules = [one_rule({"eventName": RULES[rule]}, title=rule, name=rule) for rule in ("one", "two")]
    lacking = one_rule({"managementEvent": True}, title="Lacking", name="lacking")
    wrong = one_rule({"userAgent|re": "(?P<a>x)"}, title="Wrong", name="wrong")
    both = {"type": "temporal", "rules": ["two", "wrong"], "group-by": ["userIdentity.arn"], "timespan": "1h"}
    path = written(
        [*rules, lacking, wrong, {"title": "Both", "name": "both", "correlation": both},
         CASES["a chain of two"] | {"name": "chain"}],
        tmp_path,
    )  # fmt: skip
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
            assert done.stderr.startswith("1 alert, ")
    assert "mallory" in (tmp_path / "alerts.html").read_text()


TRINO, ATHENA = "trino://ana@127.0.0.1:1/hive/default", "athena://default?workgroup=primary"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--on", TRINO), "--on needs --from and --to, .* for all there is, .*--from 2013-01-01"),
        (("--on", TRINO, "--from", "2026-11-20"), "--on needs --from and --to"),
        (("--on", TRINO, "--from", "2026-11-20", "--to", "2026-11-20"), "--to is not after --from"),
        (("trail", "--on", TRINO, *ALL), "--on and PATHS exclude each other"),
        (("--on", TRINO, *ALL, "--events", "e.ndjson"), "the table there has no raw records"),
        ((), "there is nothing to look at; name PATHS, .* or an engine with --on"),
        (("--on", "trino://ana:s3cret@127.0.0.1:1/hive/default", *ALL), "it holds a password.*TRINO_PASSWORD"),
        (("--on", "athena://AKIA:s3cret@default", *ALL), "it holds a password"),
        (("--on", "trino://ana:s3cret/hive/default", *ALL), "no address of an engine; addresses are trino://user@host"),
        (("--on", "trino://ana:s3/cret@127.0.0.1/hive/default", *ALL), "no address of an engine"),
        (("--on", "trino://127.0.0.1:1/hive/default", *ALL), "no address of an engine"),
        (("--on", "trino://ana@127.0.0.1:1/hive", *ALL), "no address of an engine"),
        (("--on", "trino://ana@[::1/hive/default", *ALL), "no address of an engine"),
        (("--on", "trino://ana@127.0.0.1:99999/hive/default", *ALL), "no address of an engine"),
        (("--on", "athena://?workgroup=primary", *ALL), "no address of an engine"),
        (("--on", "athena://default?workgroup", *ALL), "no address of an engine"),
        (("--on", "athena://default?workgruop=primary", *ALL), "there is no option of Athena 'workgruop'"),
        (("--on", "trini://ana@127.0.0.1:1/hive/default", *ALL), "no engine 'trini'; .*did you mean 'trino'"),
        (("--on", TRINO, *ALL), r"Trino at 127\.0\.0\.1:1: Connection refused"),
        (("--on", TRINO.replace("127.0.0.1", "no-such-host.invalid"), *ALL), r"Trino at no-such-host\.invalid:1: .*"),
    ],
)
def test_what_does_not_go_together_is_a_line(arguments: tuple[str, ...], says: str) -> None:
    result = keywatch("hunt", *arguments)
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert re.search(says, result.stderr)
    assert "s3cret" not in result.stderr
    assert "cret" not in result.stderr.replace("secret", "")


@pytest.mark.parametrize(
    ("status", "body", "says"),
    [(200, b"<html>", "what answers there is no Trino"), (401, b"Unauthorized", "401"), (200, b"{}", "is no Trino")],
)
def test_what_is_no_trino_is_a_line(status: int, body: bytes, says: str) -> None:
    with endless_trino(status=status, body=body) as (port, _):
        result = keywatch("hunt", "--on", TRINO.replace(":1/", f":{port}/"), *ALL)
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert says in result.stderr


def test_a_password_is_for_https_only() -> None:
    with endless_trino() as (port, asked):
        result = keywatch("hunt", "--on", TRINO.replace(":1/", f":{port}/"), *ALL, TRINO_PASSWORD="s3cret")
    assert (result.exit_code, asked, result.stderr.count("\n")) == (2, [], 1)
    assert "s3cret" not in result.stderr


@pytest.mark.parametrize(("address", "package"), [(TRINO, "trino"), (ATHENA, "boto3")])
def test_a_client_that_is_missing_is_named(address: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    result = keywatch("hunt", "--on", address, *ALL)
    extra = address.partition(":")[0]
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert f"the package {package}, which is not installed; pip install 'keywatch[{extra}]'" in result.stderr


@contextmanager
def begun(address: str, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "keywatch.cli", "hunt", "--on", address, *ALL]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ | environment, start_new_session=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(("number", "word"), [(signal.SIGINT, "Interrupted"), (signal.SIGTERM, "Terminated")])
def test_a_signal_cancels_the_query(number: int, word: str) -> None:
    with endless_trino() as (port, asked), begun(TRINO.replace(":1/", f":{port}/")) as process:
        waiting(lambda: len(asked) > 3)
        process.send_signal(number)
        out, told = process.communicate(timeout=30)
        assert asked[-1] == "DELETE /v1/statement/executing/one/1"
    assert (process.returncode, out) == (128 + number, b"")
    said = rf"{word}, so nothing can be said of the rest: 0 events, 1 statement, 7\.0 GB scanned\.\n"
    assert re.fullmatch(said, told.decode())
    api = AthenaAPI(lambda _: [], looks=None)
    with athena(api) as environment, begun(ATHENA, **environment) as process:
        waiting(lambda: api.calls["GetQueryExecution"] > 1)
        process.send_signal(number)
        _, told = process.communicate(timeout=30)
        assert api.calls["StopQueryExecution"] == 1
    assert process.returncode == 128 + number
    assert b"1 statement, 2.5 GB scanned, 0.01250 USD at 5.00 USD per TB.\n" in told


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


def test_days_without_an_event_are_named() -> None:
    with athena(AthenaAPI(lambda _: headed([]), scanned=0)) as environment:
        result = keywatch("hunt", "--on", ATHENA, "--from", "2001-01-01", "--to", "2001-01-05", **environment)
    assert result.exit_code == 2
    assert "--from 2001-01-01T00:00:00Z --to 2001-01-05T00:00:00Z: nothing was scanned" in result.stderr
    assert "0 bytes scanned, 0.00005 USD" in result.stderr  # what Athena takes at least


@pytest.mark.parametrize(
    ("start", "end", "days"),
    [
        (datetime(2026, 11, 20), datetime(2026, 11, 21), "'2026/11/20' AND '2026/11/21'"),
        (datetime(2026, 11, 20, 10), datetime(2026, 12, 31, 0, 0, 1), "'2026/11/20' AND '2027/01/01'"),
    ],
)
def test_days_are_those_of_delivery(start: datetime, end: datetime, days: str) -> None:
    columns = columns_of(converted("duckdb"))
    assert f'"timestamp" BETWEEN {days}\n' in statements.Statements("t", columns, Selection(start, end)).select([])


def texts(statement: str, event: dict[str, str]) -> list[str | None]:
    """Return an event as a row of what a statement asks for; its keys are the expressions there."""
    asked = re.findall(r"^    (\w.*?),?$", statement.partition("FROM")[0], re.MULTILINE)
    return [event.get(expression) for expression in asked]


def test_what_came_before_a_statement_failed_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing:
        name, charges = "Failing", False

        @contextmanager
        def running(self, statement: str, told: Any) -> Iterator[Iterator[Any]]:
            def pages() -> Iterator[Any]:
                for _ in range(5 if "'a'" in statement else 0):
                    event = {"eventname": "a", "eventtime": "2026-11-20T10:00:00Z", "eventid": "REDACTED"}
                    yield [texts(statement, event)]
                if "'wrong'" in statement:
                    raise clients.RefusedError("DIVISION_BY_ZERO")

            told("RUNNING", 1)
            yield pages()

    monkeypatch.setitem(clients._CLIENTS, "trino", lambda _: Failing())
    path = written([one_rule({"eventName": name}, title=name, name=name) for name in ("a", "wrong", "c")], tmp_path)
    result = keywatch("hunt", "--on", TRINO, *ALL, *NDJSON, "--rules", path)
    assert result.exit_code == 2
    assert result.stdout.count('"title":"a"') == len(result.stdout.splitlines()) == 5
    assert result.stderr.splitlines()[0] == f"{path}: rule 'wrong': Failing can't run it: DIVISION_BY_ZERO"
    assert "5 alerts, 5 events, 2 statements" in result.stderr


def headed(rows: Rows) -> Rows:
    """Return what Athena gives of rows: the columns' names first."""
    return [[f"_col{number}" for number in range(30)], *rows]


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


@pytest.mark.parametrize(
    ("failed", "says"),
    [
        (FailedError("TABLE_NOT_FOUND: line 1:8: Table does not exist"), "Athena: TABLE_NOT_FOUND: .*not exist"),
        (
            FailedError("Query exhausted resources at this scale factor", 1),
            "Athena: the query has FAILED: Query exhausted",
        ),
        (
            FailedError("Bytes scanned limit was exceeded", 3, "CANCELLED"),
            "the query has CANCELLED: Bytes scanned limit",
        ),
    ],
)
def test_athena_fails_as_a_whole(failed: FailedError, says: str) -> None:
    def answer(_: str) -> Rows:
        raise failed

    api = AthenaAPI(answer)
    with athena(api) as environment:
        result = keywatch("hunt", "--on", ATHENA, *ALL, **environment)
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert re.search(says, result.stderr)
    assert len(api.inputs) <= 2


@pytest.mark.parametrize(
    ("operation", "kind", "message"),
    [
        (
            "StartQueryExecution",
            "AccessDeniedException",
            "not authorized to perform: athena:StartQueryExecution",
        ),
        ("StartQueryExecution", "ExpiredTokenException", "The security token included in the request is expired"),
        ("GetQueryExecution", "AccessDeniedException", "not authorized to perform: athena:GetQueryExecution"),
        ("GetQueryResults", "AccessDeniedException", "no s3:GetObject on the results"),
        ("StartQueryExecution", "InvalidRequestException", "No output location provided"),
        ("StartQueryExecution", "ThrottlingException", "Rate exceeded"),
    ],
)
def test_athena_refuses(operation: str, kind: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0)
    api = AthenaAPI(lambda _: headed([]), errors={operation: 20 * [(kind, message)]})
    with athena(api) as environment:
        result = keywatch("hunt", "--on", ATHENA, *ALL, **environment)
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert result.stderr.startswith("Athena: ")
    assert message in result.stderr


def test_athena_without_credentials_or_a_region(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN", "PROFILE", "REGION", "DEFAULT_REGION"):
        monkeypatch.delenv(f"AWS_{name}", raising=False)
    nothing = {"AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": str(tmp_path / "none"), "HOME": str(tmp_path)}
    result = keywatch("hunt", "--on", ATHENA, *ALL, **nothing)
    assert (result.exit_code, result.stderr) == (2, "Athena: You must specify a region.\n")
    result = keywatch("hunt", "--on", ATHENA, *ALL, **nothing, AWS_DEFAULT_REGION="us-east-1")
    assert (result.exit_code, result.stderr) == (2, "Athena: Unable to locate credentials\n")


def test_of_a_statement_that_fails_the_rule_is_found(tmp_path: Path) -> None:
    """The wrong rule is one of many; the others' events come, in the fewest statements."""

    def answer(statement: str) -> Rows:
        if "'wrong'" in statement:
            raise FailedError("SYNTAX_ERROR: line 9:9: mismatched input")
        return headed([])

    rules = [one_rule({"eventName": name}, title=name, name=name) for name in "abcdefg"]
    path = written([*rules, one_rule({"eventName": "wrong"}, title="Wrong", name="wrong")], tmp_path)
    api = AthenaAPI(answer)
    with athena(api) as environment:
        result = keywatch("hunt", "--on", ATHENA, *ALL, "--rules", path, **environment)
    assert result.exit_code == 2
    told = result.stderr.splitlines()
    assert told[0] == f"{path}: rule 'Wrong': Athena can't run it: SYNTAX_ERROR: line 9:9: mismatched input"
    # 8 rules, none, 4 + 4, 2 + 2, 1 + 1: those that were refused are not paid for.
    sizes = [len(re.findall(r"lower\(eventname\)", given["QueryString"])) for given in api.inputs]
    assert sizes == [8, 0, 4, 4, 2, 2, 1, 1]
    assert told[1:4] == [f"Statement {number}: {rules}, 0 events, 2.5 GB scanned." for number, rules in
                         enumerate(("4 rules", "2 rules", "1 rule"), 1)]  # fmt: skip
    assert "0 alerts, 0 events, 3 statements, 7.5 GB scanned, 0.03750 USD at 5.00 USD per TB, 1 problem" in told[4]


def test_the_price_is_a_setting(tmp_path: Path) -> None:
    settings = tmp_path / "settings.yaml"
    settings.write_text("hunt: {usd_per_tb: 7}")
    with athena(AthenaAPI(lambda _: headed([]))) as environment:
        result = keywatch("hunt", "--on", ATHENA, *ALL, "--settings", settings, **environment)
    assert "0.01750 USD at 7.00 USD per TB" in result.stderr
    settings.write_text("hunt: {usd_per_tb: cheap}")
    result = keywatch("hunt", "--on", ATHENA, *ALL, "--settings", settings)
    assert result.stderr == f"{settings}:1: 'cheap' is not a number of US dollars, such as 5.00\n"


def test_athena_as_moto_has_it() -> None:
    """Moto has a model of the API of its own; what it gives as results was queued."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    url = "http://{}:{}".format(*server.get_host_and_port())
    columns = columns_of(converted("duckdb"))
    select = statements.Statements("t", columns, ALWAYS).select([])
    event = {"eventname": "DeleteUser", "eventtime": "2026-11-20T10:00:00Z", "eventid": "one"}
    cells = [{} if text is None else {"VarCharValue": text} for text in texts(select, event)]
    rows = [[{"VarCharValue": f"_col{number}"} for number in range(len(cells))], cells]
    queued = {"results": [{"rows": [{"Data": row} for row in rows], "column_info": []}]}
    try:
        requests.post(f"{url}/moto-api/static/athena/query-results", json=queued, timeout=10).raise_for_status()
        environment = AWS | {"AWS_ENDPOINT_URL": url}
        result = keywatch("hunt", "--on", ATHENA, *ALL, **environment)
    finally:
        server.stop()
    assert "0 alerts, 1 event, 1 statement, " in result.stderr
    assert result.exit_code == 0, result.stderr
