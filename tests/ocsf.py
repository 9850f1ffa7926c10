"""CloudTrail as Amazon Security Lake writes it: a small converter, written from AWS's mapping and its samples.

The mapping is ocsf/examples, mappings/markdown/AWS/v1.1.0/CloudTrail, commit 45c82e3. The samples, each with the record
that it was made of, are aws-samples/amazon-security-lake-ocsf-validation, samples/1.1.0/CLOUD_TRAIL, commits c828d8f
and bb3c58b. The converter knows nothing of the project's own table, which goes the other way.
"""

from __future__ import annotations

import io
import ipaddress
import json
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

Event = dict[str, Any]
_AUTHENTICATION = ("AssumeRole", "AssumeRoleWithSAML", "AssumeRoleWithWebIdentity", "CheckMfa", "ConsoleLogin")
_ACCOUNT_CHANGE = (
    *("AttachRolePolicy", "AttachUserPolicy", "CreateRole", "CreateUser", "DeleteRole"),
    "RemoveRoleFromInstanceProfile",
)
#: The mapping's rows for all classes: OCSF ← CloudTrail.
_MAPPED = {
    "actor.user.account.uid": "userIdentity.accountId",
    "actor.user.credential_uid": "userIdentity.accessKeyId",
    "actor.user.name": "userIdentity.userName",
    "actor.user.type": "userIdentity.type",
    "actor.user.uid_alt": "userIdentity.principalId",
    "actor.user.uid": "userIdentity.arn",
    "actor.session.issuer": "userIdentity.sessionContext.sessionIssuer.arn",
    "actor.invoked_by": "userIdentity.invokedBy",
    "src_endpoint.uid": "vpcEndpointId",
    "api.service.name": "eventSource",
    "api.version": "apiVersion",
    "api.operation": "eventName",
    "cloud.region": "awsRegion",
    "http_request.user_agent": "userAgent",
    "metadata.product.version": "eventVersion",
    "metadata.uid": "eventID",
    "metadata.event_code": "eventType",
    "api.response.error": "errorCode",
    "api.response.message": "errorMessage",
}
#: The rows that depend on what else is there: each takes what is left of CloudTrail's names.
_INSTEAD = {
    "actor.user.credential_uid": "userIdentity.credentialId",
    "actor.user.name": "additionalEventData.UserName",
    "actor.user.uid_alt": "userIdentity.onBehalfOf.userId",
    "actor.idp.uid": "userIdentity.onBehalfOf.identityStoreArn",
}
_STRINGS = ("api.request.uid", "requestID"), ("metadata.product.feature.name", "eventCategory")
_NOTHING = {"api.request.uid": "''", "metadata.product.feature.name": "Management, Data, and Insights"}


def converted(event: Event) -> Event:
    """Return a CloudTrail record as an event of OCSF 1.1.0."""
    left = dict(_flat({name: value for name, value in event.items() if name not in _TEXTS and name != "resources"}))
    made: dict[str, Any] = {"cloud.provider": "AWS", "metadata.version": "1.1.0", "metadata.product.name": "CloudTrail"}
    made |= {"metadata.product.vendor_name": "AWS", "metadata.profiles": ["cloud", "datetime"]}
    made |= {at: left.pop(name, None) for at, name in _MAPPED.items()}
    for at, name in _INSTEAD.items():
        if made.get(at) is None:
            made[at] = left.pop(name, None)
    for at, name in _STRINGS:
        made[at] = left.pop(name, None) or _NOTHING[at]
    time = datetime.fromisoformat(str(left.pop("eventTime")))
    made |= {"time": int(time.timestamp() * 1000), "time_dt": time}
    address = left.pop("sourceIPAddress", None)
    made["src_endpoint.ip" if _is_address(address) else "src_endpoint.domain"] = address
    created = left.pop("userIdentity.sessionContext.attributes.creationDate", None)
    made["actor.session.created_time_dt"] = created and datetime.fromisoformat(created)
    mfa = left.pop("userIdentity.sessionContext.attributes.mfaAuthenticated", None)
    made["actor.session.is_mfa"] = None if mfa is None else mfa == "true"
    made["actor.idp.name"] = left.pop("userIdentity.identityProvider", None)
    for name in ("", "sessionContext."):
        federated = left.pop(f"userIdentity.{name}webIdFederationData.federatedProvider", None)
        made["actor.idp.name"] = made["actor.idp.name"] or federated
    for name, at in _TEXTS.items():
        made[at] = _json(event.get(name))
    made["status"] = "Failure" if made["api.response.error"] else "Success"
    made |= _of_class(event, left)
    made["unmapped"] = left
    return _nested({at: value for at, value in made.items() if value is not None})


_USED = {"Yes": True, "No": False}
_TEXTS = {"requestParameters": "api.request.data", "responseElements": "api.response.data"}


