"""The shapes in which people hold CloudTrail, as functions from events to the bytes of a file."""

from __future__ import annotations

import base64
import csv
import gzip
import io
import json
from collections.abc import Callable
from typing import Any

import ocsf

Event = dict[str, Any]
#: The numbers of services, of no account.
_QUEUE = "arn:aws:sqs:us-east-1:111122223333:trail"


def compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def lines(values: list[Any]) -> bytes:
    return "".join(compact(value) + "\n" for value in values).encode()


def table(names: list[str], rows: list[list[str]], delimiter: str = ",") -> bytes:
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter).writerows([names, *rows])
    return text.getvalue().encode()


def packed(value: Any) -> str:
    return base64.b64encode(gzip.compress(compact(value).encode())).decode()


def looked_up(event: Event) -> Event:
    return {
        "EventId": event["eventID"], "EventName": event["eventName"], "ReadOnly": "true",
        "EventTime": "2026-11-10T10:00:00Z", "EventSource": event["eventSource"], "Username": "mallory",
        "Resources": [{"ResourceType": "AWS::IAM::User", "ResourceName": "mallory"}], "CloudTrailEvent": compact(event),
    }  # fmt: skip


def bridged(event: Event) -> Event:
    return {
        "version": "0", "id": "0", "detail-type": "AWS API Call via CloudTrail", "source": "aws.ec2",
        "account": "111122223333", "time": "2026-11-10T10:00:00Z", "region": "us-east-1", "resources": [],
        "detail": event,
    }  # fmt: skip


def notified(message: str) -> Event:
    return {"Type": "Notification", "MessageId": "0", "TopicArn": "arn:aws:sns:us-east-1:1:t", "Message": message}


def queued(body: str) -> Event:
    return {"Messages": [{"MessageId": "0", "ReceiptHandle": "0", "MD5OfBody": "0", "Body": body}]}


def subscribed(events: list[Event]) -> Event:
    return {
        "messageType": "DATA_MESSAGE", "owner": "111122223333", "logGroup": "trail", "logStream": "x",
        "subscriptionFilters": ["x"],
        "logEvents": [{"id": str(i), "timestamp": 1, "message": compact(event)} for i, event in enumerate(events)],
    }  # fmt: skip


def flat(value: Event, prefix: str = "") -> Event:
    found: Event = {}
    for key, inside in value.items():
        if isinstance(inside, dict):
            found |= flat(inside, f"{prefix}{key}.")
        else:
            found[prefix + key] = inside
    return found


def lower(value: Any) -> Any:
    if isinstance(value, dict):
        return {key.lower(): lower(inside) for key, inside in value.items()}
    return value


def text_lines(events: list[Event]) -> bytes:
    """Write what `aws cloudtrail lookup-events --output text` prints."""
    found = []
    for event in events:
        columns = ["EVENTS", "AKIA", compact(event), event["eventID"], event["eventName"], "source", "1794304800.0"]
        found += ["\t".join(columns), "RESOURCES\tmallory\tAWS::IAM::User"]
    return "\n".join(found).encode()


def athena_rows(events: list[Event]) -> Event:
    rows = [["eventjson"], *([compact(event)] for event in events)]
    cells = [{"Data": [{"VarCharValue": cell} for cell in row]} for row in rows]
    return {"ResultSet": {"Rows": cells, "ResultSetMetadata": {"ColumnInfo": [{"Name": "eventjson"}]}}}


def elastic(events: list[Event]) -> list[Event]:
    return [{"_index": "logs", "_id": event["eventID"], "_source": event} for event in events]


def original(event: Event) -> Event:
    return {"@timestamp": "x", "event": {"action": event["eventName"], "original": compact(event)}, "aws": {"x": 1}}


