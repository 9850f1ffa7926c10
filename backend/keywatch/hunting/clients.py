"""The engines that a hunt can ask: Trino and Athena, through the clients that people use."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from threading import Thread
from typing import Any, Protocol
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from keywatch.ending import cleaning
from keywatch.errors import UserError
from keywatch.hunting.statements import Texts
from keywatch.words import nothing_called

#: Rows that are taken from an engine at a time; of Athena it is the most that its API gives.
_ROWS = 1000
#: Seconds between two looks at a query of Athena's, and those that cancelling one may take.
_POLL, _CANCELLING = 0.5, 5
_ADDRESSES = "trino://user@host:port/catalog/schema or athena://database?workgroup=name"
#: Trino's names of errors that a statement causes by its size, whosever fault they are called: in 483 the first is the
#: user's, and what came before it had the second, which is Trino's own.
_OF_ITS_SIZE = frozenset({"QUERY_EXCEEDED_COMPILER_LIMIT", "COMPILER_ERROR"})
#: How Athena numbers errors that are the user's (API reference, AthenaError).
_USER = 2

#: Is told how far a query is: in words, and in bytes that were read.
Told = Callable[[str, int], object]


class RefusedError(Exception):
    """An engine can't run a statement for what stands in it."""


class Client(Protocol):
    """An engine, as a hunt asks it."""

    #: What it is called in messages.
    name: str
    #: Whether bytes that it reads cost money.
    charges: bool

    def running(self, statement: str, told: Told) -> AbstractContextManager[Iterator[list[Texts]]]:
        """Run a statement; give its rows, some at a time. It is cancelled if the block is left before its end.

        :raises RefusedError: here or while rows are taken, if what is wrong may stand in the statement.
        :raises UserError: as well, for all else that goes wrong.
        """


def client_of(address: str) -> Client:
    """Return the engine that an address names.

    :raises UserError: for what is no address, without repeating it: somebody may have put a password into it.
    """
    what = "that is no address of an engine"
    try:
        parts = urlsplit(address)
        if parts.password is not None:
            what = "it holds a password, which others see on a command line; Trino's is taken from TRINO_PASSWORD"
        elif parts.scheme not in _CLIENTS:
            what = nothing_called("engine", parts.scheme, _CLIENTS)
        else:
            return _CLIENTS[parts.scheme](parts)
    except ValueError:  # what urllib finds no address, nor an engine one of its own
        pass
    raise UserError(f"--on: {what}; addresses are {_ADDRESSES}")


class _Trino:
    charges = False

    def __init__(self, address: SplitResult) -> None:
        user, (_, *path) = unquote(address.username or ""), map(unquote, (address.path or "/").split("/"))
        if not (user and address.hostname and len(path) == 2 and all(path)) or address.query or address.fragment:  # noqa: PLR2004
            raise ValueError
        with _installed("trino"):
            import trino
        self.name = f"Trino at {address.netloc.rpartition('@')[2]}"
        self._errors = trino.exceptions
        password = os.environ.get("TRINO_PASSWORD")
        self._connection = trino.dbapi.Connection(
            host=address.hostname,
            port=address.port,
            user=user,
            source="keywatch",
            catalog=path[0],
            schema=path[1],
            http_scheme="https" if password or address.port == trino.constants.DEFAULT_TLS_PORT else "http",
            auth=trino.auth.BasicAuthentication(user, password) if password else None,
            timezone="UTC",
        )

    @contextmanager
    def running(self, statement: str, told: Told) -> Iterator[Iterator[list[Texts]]]:
        def hear(stats: dict[str, Any]) -> None:
            splits = f"{stats.get('completedSplits', 0)} of {stats.get('totalSplits', 0)} splits"
            # What a connector reads from memory is no input from outside.
            told(f"{stats.get('state')}, {splits}", stats.get("physicalInputBytes") or stats.get("processedBytes", 0))

        cursor = self._connection.cursor(stats_callback=hear)
        with _cancelled_at_end(cursor.cancel):
            with self._said():
                cursor.execute(statement)
            yield self._rows(cursor)

    def _rows(self, cursor: Any) -> Iterator[list[Texts]]:
        while True:
            with self._said():
                rows = cursor.fetchmany(_ROWS)
            if not rows:
                return
            yield rows

    @contextmanager
    def _said(self) -> Generator[None, None, None]:
        """Say in a line what the client says in its exceptions."""
        import requests

        try:
            yield
        except self._errors.TrinoQueryError as error:
            if error.error_type == "USER_ERROR" or error.error_name in _OF_ITS_SIZE:
                raise RefusedError(error.message) from error
            raise UserError(f"{self.name}: {error.message}") from error
        except (self._errors.Error, self._errors.HttpError, requests.RequestException) as error:
            raise UserError(f"{self.name}: {_root(error)}") from error
        except (LookupError, TypeError, ValueError) as error:  # the client takes what it gets for Trino's
            raise UserError(f"{self.name}: what answers there is no Trino") from error


