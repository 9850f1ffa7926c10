"""Security Lake: AWS's own samples, its files in a hunt, and the table that goes both ways."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rows import read, row
from sigma.pipelines.keywatch._ocsf import UNMAPPED, places
from sigma.pipelines.keywatch._pack import read_yaml

import ocsf
from engines import Engine, laid_apart
from events import DENIED, denied, drawn, histories, scenarios
from keywatch.conversion.convert import Conversion
from keywatch.errors import UserError
from keywatch.hunting import parquet
from keywatch.hunting.columns import Columns
from keywatch.hunting.coverage import Coverage
from keywatch.hunting.finding import find_files
from keywatch.hunting.hunt import hunt
from keywatch.hunting.ocsf import Inverse
from keywatch.hunting.reading import Reader
from keywatch.hunting.selection import Selection
from keywatch.hunting.sift import Sift
from packs import converted, hunted, keywatch, one_rule, written
from packs import denials as run

Event = dict[str, Any]
EVENTS = [denied(60 * i, i) for i in range(5)]
TABLE = Path(sys.modules[places.__module__].__file__ or "").with_name("securitylake.yml")
#: A record with all that the mapping speaks of.
SESSION: Event = denied(0, 0) | {
    "userIdentity": {
        "type": "AssumedRole",
        "principalId": "AROAEXAMPLE:me",
        "arn": "arn:aws:sts::111122223333:assumed-role/app/me",
        "accountId": "111122223333",
        "accessKeyId": "ASIAEXAMPLE",
        "invokedBy": "cloudformation.amazonaws.com",
        "sessionContext": {
            "sessionIssuer": {
                "type": "Role",
                "principalId": "AROAEXAMPLE",
                "arn": "arn:aws:iam::111122223333:role/app",
                "accountId": "111122223333",
                "userName": "app",
            },
            "attributes": {"creationDate": "2026-11-20T09:00:00Z", "mfaAuthenticated": "false"},
            "ec2RoleDelivery": "2.0",
        },
    },
    "sourceIPAddress": "cloudformation.amazonaws.com",
    "eventVersion": "1.11",
    "eventCategory": "Management",
    "eventType": "AwsApiCall",
    "readOnly": True,
    "managementEvent": True,
    "requestID": "c99bf9da-e0bd-4bf7-bb32-example",
    "vpcEndpointId": "vpce-1",
    "apiVersion": "2012-11-05",
    "sharedEventID": "bEXAMPLE-efea-4a70-b951-19a88EXAMPLE",
    "sessionCredentialFromConsole": "true",
    "tlsDetails": {"tlsVersion": "TLSv1.3", "clientProvidedHostHeader": "lambda.us-east-1.amazonaws.com"},
    "requestParameters": {"modelId": "m", "filters": [{"name": "a"}, {"name": "b"}]},
    "responseElements": {"ok": True},
    "additionalEventData": {"callWithBearerToken": True, "names": ["a", "b"], "deep": {"list": [{"of": "x"}]}},
    "resources": [{"ARN": "arn:aws:s3:::a", "accountId": "111122223333", "type": "AWS::S3::Bucket"}],
}
#: What can't be told from something else, or is not in SESSION beside what is; by its class, what is a list.
FIELDS = [
    *(name for name in places().fields if not name.startswith(("additionalEventData.", "userIdentity.onBehalf"))),
    *("additionalEventData.callWithBearerToken", "additionalEventData.names", "additionalEventData.deep.list.of"),
    *("requestParameters", "requestParameters.modelId", "requestParameters.filters.name", "responseElements"),
    *("resources.ARN", "resources.accountId", "resources.type", "tlsDetails.tlsVersion"),
    "userIdentity.sessionContext.ec2RoleDelivery",
]
FIELDS.remove("userIdentity.identityProvider")
FIELDS.remove("userIdentity.sessionContext.webIdFederationData.federatedProvider")


def test_each_entry_names_its_source() -> None:
    table = read_yaml(TABLE)
    assert {*table["fields"]} < {*table["sources"]}
    assert all(" " in source for source in table["sources"].values())
    names = [name for section in table["fields"].values() for name in section]
    assert len(names) == len({*names})
    assert not {*names} & {*table["refused"]}


def test_each_place_is_one_that_aws_has() -> None:
    """What the table leads to is in AWS's own files, or AWS's mapping says so."""
    known = {*_leaves(ocsf.SCHEMA)}
    for paths in [*places().fields.values(), list(places().texts.values())]:
        assert {path for path in paths if not path.startswith(UNMAPPED)} <= known
    assert {*places().kinds, *places().nothing} <= known
    [(_, items)] = places().lists.items()
    assert {f"{items['at']}.{path}" for key, path in items.items() if key != "at"} <= known


def _leaves(fields: Any, inside: str = "") -> list[str]:
    found: list[str] = []
    for field in fields:
        kind = field.type.value_type if pa.types.is_list(field.type) else field.type
        path = inside + field.name
        found += _leaves(kind, f"{path}.") if pa.types.is_struct(kind) else [path]
    return found


@pytest.mark.parametrize("name", ["ListFunctions20150331", "CreateUser", "AssumeRole"])
def test_an_event_comes_back_as_it_was(name: str) -> None:
    """Each class of OCSF has other places; a rule finds in each what CloudTrail wrote."""
    columns = Columns(FIELDS)
    event = SESSION | {"eventName": name}
    exported = json.loads(ocsf.lines([event]))
    assert row(columns, Inverse(FIELDS).record(exported)) == row(columns, event)
    [lake] = pq.read_table(io.BytesIO(ocsf.parquet([event]))).to_pylist(maps_as_pydicts="strict")
    assert row(columns, Inverse(FIELDS).record(lake)) == row(columns, event)


@pytest.mark.parametrize("way", [list, lambda d: [{"key": k, "value": v} for k, v in d.items()], json.dumps, dict])
def test_maps_are_written_in_several_ways(way: Callable[[Any], Any]) -> None:
    event = json.loads(ocsf.lines([SESSION]))
    event["unmapped"] = way(list(event["unmapped"].items()) if way is list else event["unmapped"])
    columns = Columns(["readOnly", "additionalEventData.names"])
    assert row(columns, Inverse(columns.names).record(event)) == row(columns, SESSION)


def test_aws_had_parameters_among_what_is_unmapped() -> None:
    """As in the samples of 2024-02; a rule that asks for one finds it."""
    event = json.loads(ocsf.lines([SESSION]))
    event["api"]["request"].pop("data")
    event["unmapped"] |= {"requestParameters.modelId": "m", "requestParameters.filters[].name": "a,b"}
    columns = Columns(["requestParameters.modelId", "requestParameters.filters.name"])
    assert row(columns, Inverse(columns.names).record(event)) == row(columns, SESSION)


@pytest.fixture
def samples() -> Path:
    """Return the folder of AWS's samples that KEYWATCH_OCSF_SAMPLES names: samples/1.1.0/CLOUD_TRAIL."""
    folder = os.environ.get("KEYWATCH_OCSF_SAMPLES")
    if not folder:
        pytest.skip("KEYWATCH_OCSF_SAMPLES names no folder of AWS's OCSF samples")
    return Path(folder)


