"""What goes wrong on an engine is a line, and a query there is cancelled: with servers that answer as engines do."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import requests
from moto.server import ThreadedMotoServer
from test_ends import waiting

from keywatch.hunting import clients, loading, statements
from keywatch.hunting.loading import columns_of
from keywatch.hunting.selection import Selection
from packs import converted, keywatch, one_rule, written
from standins import ATHENA, AWS, TRINO, AthenaAPI, FailedError, Rows, athena, endless_trino, headed

ALL = ("--from", "2000-01-01", "--to", "2100-01-01")
ALWAYS = Selection(datetime(2000, 1, 1), datetime(2100, 1, 1))
NDJSON = ("--format", "ndjson")


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
    assert f"the package {package}, which is not installed; the extra keywatch[{extra}] brings it" in result.stderr


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

    monkeypatch.setattr(loading, "_ROWS", 2)  # so that some are in the table by then
    monkeypatch.setitem(clients._CLIENTS, "trino", lambda _: Failing())
    path = written([one_rule({"eventName": name}, title=name, name=name) for name in ("a", "wrong")], tmp_path)
    result = keywatch("hunt", "--on", TRINO, *ALL, *NDJSON, "--rules", path)
    assert result.exit_code == 2
    assert result.stdout.count('"title":"a"') == len(result.stdout.splitlines()) == 5
    assert result.stderr.splitlines()[0] == f"{path}: rule 'wrong': Failing can't run it: DIVISION_BY_ZERO"
    assert "5 alerts, 5 events, 1 statement, " in result.stderr


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


@pytest.mark.parametrize(
    "failed",
    [FailedError("SYNTAX_ERROR: line 9:9: mismatched input"), FailedError("COMPILER_ERROR: Compiler failed", 1)],
)
def test_of_a_statement_that_fails_the_rule_is_found(failed: FailedError, tmp_path: Path) -> None:
    """The wrong rule is one of many; the others' events come, in the fewest statements."""

    def answer(statement: str) -> Rows:
        if "'wrong'" in statement:
            raise failed
        return headed([])

    rules = [one_rule({"eventName": name}, title=name, name=name) for name in "abcdefg"]
    path = written([*rules, one_rule({"eventName": "wrong"}, title="Wrong", name="wrong")], tmp_path)
    api = AthenaAPI(answer)
    with athena(api) as environment:
        result = keywatch("hunt", "--on", ATHENA, *ALL, "--rules", path, **environment)
    assert result.exit_code == 2
    told = result.stderr.splitlines()
    assert told[0] == f"{path}: rule 'Wrong': Athena can't run it: {failed.reason}"
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