class _Athena:
    name = "Athena"
    charges = True

    def __init__(self, address: SplitResult) -> None:
        options = dict(parse_qsl(address.query, keep_blank_values=True, strict_parsing=bool(address.query)))
        if not address.netloc or {"@", ":"} & {*address.netloc} or address.path.strip("/") or address.fragment:
            raise ValueError
        if unknown := options.keys() - {"workgroup"}:
            raise UserError(f"--on: {nothing_called('option of Athena', min(unknown), ['workgroup'])}")
        with _installed("athena", "boto3"):
            import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError, ClientError

        self._errors: Any = (BotoCoreError, ClientError)
        self._where: dict[str, Any] = {"QueryExecutionContext": {"Database": unquote(address.netloc)}}
        if "workgroup" in options:
            self._where["WorkGroup"] = options["workgroup"]
        with self._said():
            config = Config(retries={"mode": "standard", "max_attempts": 6})
            self._athena = boto3.Session().client("athena", config=config)

    @contextmanager
    def running(self, statement: str, told: Told) -> Iterator[Iterator[list[Texts]]]:
        with self._said():
            try:
                started = self._athena.start_query_execution(QueryString=statement, **self._where)
            except self._athena.exceptions.InvalidRequestException as error:  # it was parsed already
                raise RefusedError(error.response["Error"]["Message"]) from error
        query = {"QueryExecutionId": started["QueryExecutionId"]}
        with _cancelled_at_end(partial(self._athena.stop_query_execution, **query)):
            status = self._ended(query, told)
        if status["State"] != "SUCCEEDED":
            reason = status.get("StateChangeReason") or "no reason is given"
            of_user = status.get("AthenaError", {}).get("ErrorCategory") == _USER
            if status["State"] == "FAILED" and (of_user or reason.partition(":")[0] in _OF_ITS_SIZE):
                raise RefusedError(reason)
            raise UserError(f"Athena: the query has {status['State']}: {reason}")
        yield self._rows(query)

    def _ended(self, query: dict[str, str], told: Told) -> dict[str, Any]:
        """Wait until a query has ended; return its status."""
        while True:
            with self._said():
                execution = self._athena.get_query_execution(**query)["QueryExecution"]
            status: dict[str, Any] = execution["Status"]
            told(status["State"], execution.get("Statistics", {}).get("DataScannedInBytes", 0))
            if status["State"] not in ("QUEUED", "RUNNING"):
                return status
            time.sleep(_POLL)

    def _rows(self, query: dict[str, str]) -> Iterator[list[Texts]]:
        with self._said():
            paginator = self._athena.get_paginator("get_query_results")
            pages = iter(paginator.paginate(**query, PaginationConfig={"PageSize": _ROWS}))
        number = 0
        while True:
            with self._said():
                page = next(pages, None)
            if page is None:
                return
            rows = [[cell.get("VarCharValue") for cell in row["Data"]] for row in page["ResultSet"]["Rows"]]
            yield rows if number else rows[1:]  # the first row has the columns' names
            number += 1

    @contextmanager
    def _said(self) -> Generator[None, None, None]:
        try:
            yield
        except self._errors as error:
            raise UserError(f"Athena: {error}") from error


#: Scheme of an address → what asks the engine.
_CLIENTS: dict[str, Callable[[SplitResult], Client]] = {"trino": _Trino, "athena": _Athena}


@contextmanager
def _installed(extra: str, package: str | None = None) -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        what = f"the package {package or extra}, which is not installed"
        raise UserError(f"--on {extra}://… needs {what}; the extra keywatch[{extra}] brings it") from error


@contextmanager
def _cancelled_at_end(cancel: Callable[[], object]) -> Iterator[None]:
    """Cancel a query when an exception leaves the block, or a signal ends the program."""

    def in_time() -> None:
        # A signal may come while the client holds a lock that cancelling takes, too.
        thread = Thread(target=quietly, daemon=True)
        thread.start()
        thread.join(_CANCELLING)

    def quietly() -> None:
        with suppress(Exception):
            cancel()

    with cleaning(in_time):
        try:
            yield
        except BaseException:
            quietly()
            raise


def _root(error: BaseException) -> str:
    """Return the cause of all causes in words, such as `Connection refused`."""
    while (
        cause := error.__cause__ or error.__context__ or next((a for a in error.args if isinstance(a, Exception)), None)
    ):
        error = cause
    return getattr(error, "strerror", None) or str(error)
