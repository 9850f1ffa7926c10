"""Servers that answer as Athena's API and Trino's protocol do, for what no real one does when a test wants it."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

Rows = list[list[str | None]]
#: Addresses of engines where there is none.
TRINO, ATHENA = "trino://ana@127.0.0.1:1/hive/default", "athena://default?workgroup=primary"
#: What AWS's clients need to ask a server of the tests' own.
AWS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


def headed(rows: Rows) -> Rows:
    """Return what Athena gives of rows: the columns' names first."""
    return [[f"_col{number}" for number in range(30)], *rows]


@dataclass
class FailedError(Exception):
    """How an execution of Athena's ends, if it does not succeed."""

    reason: str
    category: int = 2
    state: str = "FAILED"


@dataclass
class AthenaAPI:
    """Athena's API (JSON 1.1): executions are answered by a function of their statement, with the columns' names."""

    answer: Callable[[str], Rows]
    #: Operation → errors that are given first, as (type, message).
    errors: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    #: How often an execution is looked at before it ends; it never does if None.
    looks: int | None = 1
    scanned: int = 2_500_000_000
    calls: Counter[str] = field(default_factory=Counter)
    inputs: list[dict[str, Any]] = field(default_factory=list)
    _rows: dict[str, Rows | FailedError] = field(default_factory=dict)
    _left: dict[str, int] = field(default_factory=dict)

    def call(self, operation: str, given: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Return the status and the body of an answer."""
        self.calls[operation] += 1
        if self.errors.get(operation):
            kind, message = self.errors[operation].pop(0)
            return 400, {"__type": kind, "message": message, "Message": message}
        answer: dict[str, Any] = getattr(self, f"_{operation}")(given)
        return 200, answer

    def _StartQueryExecution(self, given: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        self.inputs.append(given)
        name = f"00000000-0000-4000-8000-{len(self.inputs):012}"
        try:
            self._rows[name] = self.answer(given["QueryString"])
        except FailedError as failed:
            self._rows[name] = failed
        self._left[name] = self.looks or 0
        return {"QueryExecutionId": name}

    def _GetQueryExecution(self, given: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        name = given["QueryExecutionId"]
        found, status = self._rows[name], {"State": "RUNNING"}
        if self.looks is not None and self._left[name] <= 0:
            if isinstance(found, FailedError):
                error = {"ErrorCategory": found.category}
                status = {"State": found.state, "StateChangeReason": found.reason, "AthenaError": error}  # type: ignore[dict-item]
            else:
                status = {"State": "SUCCEEDED"}
        self._left[name] -= 1
        statistics = {"DataScannedInBytes": self.scanned}
        return {"QueryExecution": {"QueryExecutionId": name, "Status": status, "Statistics": statistics}}

    def _GetQueryResults(self, given: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        rows = self._rows[given["QueryExecutionId"]]
        assert isinstance(rows, list)
        start = int(given.get("NextToken", 0))
        page = rows[start : start + given["MaxResults"]]
        cells = [{"Data": [{} if text is None else {"VarCharValue": text} for text in row]} for row in page]
        answer: dict[str, Any] = {"ResultSet": {"Rows": cells, "ResultSetMetadata": {"ColumnInfo": []}}}
        if start + len(page) < len(rows):
            answer["NextToken"] = str(start + len(page))
        return answer

    def _StopQueryExecution(self, given: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        return {}


@contextmanager
def athena(api: AthenaAPI) -> Iterator[dict[str, str]]:
    """Serve the API; give the environment in which AWS's clients find it."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            given = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status, body = api.call(self.headers["X-Amz-Target"].rpartition(".")[2], given)
            _answer(self, status, json.dumps(body).encode(), "application/x-amz-json-1.1")

        def log_message(self, *_: Any) -> None:
            pass

    with _serving(Handler) as port:
        yield AWS | {"AWS_ENDPOINT_URL_ATHENA": f"http://127.0.0.1:{port}"}


@contextmanager
def endless_trino(*, status: int = 200, body: bytes | None = None) -> Iterator[tuple[int, list[str]]]:
    """Serve what answers as a Trino whose query goes on for ever, or with another status or text.

    :return: its port, and the methods and paths that it was asked for.
    """
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def _said(self) -> None:
            asked.append(f"{self.command} {self.path}")
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            where = f"http://{self.headers['Host']}/v1/statement"
            stats = {"state": "RUNNING", "completedSplits": 3, "totalSplits": 12, "physicalInputBytes": 7 * 10**9}
            page = {"id": "one", "infoUri": where, "nextUri": f"{where}/executing/one/1", "stats": stats}
            time.sleep(0.1)
            _answer(self, status, body if body is not None else json.dumps(page).encode(), "application/json")

        do_POST = do_GET = _said  # noqa: N815

        def do_DELETE(self) -> None:
            asked.append(f"{self.command} {self.path}")
            _answer(self, 204, b"", "application/json")

        def log_message(self, *_: Any) -> None:
            pass

    with _serving(Handler) as port:
        yield port, asked


def _answer(handler: BaseHTTPRequestHandler, status: int, body: bytes, kind: str) -> None:
    handler.send_response(status)
    handler.send_header("Content-Type", kind)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


@contextmanager
def _serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