#: Each takes events, and gives the bytes of a file.
SHAPES: dict[str, Callable[[list[Event]], bytes]] = {
    "AWS": lambda es: compact({"Records": es}).encode(),
    "AWS, packed": lambda es: gzip.compress(compact({"Records": es}).encode()),
    "AWS, packed twice": lambda es: gzip.compress(gzip.compress(compact({"Records": es}).encode())),
    "AWS, indented": lambda es: json.dumps({"Records": es}, indent=4).encode(),
    "AWS, indented by nothing": lambda es: json.dumps({"Records": es}, indent=0).encode(),
    "AWS, a record a line": lambda es: ('{"Records": [\n' + ",\n".join(map(compact, es)) + "\n]}\n").encode(),
    "array": lambda es: json.dumps(es).encode(),
    "array of files": lambda es: compact([{"Records": [e]} for e in es]).encode(),
    "array of arrays": lambda es: compact([[e] for e in es]).encode(),
    "lines": lines,
    "lines, with a mark": lambda es: b"\xef\xbb\xbf" + lines(es),
    "lines, each with a mark": lambda es: b"".join(b"\xef\xbb\xbf" + lines([e]) for e in es),
    "lines, CRLF": lambda es: lines(es).replace(b"\n", b"\r\n"),
    "lines, CR": lambda es: lines(es).replace(b"\n", b"\r"),
    "lines, UTF-16": lambda es: lines(es).decode().encode("utf-16"),
    "lines, UTF-16 without a mark": lambda es: lines(es).decode().encode("utf-16-le"),
    "lines of arrays": lambda es: lines([[e] for e in es]),
    "lines of files": lambda es: lines([{"Records": [e]} for e in es]),
    "lines of texts": lambda es: lines([compact(e) for e in es]),
    "JSON text sequence": lambda es: b"".join(b"\x1e" + lines([e]) for e in es),
    "one after another": lambda es: "".join(map(compact, es)).encode(),
    "one after another, with spaces": lambda es: " ".join(map(compact, es)).encode(),
    "one after another, indented": lambda es: "\n".join(json.dumps(e, indent=2) for e in es).encode(),
    "files one after another": lambda es: "".join(compact({"Records": [e]}) for e in es).encode(),
    "files one after another, indented": lambda es: "\n".join(json.dumps({"Records": [e]}, indent=1) for e in es).encode(),
    "gzip members": lambda es: b"".join(gzip.compress(compact(e).encode()) for e in es),
    "lookup-events": lambda es: json.dumps({"Events": list(map(looked_up, es)), "NextToken": "x"}, indent=4).encode(),
    "lookup-events, queried for events": lambda es: json.dumps([compact(e) for e in es], indent=4).encode(),
    "lookup-events, queried for an array": lambda es: compact(list(map(looked_up, es))).encode(),
    "lookup-events, as text": text_lines,
    "lookup-events, queried as text": lambda es: "\t".join(map(compact, es)).encode() + b"\n",
    "EventBridge": lambda es: lines(list(map(bridged, es))),
    "EventBridge, one after another": lambda es: "".join(compact(bridged(e)) for e in es).encode(),
    "SNS": lambda es: lines([notified(compact(e)) for e in es]),
    "SNS, of EventBridge": lambda es: lines([notified(compact(bridged(e))) for e in es]),
    "SQS": lambda es: lines([queued(compact(e)) for e in es]),
    "SQS, of SNS": lambda es: lines([queued(compact(notified(compact(e)))) for e in es]),
    "SQS, of SNS of EventBridge": lambda es: lines([queued(compact(notified(compact(bridged(e))))) for e in es]),
    "SQS, to Lambda": lambda es: compact(
        {"Records": [{"messageId": "0", "body": compact(e), "eventSource": "aws:sqs", "eventSourceARN": _QUEUE} for e in es]}
    ).encode(),
    "SNS, to Lambda": lambda es: compact(
        {"Records": [{"EventSource": "aws:sns", "Sns": {"Type": "Notification", "Message": compact(e)}} for e in es]}
    ).encode(),
    "Kinesis, to Lambda": lambda es: compact(
        {"Records": [{"eventName": "aws:kinesis:record", "eventSource": "aws:kinesis", "awsRegion": "us-east-1",
                      "kinesis": {"data": base64.b64encode(compact(e).encode()).decode()}} for e in es]}
    ).encode(),
    "Kinesis": lambda es: compact({"Records": [{"Data": packed(subscribed([e])), "PartitionKey": "0"} for e in es]}).encode(),
    "CloudWatch Logs subscription": lambda es: compact(subscribed(es)).encode(),
    "CloudWatch Logs, through Firehose": lambda es: gzip.compress(
        b"".join(gzip.compress(compact(subscribed([e])).encode()) for e in es)
    ),
    "CloudWatch Logs, to Lambda": lambda es: compact({"awslogs": {"data": packed(subscribed(es))}}).encode(),
    "CloudWatch Logs, filter-log-events": lambda es: json.dumps(
        {"events": subscribed(es)["logEvents"], "searchedLogStreams": []}, indent=4
    ).encode(),
    "CloudWatch Logs, export task": lambda es: "".join(f"2026-11-10T10:00:00.000Z {compact(e)}\n" for e in es).encode(),
    "CloudWatch Logs, Insights": lambda es: compact(
        {"results": [[{"field": "@message", "value": compact(e)}, {"field": "@ptr", "value": "x"}] for e in es]}
    ).encode(),
    "CloudWatch Logs, Insights' CSV": lambda es: table(["@timestamp", "@message"], [["x", compact(e)] for e in es]),
    "Elastic search result": lambda es: compact({"took": 1, "hits": {"total": {"value": 1}, "hits": elastic(es)}}).encode(),
    "Elastic documents": lambda es: lines(elastic(es)),
    "Elastic, event.original": lambda es: lines([original(e) for e in es]),
    "Elastic, event.original in _source": lambda es: lines([{"_source": original(e)} for e in es]),
    "Elastic, event.original with a dot": lambda es: lines([{"event.original": compact(e)} for e in es]),
    "Splunk, JSON": lambda es: lines([{"preview": False, "result": {"_raw": compact(e), "_time": "x"}} for e in es]),
    "Splunk, REST": lambda es: compact({"preview": False, "results": [{"_raw": compact(e)} for e in es]}).encode(),
    "Splunk, CSV": lambda es: table(["_time", "_raw"], [["x", compact(e)] for e in es]),
    "Splunk, HEC": lambda es: "".join(compact({"sourcetype": "aws:cloudtrail", "event": e}) for e in es).encode(),
    "Datadog": lambda es: compact(
        {"data": [{"id": "0", "attributes": {"service": "cloudtrail", "attributes": e}} for e in es], "meta": {}}
    ).encode(),
    "Datadog archive": lambda es: lines([{"_id": "0", "service": "cloudtrail", "attributes": e, "message": "x"} for e in es]),
    "message": lambda es: lines([{"@timestamp": "x", "message": compact(e)} for e in es]),
    "Docker": lambda es: lines([{"log": compact(e) + "\n", "stream": "stdout"} for e in es]),
    "syslog": lambda es: "".join(f"<134>Nov 10 10:00:00 host trail[1]: {compact(e)}\n" for e in es).encode(),
    "CloudTrail Lake, eventJson": lambda es: compact({"QueryResultRows": [[{"eventJson": compact(e)}] for e in es]}).encode(),
    "CloudTrail Lake, CSV": lambda es: table(["eventJson"], [[compact(e)] for e in es]),
    "Security Lake, lines": ocsf.lines,
    "Security Lake, an array": lambda es: b"[" + b",".join(ocsf.lines(es).splitlines()) + b"]",
    "Athena, CSV": lambda es: table(["eventjson", "n"], [[compact(e), "1"] for e in es]),
    "Athena, get-query-results": lambda es: json.dumps(athena_rows(es), indent=4).encode(),
    "semicolons": lambda es: table(["n", "_raw"], [["1", compact(e)] for e in es], ";"),
    "an unknown wrapper": lambda es: lines([{"v": 1, "payload": {"x": [1], "inner": compact([e])}} for e in es]),
    "keys with dots": lambda es: lines([flat(e) for e in es]),
    "keys in lower case": lambda es: lines([lower(e) for e in es]),
    "userIdentity as text": lambda es: lines([e | {"userIdentity": compact(e["userIdentity"])} for e in es]),
    "userIdentity as text, in a file": lambda es: compact(
        {"Records": [e | {"userIdentity": compact(e["userIdentity"])} for e in es]}
    ).encode(),
    "keys with dots, in a file": lambda es: compact({"Records": [flat(e) for e in es]}).encode(),
}  # fmt: skip

#: Each takes the bytes of a file, and wraps them in something else.
WRAPPINGS: dict[str, Callable[[bytes], bytes]] = {
    "packed": gzip.compress,
    "with blanks around": lambda data: f"\n \t{data.decode()}\r\n\n".encode(),
    "SNS": lambda data: compact(notified(data.decode())).encode(),
    "SQS, of SNS": lambda data: compact(queued(compact(notified(data.decode())))).encode(),
    "message": lambda data: compact({"message": data.decode()}).encode(),
    "base64": lambda data: compact({"records": [{"recordId": "0", "data": base64.b64encode(data).decode()}]}).encode(),
    "UTF-16": lambda data: data.decode().encode("utf-16"),
}