#: What OCSF derives of a record, and what the samples are older than.
_DERIVED = ("activity", "type_", "category", "severity", "observables", "user.", "session.", "policy.")
_OLDER = ("unmapped.requestParameters.", "unmapped.responseElements.", "api.request.data", "api.response.data")


def test_the_converter_makes_what_aws_made(samples: Path) -> None:
    """Each of AWS's samples that comes with the record it was made of."""
    compared = 0
    for path in sorted(samples.rglob("*.parquet")):
        name = path.name.removeprefix("tests_").removesuffix(".test.parquet")
        record = path.parent / "input" / f"{name}.json"
        if record.exists():
            [made] = pq.read_table(path).to_pylist(maps_as_pydicts="strict")
            assert _plain(ocsf.converted(json.loads(record.read_bytes()))) == _plain(made), name
            compared += 1
    assert compared >= 20


def test_aws_samples_are_hunted(samples: Path) -> None:
    _, coverage = run(samples)
    files = [path for path in samples.rglob("*") if path.is_file()]
    assert (coverage.files, list(map(str, coverage.problems))) == (len(files), [])
    assert coverage.records == len(files)


def _plain(event: Event, inside: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in event.items():
        path = inside + key
        if isinstance(value, dict):
            found |= _plain(value, f"{path}.")
        elif value is not None and not path.startswith((*_DERIVED, *_OLDER)):
            found[path] = value
    return found


def alerts_of(conversion: Conversion, path: Path) -> list[Any]:
    coverage = Coverage()
    alerts = hunt(conversion, [str(path)], Selection(), coverage)
    assert not [str(problem) for problem in coverage.problems if "without awsRegion" not in str(problem)]
    return sorted(alerts, key=repr)


def same_alerts(conversion: Conversion, events: list[Event], folder: Path) -> int:
    for name, content in (
        ("raw.json", json.dumps({"Records": events}).encode()),
        ("lake.parquet", ocsf.parquet(events)),
        ("lake.ndjson", ocsf.lines(events)),
    ):
        (folder / name).write_bytes(content)
    raw = alerts_of(conversion, folder / "raw.json")
    assert alerts_of(conversion, folder / "lake.parquet") == raw
    assert alerts_of(conversion, folder / "lake.ndjson") == raw
    return len(raw)


@pytest.fixture(scope="session")
def pack() -> Conversion:
    return converted("duckdb")


def test_scenarios_raise_the_same_alerts(pack: Conversion, tmp_path: Path) -> None:
    told = [scenario for scenario in scenarios() if any(scenario.found.values())]
    events = [event for one in laid_apart([scenario.events for scenario in told]) for event in one]
    assert same_alerts(pack, events, tmp_path) >= len(told)


def test_generated_events_raise_the_same_alerts(pack: Conversion, tmp_path: Path) -> None:
    assert same_alerts(pack, [event for events in laid_apart(drawn(histories(), 60)) for event in events], tmp_path)


@pytest.mark.parametrize(
    ("field", "value", "found"),
    [
        ("requestParameters.filters.name", "b", 1),
        ("additionalEventData.names|contains", "a", 1),
        ("additionalEventData.deep.list.of", "x", 1),
        ("resources.ARN|startswith", "arn:aws:s3", 1),
        ("readOnly", True, 1),
        ("readOnly", False, 0),
        ("eventCategory", None, 0),
        ("userIdentity.sessionContext.attributes.mfaAuthenticated", False, 1),
        ("sourceIPAddress|endswith", ".amazonaws.com", 1),
        ("tlsDetails.tlsVersion|re", "v1.[23]$", 1),
        ("requestParameters|contains", '"modelId":"m"', 1),
    ],
)
@pytest.mark.parametrize("name", ["lake.parquet", "lake.ndjson"])
def test_other_rules_find_the_same(field: str, value: Any, found: int, name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(ocsf.parquet([SESSION]) if name.endswith("parquet") else ocsf.lines([SESSION]))
    alerts, coverage = hunted(path, rules=[written([one_rule({field: value})], tmp_path)])
    assert (len(alerts), list(coverage.problems)) == (found, [])


def test_the_account_of_later_versions_is_found(tmp_path: Path) -> None:
    event = json.loads(ocsf.lines([SESSION]))
    event["cloud"]["account"] = {"uid": event["unmapped"].pop("recipientAccountId")}
    event["metadata"]["version"] = "1.5.0"
    (tmp_path / "x.json").write_text(json.dumps(event))
    rest = {"unmapped": [*event["unmapped"].items()], "resources": None}
    (tmp_path / "x.parquet").write_bytes(table([event | rest], unmapped=pa.map_(pa.string(), pa.string())))
    rules = [written([one_rule({"recipientAccountId": "111122223333"})], tmp_path)]
    for name in ("x.json", "x.parquet"):
        for selection in (Selection(), Selection(accounts=("111122223333",))):
            alerts, coverage = hunted(tmp_path / name, rules=rules, selection=selection)
            assert (len(alerts), list(coverage.problems)) == (1, [])


def test_keys_may_hold_dots(tmp_path: Path) -> None:
    """As where an export has no objects."""
    events = [_plain(json.loads(line)) for line in ocsf.lines(EVENTS).splitlines()]
    (tmp_path / "x").write_text(json.dumps(events))
    alerts, coverage = run(tmp_path)
    assert (len(alerts), list(map(str, coverage.problems))) == (1, [])


@pytest.mark.parametrize("name", ["duckdb", "securitylake"])
def test_lists_and_texts_match_on_trino_too(name: str, engines: Callable[[str], Engine], tmp_path: Path) -> None:
    """What is joined by commas there, and what stands in JSON."""
    wanted = {
        "requestParameters.filters.name": "b",
        "additionalEventData.names": "b",
        "additionalEventData.deep.list.of": "x",
        "resources.ARN|startswith": "arn:aws:s3",
        "eventTime|startswith": "2026-11-20T",
        "userIdentity.sessionContext.attributes.creationDate": "2026-11-20T09:00:00Z",
        "requestID|endswith": "example",
    }
    if name == "duckdb":
        wanted.pop("eventTime|startswith")
    engine = engines(name)
    conversion = engine.converted(rules=[written([one_rule(wanted)], tmp_path)])
    events = [SESSION | {"eventName": each} for each in ("GetObject", "CreateUser", "AssumeRole")]
    others = [event | {"additionalEventData": {"names": ["ab"]}} for event in events]
    for found in (*(engine.found(conversion, [event]) for event in events),):
        assert [*found.values()] == [[SESSION["eventID"]]]
    assert [*engine.found(conversion, others).values()] == [[]]


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ("userIdentity.credentialId", "only where there is no accessKeyId"),
        ("userIdentity.onBehalfOf.userId", "only where there is no principalId"),
        ("additionalEventData", "field by field"),
    ],
)
def test_what_ocsf_does_not_keep_is_refused_with_the_reason(field: str, said: str, tmp_path: Path) -> None:
    path = written([one_rule({field: "x"})], tmp_path)
    with pytest.raises(UserError, match=said):
        converted("securitylake", rules=[path])