def _of_class(event: Event, left: dict[str, str]) -> dict[str, Any]:
    name, resources = event.get("eventName"), event.get("resources")
    if name in _AUTHENTICATION or name in _ACCOUNT_CHANGE:
        left |= _flat({"resources": resources})
    if name in _AUTHENTICATION:
        used = left.get("additionalEventData.MFAUsed")
        if used in _USED:  # AWS writes nothing else
            del left["additionalEventData.MFAUsed"]
        return {
            "class_uid": 3002,
            "class_name": "Authentication",
            "dst_endpoint.svc_name": left.pop("additionalEventData.LoginTo", None),
            "is_mfa": _USED.get(used or ""),
            "status": (event.get("responseElements") or {}).get("ConsoleLogin", "Other"),
        }
    if name in _ACCOUNT_CHANGE:
        return {"class_uid": 3001, "class_name": "Account Change"}
    listed = resources and [
        {"uid": r.get("ARN"), "owner": {"account": {"uid": r.get("accountId")}}, "type": r.get("type")}
        for r in resources
    ]
    return {"class_uid": 6003, "class_name": "API Activity", "resources": listed}


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Yield what is in an object by dotted names, as texts; the elements of lists joined, with a mark in the name."""
    if isinstance(value, dict):
        for key, inside in value.items():
            yield from _flat(inside, f"{name}.{key}" if name else key)
    elif isinstance(value, list):
        joined: dict[str, list[str]] = {}
        for element in value:
            for path, text in _flat(element, f"{name}[]"):
                joined.setdefault(path, []).append(text)
        yield from ((path, ",".join(texts)) for path, texts in joined.items())
    elif value is not None:
        yield name, value if isinstance(value, str) else json.dumps(value)


def _nested(made: dict[str, Any]) -> Event:
    event: Event = {}
    for at, value in made.items():
        *parents, last = at.split(".")
        inside = event
        for parent in parents:
            inside = inside.setdefault(parent, {})
        inside[last] = value
    return event


def _json(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _is_address(text: str | None) -> bool:
    try:
        ipaddress.ip_address(text or "")
    except ValueError:
        return False
    return True


_TEXT, _TIME = pa.string(), pa.timestamp("ms", "UTC")


def _struct(**fields: Any) -> pa.StructType:
    return pa.struct(list(fields.items()))


_ID = _struct(uid=_TEXT)
#: The columns and types of the samples' Parquet, of all classes together, and what the mapping has besides.
SCHEMA = pa.schema(
    list(
        _struct(
            metadata=_struct(
                product=_struct(version=_TEXT, name=_TEXT, vendor_name=_TEXT, feature=_struct(name=_TEXT)),
                event_code=_TEXT,
                uid=_TEXT,
                profiles=pa.list_(_TEXT),
                version=_TEXT,
            ),
            time=pa.int64(),
            time_dt=_TIME,
            cloud=_struct(region=_TEXT, provider=_TEXT),
            api=_struct(
                response=_struct(error=_TEXT, message=_TEXT, data=_TEXT),
                operation=_TEXT,
                version=_TEXT,
                service=_struct(name=_TEXT),
                request=_struct(uid=_TEXT, data=_TEXT),
            ),
            dst_endpoint=_struct(svc_name=_TEXT),
            resources=pa.list_(_struct(uid=_TEXT, owner=_struct(account=_ID), type=_TEXT)),
            actor=_struct(
                user=_struct(type=_TEXT, name=_TEXT, uid_alt=_TEXT, uid=_TEXT, account=_ID, credential_uid=_TEXT),
                session=_struct(created_time_dt=_TIME, is_mfa=pa.bool_(), issuer=_TEXT),
                invoked_by=_TEXT,
                idp=_struct(name=_TEXT, uid=_TEXT),
            ),
            http_request=_struct(user_agent=_TEXT),
            src_endpoint=_struct(uid=_TEXT, ip=_TEXT, domain=_TEXT),
            class_name=_TEXT,
            class_uid=pa.int32(),
            status=_TEXT,
            is_mfa=pa.bool_(),
            unmapped=pa.map_(_TEXT, _TEXT),
            accountid=_TEXT,
            region=_TEXT,
        )
    )
)


def parquet(events: Iterable[Event]) -> bytes:
    """Return CloudTrail records as a file of Security Lake's."""
    rows = [converted(event) for event in events]
    for row in rows:
        row["unmapped"] = list(row["unmapped"].items())
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, SCHEMA), buffer, compression="gzip")
    return buffer.getvalue()


def lines(events: Iterable[Event]) -> bytes:
    """Return CloudTrail records as events of OCSF, one a line."""
    return b"".join(json.dumps(converted(event), default=datetime.isoformat).encode() + b"\n" for event in events)
