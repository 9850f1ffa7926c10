"""How a record lies in what was got: one table, tried from the outside in.

A record is an object with the fields that CloudTrail writes into every record. Whatever else is met is looked through
with the table: the first of its shapes that leads to a record is the one that is meant. Texts inside are read as files
are: JSON, several documents, base64, gzip.
"""

from __future__ import annotations

import io
import re
from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import chain
from typing import Any, NamedTuple

from keywatch.hunting.broken import Broken, Passed, Strange
from keywatch.hunting.columns import REQUIRED, plain_key, value_at
from keywatch.hunting.documents import documents
from keywatch.hunting.ocsf import MARK, PRODUCT, VERSION, wrong
from keywatch.hunting.unpacking import Unpacked
from keywatch.hunting.window import LARGEST

#: How deep shapes stand in each other; a message in a message in an array is three levels and more.
_DEEPEST = 48
#: A short text of these letters may be a word, and so is base64 only if it holds JSON, or blanks.
_BASE64, _SHORT = re.compile(r"[A-Za-z0-9+/\s]+={0,2}\s*"), 16


class Shape(NamedTuple):
    """A way in which records lie in something that is no record."""

    name: str
    #: Where it comes from: a command, a service, a product.
    got: str
    #: The dotted path, or paths, to what holds the records: arrays, objects and texts of JSON.
    at: tuple[str, ...]
    #: Turns what lies there into objects.
    rows: Callable[[Any], Any] | None = None


def _headed(rows: Any) -> Any:
    """Turn a table of cells, the first row of which has the names, into objects."""
    texts = [[cell.get("VarCharValue") for cell in row["Data"]] for row in rows]
    return [_filled(zip(texts[0], row, strict=True)) for row in texts[1:]]


def _merged(rows: Any) -> Any:
    """Turn rows of objects with a key each into objects."""
    return [_filled(pair for cell in row for pair in cell.items()) for row in rows]


def _named(rows: Any) -> Any:
    """Turn rows of fields, each with its name and value, into objects."""
    return [_filled((cell["field"], cell["value"]) for cell in row) for row in rows]


def _filled(pairs: Any) -> dict[str, Any]:
    return {key: value for key, value in pairs if value not in (None, "")}


#: Narrow ones first: what has `_raw` may have any other key.
SHAPES = (
    Shape("event of lookup-events", "`aws cloudtrail lookup-events`", ("CloudTrailEvent",)),
    Shape("CloudTrail Lake's event", "CloudTrail Lake, `SELECT eventJson`", ("eventJson", "eventjson", "eventData")),
    Shape("Splunk's event", "Splunk, Sumo Logic, Cribl: exports with the raw event", ("_raw",)),
    Shape("Elastic's original event", "Elastic's AWS integration, Filebeat", ("event.original",)),
    Shape("CloudTrail file", "AWS, an S3 bucket", ("Records",)),
    Shape("lookup-events", "`aws cloudtrail lookup-events`", ("Events",)),
    Shape("CloudTrail Lake's results", "`aws cloudtrail get-query-results`", ("QueryResultRows",), _merged),
    Shape("Athena's results", "`aws athena get-query-results`", ("ResultSet.Rows",), _headed),
    Shape("EventBridge event", "EventBridge, to any target", ("detail",)),
    Shape("Lambda event of CloudWatch Logs", "CloudWatch Logs, to Lambda", ("awslogs.data",)),
    Shape("CloudWatch Logs subscription", "CloudWatch Logs, to Kinesis or Firehose", ("logEvents",)),
    Shape("filter-log-events", "`aws logs filter-log-events`, `get-log-events`", ("events",)),
    Shape("Logs Insights' results", "`aws logs get-query-results`", ("results",), _named),
    Shape("SQS messages", "`aws sqs receive-message`", ("Messages",)),
    Shape("SQS message", "SQS, also as Lambda gets it", ("body", "Body")),
    Shape("SNS message", "SNS, also as Lambda gets it", ("Sns.Message", "Message")),
    Shape("Kinesis record", "Kinesis, Firehose, also as Lambda gets them", ("kinesis.data", "data", "Data")),
    Shape("Firehose records", "Firehose, to Lambda", ("records",)),
    Shape("Elastic search result", "Elasticsearch, OpenSearch: `_search`", ("hits.hits",)),
    Shape("Elastic document", "Elasticsearch, OpenSearch: `_search`, elasticdump", ("_source",)),
    Shape("Splunk result", "Splunk: `splunk search -output json`, REST", ("result", "results")),
    Shape("Splunk HEC event", "what is sent to Splunk's HTTP Event Collector", ("event",)),
    Shape("Datadog log", "Datadog: `/api/v2/logs/events`, archives", ("attributes.attributes", "attributes")),
    Shape("Datadog logs", "Datadog: `/api/v1/logs-queries/list`", ("logs", "content")),
    Shape("message", "Logstash, Fluent Bit, Vector, Docker and others", ("message", "@message", "log", "msg")),
)