def delivered(folder: Path, source: str, region: str, account: str, day: str, content: bytes) -> None:
    where = folder / "aws" / source / "2.0" / f"region={region}" / f"accountId={account}" / f"eventDay={day}"
    where.mkdir(parents=True, exist_ok=True)
    (where / "48c42a18526e1c44.gz.parquet").write_bytes(content)


@pytest.mark.parametrize(
    ("selection", "read"),
    [
        (Selection(), 4),
        (Selection(regions=("us-east-1",)), 2),
        (Selection(accounts=("444455556666",)), 1),
        (Selection(start=datetime(2026, 11, 20)), 3),
        (Selection(end=datetime(2026, 11, 18)), 0),
    ],
)
def test_partitions_are_passed_over_by_their_path(selection: Selection, read: int, tmp_path: Path) -> None:
    mine = "111122223333"
    delivered(tmp_path, "CLOUD_TRAIL_MGMT", "us-east-1", mine, "20261119", b"")
    delivered(tmp_path, "CLOUD_TRAIL_MGMT", "us-east-1", mine, "20261120", b"")
    delivered(tmp_path, "CLOUD_TRAIL_MGMT", "eu-west-1", mine, "20261120", b"")
    delivered(tmp_path, "S3_DATA", "eu-west-1", "444455556666", "20261120", b"")
    delivered(tmp_path, "VPC_FLOW", "eu-west-1", "444455556666", "20261120", b"")
    metadata = tmp_path / "aws" / "S3_DATA" / "2.0" / "metadata"
    metadata.mkdir()
    (metadata / "00000-0a.metadata.json").write_text("{}")
    coverage = Coverage()
    files = find_files([str(tmp_path)], selection, coverage)
    assert (len(files), coverage.pruned, list(coverage.problems)) == (read, 4 - read, [])
    assert dict(coverage.passed) == {"VPC flow logs": 1, "metadata of Iceberg's tables": 1}


