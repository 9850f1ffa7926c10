"""A real Elasticsearch node, and CloudTrail records as Elastic's AWS integration stores them.

The node comes from Maven Central and runs on Java 17 or later; `elasticsearch/` beside this file says how. Where
ELASTICSEARCH_URL is set, that node is used instead.
"""

from __future__ import annotations

import ipaddress
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from sigma.backends.keywatch.elasticsearch.sliding import grain

from engines import Event, Indexed, Kept, Row, time_of, value_of
from engines.node import Node, started
from oracle import values_of
from programs import maven

PATTERN = "logs-aws.cloudtrail-*"
INDEX = "logs-aws.cloudtrail-keywatch_tests"
TEMPLATE = "keywatch_tests"

#: Fields that are no keywords. constant_keyword and match_only_text, which this node lacks, are used by none of ours.
_TYPES = {"@timestamp": "date", "aws.cloudtrail.read_only": "boolean", "source.ip": "ip"}
_FLATTENED = {
    "requestParameters": "request_parameters",
    "responseElements": "response_elements",
    "additionalEventData": "additional_eventdata",
    "serviceEventDetails": "service_event_details",
}
_ISSUER = "userIdentity.sessionContext.sessionIssuer"
_STORED_ISSUER = "aws.cloudtrail.user_identity.session_context.session_issuer"
_RENAMED = {
    "apiVersion": "aws.cloudtrail.api_version",
    "sharedEventID": "aws.cloudtrail.shared_event_id",
    f"{_ISSUER}.accountId": f"{_STORED_ISSUER}.account_id",
    f"{_ISSUER}.principalId": f"{_STORED_ISSUER}.principal_id",
    "eventVersion": "aws.cloudtrail.event_version",
    "userIdentity.type": "aws.cloudtrail.user_identity.type",
    "userIdentity.userName": "user.name",
    "userIdentity.principalId": "user.id",
    "userIdentity.arn": "aws.cloudtrail.user_identity.arn",
    "userIdentity.accessKeyId": "aws.cloudtrail.user_identity.access_key_id",
    "userIdentity.invokedBy": "aws.cloudtrail.user_identity.invoked_by",
    "userIdentity.sessionContext.attributes.mfaAuthenticated": (
        "aws.cloudtrail.user_identity.session_context.mfa_authenticated"
    ),
    f"{_ISSUER}.type": f"{_STORED_ISSUER}.type",
    f"{_ISSUER}.arn": f"{_STORED_ISSUER}.arn",
    f"{_ISSUER}.userName": "user.name",
    "eventSource": "event.provider",
    "eventName": "event.action",
    "eventCategory": "aws.cloudtrail.event_category",
    "awsRegion": "cloud.region",
    "sourceIPAddress": "source.address",
    "userAgent": "user_agent.original",
    "errorCode": "aws.cloudtrail.error_code",
    "errorMessage": "aws.cloudtrail.error_message",
    "requestID": "aws.cloudtrail.request_id",
    "eventID": "event.id",
    "eventType": "aws.cloudtrail.event_type",
    "managementEvent": "aws.cloudtrail.management_event",
    "readOnly": "aws.cloudtrail.read_only",
    "recipientAccountId": "aws.cloudtrail.recipient_account_id",
    "sessionCredentialFromConsole": "aws.cloudtrail.session_credential_from_console",
    "vpcEndpointId": "aws.cloudtrail.vpc_endpoint_id",
    "tlsDetails.clientProvidedHostHeader": "tls.client.server_name",
}
_RESOURCES = {
    "resources.ARN": "aws.cloudtrail.resources.arn",
    "resources.accountId": "aws.cloudtrail.resources.account_id",
    "resources.type": "aws.cloudtrail.resources.type",
}


class Elasticsearch(Node, Kept):
    """An Elasticsearch node with CloudTrail."""

    def clear(self) -> None:
        """Create the index anew."""
        self.call("DELETE", f"/{INDEX}?ignore_unavailable=true")
        names = dict.fromkeys([*_RENAMED.values(), *_RESOURCES.values(), "aws.cloudtrail.request_parameters", *_TYPES])
        properties: dict[str, Any] = {
            name: {"type": _TYPES[name]} if name in _TYPES else {"type": "keyword", "ignore_above": 1024}
            for name in names
        }
        for name in _FLATTENED.values():
            properties[f"aws.cloudtrail.{name}"] = {"type": "keyword", "ignore_above": 8191}
            properties[f"aws.cloudtrail.flattened.{name}"] = {"type": "flattened"}
        # Elasticsearch's own template for logs-*-* would make a data stream of it.
        self.call("PUT", f"/_index_template/{TEMPLATE}", {"index_patterns": [INDEX], "priority": 500})
        settings = {"number_of_shards": 1, "number_of_replicas": 0}
        self.call("PUT", f"/{INDEX}", {"settings": settings, "mappings": {"dynamic": False, "properties": properties}})

    def add(self, events: list[Event]) -> None:
        """Add records, stored as the integration does."""
        assert not self.fill(INDEX, map(as_stored, events))

    def query(self, esql: str, start: float | None = None, end: float | None = None) -> list[dict[str, Any]]:
        """Run an ES|QL query, over a range of time as Kibana's rule executor does: a filter on @timestamp.

        :param start, end: Unix times, both included.
        """
        body: dict[str, Any] = {"query": esql}
        if start is not None:
            bounds = {"gte": int(start * 1000), "lte": int((end or 0) * 1000), "format": "epoch_millis"}
            body["filter"] = {"range": {"@timestamp": bounds}}
        answer = self.call("POST", "/_query", body)
        names = [column["name"] for column in answer["columns"]]
        return [dict(zip(names, row, strict=True)) for row in answer["values"]]