#: What is passed over quietly, and counted: the path that it has, and the value there if that matters.
PASSED = (
    ("digest files", "digestS3Object", None),
    ("Insight events", "insightDetails", None),
    ("Insight events", "eventCategory", "Insight"),
    ("aggregated events", "eventCategory", "Aggregated"),
    ("AWS Config files", "configurationItems", None),
    ("control messages of CloudWatch Logs", "messageType", "CONTROL_MESSAGE"),
)
_PASSED_CATEGORIES = ("Insight", "Aggregated")

#: What is no CloudTrail record and known, so that it can be said what would be right.
KNOWN = (
    ("a notice that files were delivered; hunt through the files that it names", "s3ObjectKey"),
    ("an S3 event notification; hunt through the files that it names", "s3.object"),
    (
        "Elastic's own fields; export documents with event.original",
        "event.action",
    ),
)

#: What the first line of a table with records has one of: a column with whole events, or the name of each.
HEADINGS = frozenset(
    map(plain_key, ("eventName", "CloudTrailEvent", "eventJson", "_raw", "event.original", "message", "@message"))
)


def records(value: Any, depth: int = 0) -> Iterator[dict[str, Any] | Passed | Strange]:
    """Yield the records in a document, what is passed over, and what is not understood."""
    if depth > _DEEPEST:
        yield Strange("not a CloudTrail record: something in something else, over and over")
    elif isinstance(value, dict):
        yield from _of_object(value, depth)
    elif isinstance(value, list):
        for item in value:
            yield from records(item, depth + 1)
    elif isinstance(value, str):
        yield from _of_text(value, depth)
    else:
        yield _not_a_record(f"it is {value}")


def lacking(record: dict[str, Any]) -> list[str]:
    """Return the fields that CloudTrail writes into every record, and this one lacks; also as keys with dots."""
    return [name for name in REQUIRED if name not in record and not any(key.startswith(f"{name}.") for key in record)]


def _of_object(value: dict[str, Any], depth: int) -> Iterator[dict[str, Any] | Passed | Strange]:
    if all(name in value for name in REQUIRED) and value.get("eventCategory") not in _PASSED_CATEGORIES:
        if str(value["eventSource"]).startswith("aws:"):
            yield from (Strange(f"not a CloudTrail record: {what}") for what, path in KNOWN if _has(value, path))
            return
        yield value
        return
    if MARK in value and "_raw" not in value:
        yield wrong(value_at(value, PRODUCT), value_at(value, VERSION)) or value
        return
    for kind, path, wanted in PASSED:
        found = value_at(value, path.split("."))
        if found is not None and wanted in (None, found):
            yield Passed(kind)
            return
    strange: list[Strange] = []
    for name, inside in _insides(value):
        found, understood = _understood(records(inside, depth + 1))
        named = (Strange(f"{one.reason} (in {name})", one.detail) if isinstance(one, Strange) else one for one in found)
        if understood:
            yield from named
            return
        strange = strange or [one for one in named if isinstance(one, Strange)]
    known = next((what for what, path in KNOWN if _has(value, path)), None)
    if known is not None:
        yield Strange(f"not a CloudTrail record: {known}")
    elif any(plain_key(key) == "eventname" for key in value):
        yield value
    else:
        yield from _wrapped(value, depth) or strange or [_not_a_record(f"it has {', '.join(list(value)[:5])}")]


def _insides(value: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield what the shapes lead to."""
    for shape in SHAPES:
        for path in shape.at:
            inside = value_at(value, path.split("."))
            if not isinstance(inside, dict | list | str):
                continue
            if shape.rows is not None:
                try:
                    inside = shape.rows(inside)
                except (TypeError, ValueError, KeyError, AttributeError, IndexError):  # of another shape
                    continue
            yield shape.name, inside


def _wrapped(value: dict[str, Any], depth: int) -> list[dict[str, Any] | Passed | Strange]:
    """Look through an object of a shape that the table lacks: the first key that leads to records is the one."""
    for inside in value.values():
        if isinstance(inside, dict | list) or (isinstance(inside, str) and inside.lstrip().startswith(("{", "["))):
            found, understood = _understood(records(inside, depth + 1))
            if understood and (good := [one for one in found if not isinstance(one, Strange)]):
                return good
    return []


def _understood(found: Iterator[Any]) -> tuple[Iterator[Any], bool]:
    """Return what was found, and whether it is nothing, or something is understood in it."""
    strange: list[Any] = []
    for one in found:
        strange.append(one)
        if not isinstance(one, Strange):
            return chain(strange, found), True
    return iter(strange), not strange


def _not_a_record(detail: str) -> Strange:
    return Strange("not a CloudTrail record, which is an object with eventName", detail[:120])


def _of_text(text: str, depth: int) -> Iterator[dict[str, Any] | Passed | Strange]:
    data = text.encode()
    if _BASE64.fullmatch(text):
        with suppress(ValueError):  # of a length that base64 has not
            inner = b64decode(text)
            data = inner if len(text) >= _SHORT or inner.lstrip()[:1] in b"{[" else data
    inside = Unpacked(io.BytesIO(data), LARGEST)
    for _, document in documents(inside.read, HEADINGS):
        if isinstance(document, Broken):
            yield Strange(*document)
        else:
            yield from records(document, depth + 1)
    if inside.problem:
        yield Strange(f"a text {inside.problem}")


def _has(value: dict[str, Any], path: str) -> bool:
    return value_at(value, path.split(".")) is not None