@pytest.mark.parametrize(
    ("selection", "found"),
    [
        (Selection(accounts=("111122223333",)), 1),
        (Selection(end=datetime(2026, 11, 20, 10, 4)), 0),
        (Selection(regions=("mars-east-1",)), 0),
    ],
)
@pytest.mark.parametrize("name", ["lake.parquet", "lake.ndjson"])
def test_a_selection_chooses_events(selection: Selection, found: int, name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(ocsf.parquet(EVENTS) if name.endswith("parquet") else ocsf.lines(EVENTS))
    alerts, coverage = run(tmp_path, selection=selection)
    assert len(alerts) == found
    said = "".join(map(str, coverage.problems))
    assert ("us-east-1" in said) is bool(selection.regions)


def table(rows: list[Event], **columns: pa.DataType) -> bytes:
    """Return rows as Parquet, of the types that they have if not told."""
    rest = pa.Table.from_pylist([{key: one for key, one in row.items() if key not in columns} for row in rows])
    for name, kind in columns.items():
        rest = rest.append_column(name, pa.array([row[name] for row in rows], kind))
    buffer = io.BytesIO()
    pq.write_table(rest, buffer)
    return buffer.getvalue()


FLOW = {"class_uid": 4001, "metadata": {"version": "1.1.0", "product": {"name": "Amazon VPC"}}, "time": 1}
OLD = {"class_uid": 6003, "metadata": {"version": "1.0.0-rc.2", "product": {"name": "CloudTrail"}}, "time": 1}


def test_events_of_other_sources_are_counted(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(table([FLOW, FLOW]))
    (tmp_path / "b.json").write_text(json.dumps([FLOW]))
    (tmp_path / "c.parquet").write_bytes(ocsf.parquet(EVENTS))
    alerts, coverage = run(tmp_path)
    assert (len(alerts), coverage.records, list(coverage.problems)) == (1, 5, [])
    assert dict(coverage.passed) == {"OCSF events of other sources than CloudTrail": 3}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (ocsf.parquet(EVENTS)[:-9], "can't be read: "),
        (ocsf.parquet(EVENTS)[:40], "can't be read: "),
        (b"PAR1" + bytes(100) + b"PAR1", "can't be read: "),
        (b"PARE" + bytes(100) + b"PARE", "not read: it is an encrypted Parquet file"),
        (
            table([{"a": 1, "b": 2}]),
            "not read: it is a Parquet file of another shape than Security Lake's: it has a, b",
        ),
        (table([OLD]), "an OCSF event of before version 1.1"),
        (json.dumps(OLD).encode(), "an OCSF event of before version 1.1"),
        (table([{"class_uid": 1}]), "an OCSF event that does not say of which product it is"),
        (
            table([{"class_uid": 1, "metadata": "x", "api": 7}]),
            "an OCSF event that does not say of which product it is",
        ),
    ],
)
def test_what_is_broken_or_something_else_is_one_line(content: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(content)
    (tmp_path / "y").write_bytes(ocsf.parquet(EVENTS))
    alerts, coverage = run(tmp_path)
    assert len(alerts) == 1
    [problem] = map(str, coverage.problems)
    assert problem.startswith(f"{tmp_path}/x: ")
    assert said in problem
    assert "\n" not in problem


def test_columns_of_other_types_are_looked_at_event_by_event(tmp_path: Path) -> None:
    """An export may have JSON where AWS has a map, or texts of other types, and lack what no event has."""
    rows = [json.loads(line) for line in ocsf.lines(EVENTS).splitlines()]
    for one in rows:
        one["unmapped"] = json.dumps(one["unmapped"])
    large, some = pa.large_string(), pa.dictionary(pa.int32(), pa.string())
    api = pa.struct({"operation": large, "service": pa.struct({"name": some})})
    metadata = pa.struct({"product": pa.struct({"name": some}), "version": large})
    (tmp_path / "x").write_bytes(table(rows, unmapped=large, api=api, metadata=metadata))
    wanted = {"recipientAccountId": "111122223333", "eventName|startswith": "List"}
    alerts, coverage = hunted(tmp_path / "x", rules=[written([one_rule(wanted)], tmp_path)])
    assert (len(alerts), list(coverage.problems)) == (5, [])


def test_what_stands_for_nothing_is_nothing(tmp_path: Path) -> None:
    event = {key: value for key, value in SESSION.items() if key not in ("eventCategory", "requestID")}
    path = written([one_rule({"eventCategory": None, "requestID|exists": False})], tmp_path)
    (tmp_path / "x").write_bytes(ocsf.parquet([event, SESSION | {"eventID": "0a"}]))
    alerts, coverage = hunted(tmp_path / "x", rules=[path])
    assert (len(alerts), coverage.records, list(coverage.problems)) == (1, 2, [])


def test_only_the_columns_that_rules_need_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x").write_bytes(ocsf.parquet(EVENTS))
    seen: list[list[str]] = []
    original = parquet.Parquet._batch

    def batch(self: Any, batch: pa.RecordBatch, **more: Any) -> Any:
        seen.append(_leaves(batch.schema))
        return original(self, batch, **more)

    monkeypatch.setattr(parquet.Parquet, "_batch", batch)
    columns = Columns(["eventName", "userIdentity.arn"])
    assert len(read(Reader(Sift(None, columns)), tmp_path / "x", Coverage())) == 5
    [leaves] = seen
    assert {"api.operation", "actor.user.uid", "unmapped"} < {*leaves}
    assert not {"api.request.data", "api.response.data", "http_request.user_agent", "resources.uid"} & {*leaves}
    assert len(leaves) < len(_leaves(ocsf.SCHEMA)) / 2


def test_what_unpacks_to_more_than_the_limit_is_named(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(ocsf.parquet(EVENTS))
    coverage = Coverage()
    reader = Reader(Sift(None, Columns(["eventName"])), limit=100)
    assert read(reader, tmp_path / "x", coverage) == []
    [problem] = map(str, coverage.problems)
    assert "unpacks to more than" in problem


def test_standard_input_and_the_events_behind_an_alert(tmp_path: Path) -> None:
    """The evidence is the event as it was read, and can be hunted through again."""
    path, kept = tmp_path / "x.parquet", tmp_path / "events.ndjson"
    path.write_bytes(ocsf.parquet(EVENTS))
    result = keywatch("hunt", path, "--rule", DENIED, "--events", kept, "--format", "ndjson")
    assert result.exit_code == 0
    event = json.loads(kept.read_text().splitlines()[0])["event"]
    assert event["actor"]["user"]["uid"] == EVENTS[0]["userIdentity"]["arn"]
    assert event["class_name"] == "API Activity"
    again = keywatch("hunt", kept, "--rule", DENIED, "--format", "ndjson")
    assert (again.exit_code, again.stdout) == (0, result.stdout)
    program = [sys.executable, "-m", "keywatch.cli", "hunt", "-", "--rule", DENIED, "--format", "ndjson"]
    piped = subprocess.run(program, input=path.read_bytes(), capture_output=True, check=True)
    assert piped.stdout.decode() == result.stdout