class ESQL(Indexed):
    """The queries of the Kibana rules, as ES|QL on a real node."""

    name = "ES|QL on Elasticsearch"
    target = "elasticsearch"
    output_format = "esql"
    principal = "aws.cloudtrail.user_identity.arn"
    event = "event.id"
    region = "cloud.region"
    agent = "user_agent.original"

    def __init__(self, node: Elasticsearch) -> None:
        """Take a node."""
        self.node = self.kept = node

    def slack(self, window: int) -> int:
        """Return the grain that time is quantised to."""
        return grain(window)

    def over(self, query: Any, events: list[Event]) -> list[Row]:
        """Run a query over the time from the first to the last event."""
        times = [*map(time_of, events)]
        return self.node.query(query, min(times), max(times))


class Lucene(ESQL):
    """Lucene queries on a real node, for rules of single events."""

    name = "Lucene on Elasticsearch"
    output_format = "lucene"
    cased = True

    def over(self, query: Any, events: list[Event]) -> list[Row]:
        """Search all that is loaded, with the query as Kibana's search bar sends it."""
        body = {"query": {"query_string": {"query": query, "analyze_wildcard": True}}, "size": 10_000}
        answer = self.node.call("POST", f"/{INDEX}/_search", body | {"_source": ["event.id"]})
        return [hit["_source"] for hit in answer["hits"]["hits"]]


def as_stored(record: dict[str, Any]) -> dict[str, Any]:
    """Return a document as the integration's ingest pipeline makes it of a record: nulls and empty texts dropped."""
    clean = _drop_empty(record) or {}
    document: dict[str, Any] = {
        "@timestamp": clean.get("eventTime"),
        "cloud.account.id": clean.get("recipientAccountId"),
    }
    for raw, name in _RENAMED.items():
        value = value_of(clean, raw)
        if value is not None:
            document[name] = value
    document |= {name: values for raw, name in _RESOURCES.items() if (values := values_of(clean, raw))}
    for raw, name in _FLATTENED.items():
        if raw in clean:
            document[f"aws.cloudtrail.{name}"] = _java(clean[raw])
            document[f"aws.cloudtrail.flattened.{name}"] = clean[raw]
    with suppress(ValueError):
        document["source.ip"] = str(ipaddress.ip_address(document.get("source.address", "")))
    return document


def missing() -> list[str]:
    """Return the programs that starting a node needs and that are not there."""
    return [] if os.environ.get("ELASTICSEARCH_URL") else maven.missing("elasticsearch")


@contextmanager
def running() -> Iterator[Elasticsearch]:
    """Start a node on a free loopback port, and stop it; or take the one that ELASTICSEARCH_URL names.

    Nothing is left behind, even if this process is killed: the node ends, and removes its folder, when its standard
    input is closed.
    """
    if url := os.environ.get("ELASTICSEARCH_URL"):
        yield from _own(Elasticsearch(url))
        return
    classes = maven.build("elasticsearch")
    with started(classes, "org.elasticsearch.node.LocalElasticsearch", "LOCAL_ELASTICSEARCH_STARTED") as url:
        yield Elasticsearch(url)


def _own(node: Elasticsearch) -> Iterator[Elasticsearch]:
    """Take a user's node: one without CloudTrail, since the queries would find that too, and leave it as it was."""
    there = node.call("GET", f"/_resolve/index/{PATTERN}")
    names = [entry["name"] for entry in [*there["indices"], *there["data_streams"]] if entry["name"] != INDEX]
    assert not names, f"ELASTICSEARCH_URL names a node that holds {', '.join(names)}; the tests need one without"
    try:
        yield node
    finally:
        node.call("DELETE", f"/{INDEX}?ignore_unavailable=true")
        node.call("DELETE", f"/_index_template/{TEMPLATE}")


def _drop_empty(value: Any) -> Any:
    if isinstance(value, dict):
        kept = {key: clean for key, item in value.items() if (clean := _drop_empty(item)) not in (None, "", {}, [])}
        return kept or None
    if isinstance(value, list):
        return [clean for item in value if (clean := _drop_empty(item)) not in (None, "", {}, [])] or None
    return value


def _java(value: Any) -> str:
    """Write a value as Java's toString() does."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}={_java(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_java, value)) + "]"
    return value if isinstance(value, str) else json.dumps(value)
