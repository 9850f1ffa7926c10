"""KQL, checked by Microsoft's language service, and executed over its tree as Kusto's documentation says."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, ClassVar

import sigma.pipelines.keywatch.sentinel
from sigma.pipelines.keywatch._fields import FieldTable

from engines import Engine, Event, Kept, value_of
from programs import npm

_ISSUER = "userIdentity.sessionContext.sessionIssuer"
#: Column → path in a record; what is not a text in the record stays what it is.
_COLUMNS = {
    "TimeGenerated": "eventTime",
    "AWSRegion": "awsRegion",
    "AwsEventId": "eventID",
    "Category": "eventCategory",
    "ErrorCode": "errorCode",
    "ErrorMessage": "errorMessage",
    "EventName": "eventName",
    "EventSource": "eventSource",
    "EventTypeName": "eventType",
    "ManagementEvent": "managementEvent",
    "ReadOnly": "readOnly",
    "RecipientAccountId": "recipientAccountId",
    "SourceIpAddress": "sourceIPAddress",
    "UserAgent": "userAgent",
    "UserIdentityAccessKeyId": "userIdentity.accessKeyId",
    "UserIdentityArn": "userIdentity.arn",
    "UserIdentityType": "userIdentity.type",
    "UserIdentityUserName": "userIdentity.userName",
    "UserIdentityPrincipalid": "userIdentity.principalId",
    "SessionIssuerArn": f"{_ISSUER}.arn",
    "SessionIssuerUserName": f"{_ISSUER}.userName",
}


class Kusto(Kept):
    """The program, running, with the rows of AWSCloudTrail."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        """Take its process."""
        self._process = process

    def clear(self) -> None:
        """Take all rows away."""
        self._take(None)

    def add(self, events: list[Event]) -> None:
        """Add rows."""
        self._take([*map(stored, events)])

    def _take(self, rows: list[Event] | None) -> None:
        problems = self._say({"rows": rows})["problems"]
        assert not problems, problems

    def ask(self, query: str, *, run: bool = False) -> dict[str, Any]:
        """Return what it says of a query: problems, columns, and the result if it shall run."""
        return self._say({"query": query, "run": run})

    def _say(self, message: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(message) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer


class Sentinel(Engine):
    """The queries of the analytics rules."""

    name = "KQL on Microsoft's parser, as documented"
    target = "sentinel"
    output_format = "kql"
    principal = "UserIdentityArn"
    event = "AwsEventId"
    region = "AWSRegion"
    agent = "UserAgent"
    unsupported: ClassVar[frozenset[str]] = frozenset(
        {
            "aws_cloudtrail_bedrock_model_access_temporary_credentials",
            "aws_cloudtrail_bedrock_model_access_user_session",
            "correlation_aws_bedrock_call_multi_region_user_session",
            "correlation_aws_bedrock_catalogue_then_invocation_temporary_credentials",
            "correlation_aws_bedrock_many_models",
            "correlation_aws_bedrock_model_access_multi_region_temporary_credentials",
            "correlation_aws_denied_enumeration_multi_region_user_session",
        }
    )

    def __init__(self, kusto: Kusto) -> None:
        """Take the program."""
        self.kusto = kusto

    def rows(self, query: str, events: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Run a query."""
        self.kusto.load(events)
        answer = self.kusto.ask(query, run=True)
        assert not answer["problems"], answer["problems"]
        rows: list[dict[str, Any]] = answer["rows"]
        return rows


@cache
def _plain() -> dict[str, str]:
    """Return column → CloudTrail's name, of the columns that hold a value as it is."""
    fields = FieldTable.beside(sigma.pipelines.keywatch.sentinel.__file__).fields
    return {column: name for name, column in fields.items() if column and column.isidentifier()}


@cache
def _objects() -> dict[str, str]:
    """Return column → CloudTrail's name, of the columns that hold an object as a JSON text."""
    objects = FieldTable.beside(sigma.pipelines.keywatch.sentinel.__file__).objects
    return {entry["shown"]: name for name, entry in objects.items()}


def stored(event: dict[str, Any]) -> dict[str, Any]:
    """Return a row of AWSCloudTrail."""
    row = {column: value_of(event, path) for column, path in (_plain() | _COLUMNS).items()}
    texts = {column: json.dumps(event[name]) for column, name in _objects().items() if event.get(name) is not None}
    return {column: value for column, value in (row | texts).items() if value is not None}


@contextmanager
def running() -> Iterator[Kusto]:
    """Start the program, with what it needs from npm."""
    command = ["node", str(npm.SOURCE / "kusto.js"), str(npm.kusto())]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Kusto(process)
