"""Write CloudTrail as AWS delivers it: the everyday calls of an account, with the attacks of the rules planted."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from pathlib import Path
from typing import Any

import msgspec
from isal import igzip
from sigma.pipelines.keywatch._pack import read_yaml

from keywatch.files import replace

_ACCOUNT = "111122223333"
_FILE_MINUTES = 15
_MOST_IN_FILE = 900
#: One instant for all runs, so that the same seed gives the same files.
START = datetime(2026, 9, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Planted:
    """An attack among the everyday calls."""

    principal: str
    name: str
    regions: int
    start: datetime


def simulate(folder: Path, events: int, days: int, seed: int) -> Iterator[tuple[Path, list[Planted]]]:
    """Write files under `folder`/AWSLogs, and yield each with the attacks that begin in it.

    :param events: how many everyday calls; the attacks come on top.
    :param seed: the same seed writes the same bytes.
    """
    script = read_yaml(Path(__file__).with_suffix(".yml"))
    script["weights"] = list(accumulate(call["weight"] for call in script["calls"]))
    source = random.Random(seed)  # noqa: S311
    slots = days * 24 * 60 // _FILE_MINUTES
    regions = list(script["regions"])
    counts = [0] * (slots * len(regions))
    for place in source.choices(range(len(counts)), list(script["regions"].values()) * slots, k=events):
        counts[place] += 1
    attacks: dict[int, list[tuple[datetime, dict[str, Any]]]] = {}
    beginning: dict[int, list[Planted]] = {}
    for planted, calls in _attacks(script, source, days):
        for time, call in calls:
            attacks.setdefault(_slot(time), []).append((time, call))
        beginning.setdefault(_slot(planted.start), []).append(planted)
    for slot in range(slots + 1):
        start = START + timedelta(minutes=slot * _FILE_MINUTES)
        for number, region in enumerate(regions if slot < slots else ()):
            left = counts[slot * len(regions) + number]
            while left:
                size = min(left, _MOST_IN_FILE)
                left -= size
                yield _write(folder, region, start, [_everyday(script, source, region, start) for _ in range(size)]), []
        here: dict[str, list[dict[str, Any]]] = {}
        for time, call in attacks.get(slot, []):
            here.setdefault(call["awsRegion"], []).append(call | {"eventTime": _iso(time)})
        for number, region in enumerate(sorted(here)):
            yield _write(folder, region, start, here[region], "attack"), beginning.get(slot, []) if number == 0 else []


def _slot(time: datetime) -> int:
    """Return the number of the delivery that a time lies in."""
    return (time - START) // timedelta(minutes=_FILE_MINUTES)


def _write(folder: Path, region: str, start: datetime, records: list[dict[str, Any]], mark: str = "") -> Path:
    day = folder / "AWSLogs" / _ACCOUNT / "CloudTrail" / region / start.strftime("%Y/%m/%d")
    identifier = mark or records[0]["eventID"][-12:]
    path = day / f"{_ACCOUNT}_CloudTrail_{region}_{start.strftime('%Y%m%dT%H%MZ')}_{identifier}.json.gz"
    replace(path, igzip.compress(msgspec.json.encode({"Records": records}), 1, mtime=0))
    return path


def _everyday(script: dict[str, Any], source: random.Random, region: str, start: datetime) -> dict[str, Any]:
    call = source.choices(script["calls"], cum_weights=script["weights"])[0]
    number = source.randrange(400)
    # Most work in one Region; one in twenty is an inventory or a pipeline that goes everywhere.
    home = region if number % 20 else "all"
    if number < 40 and not call.get("console"):  # noqa: PLR2004
        who = _user(f"user-{number}-{home}", "AKIA", number)
    else:
        who = _session(f"role-{number % 23}", f"session-{number}-{home}", number, console=call.get("console", False))
    time = start + timedelta(seconds=source.randrange(60 * _FILE_MINUTES))
    address = f"10.{number % 7}.{number % 251}.{source.randrange(1, 255)}"
    record = _record(call, region, who, source, address, source.choice(script["agents"])) | {"eventTime": _iso(time)}
    return record | ({"sessionCredentialFromConsole": "true"} if call.get("console") else {})


def _attacks(
    script: dict[str, Any], source: random.Random, days: int
) -> Iterator[tuple[Planted, list[tuple[datetime, dict[str, Any]]]]]:
    everywhere = [*script["regions"], "ap-south-1", "eu-north-1", "ca-central-1", "eu-west-3"]
    for week in range((days + 6) // 7):
        for attack in script["attacks"]:
            latest = min(7 * 24 * 3600, (days - 7 * week) * 24 * 3600) - attack["seconds"] - 1
            # Across an hour's edge, where fixed buckets break.
            hour = source.randrange(max(1, latest // 3600)) * 3600
            begin = START + timedelta(days=7 * week, seconds=max(0, hour + 3600 - attack["seconds"] // 2))
            if "user" in attack:
                who = _user(attack["user"], attack.get("key"), week)
            else:
                who = _session(attack["role"], f"session-{week}", week, console=False)
            calls = []
            for number, region in enumerate(source.sample(everywhere, attack["regions"])):
                after = attack["seconds"] * number // (attack["regions"] - 1)
                call = _record(attack, region, who, source, "198.51.100.7", "python-requests/2.31.0")
                calls.append((begin + timedelta(seconds=after), call))
            yield Planted(who["arn"], attack["name"], attack["regions"], begin), calls


def _record(
    call: dict[str, Any], region: str, who: dict[str, Any], source: random.Random, address: str, agent: str
) -> dict[str, Any]:
    error = (
        {"errorCode": call["error"], "errorMessage": f"{who['arn']} may not {call['name']}"} if "error" in call else {}
    )
    return {
        "eventVersion": "1.11",
        "userIdentity": who,
        "eventTime": "",
        "eventSource": call["source"],
        "eventName": call["name"],
        "awsRegion": region,
        "sourceIPAddress": address,
        "userAgent": agent,
        **error,
        "requestParameters": call.get("request"),
        "responseElements": None,
        "requestID": _identifier(source),
        "eventID": _identifier(source),
        "readOnly": not call.get("write", False),
        "eventType": "AwsApiCall",
        "managementEvent": True,
        "recipientAccountId": _ACCOUNT,
        "eventCategory": "Management",
        "tlsDetails": {
            "tlsVersion": "TLSv1.3",
            "cipherSuite": "TLS_AES_128_GCM_SHA256",
            "clientProvidedHostHeader": f"{call['source'].split('.')[0]}.{region}.amazonaws.com",
        },
    }


def _user(name: str, key: str | None, number: int) -> dict[str, Any]:
    return {
        "type": "IAMUser",
        "principalId": f"AIDAEXAMPLE{number:09d}",
        "arn": f"arn:aws:iam::{_ACCOUNT}:user/{name}",
        "accountId": _ACCOUNT,
        **({"accessKeyId": f"{key}EXAMPLE{number:09d}"} if key else {}),
        "userName": name,
    }


def _session(role: str, session: str, number: int, *, console: bool) -> dict[str, Any]:
    principal = f"AROAEXAMPLE{role}"
    return {
        "type": "AssumedRole",
        "principalId": f"{principal}:{session}",
        "arn": f"arn:aws:sts::{_ACCOUNT}:assumed-role/{role}/{session}",
        "accountId": _ACCOUNT,
        "accessKeyId": f"ASIAEXAMPLE{number:09d}",
        "sessionContext": {
            "sessionIssuer": {
                "type": "Role",
                "principalId": principal,
                "arn": f"arn:aws:iam::{_ACCOUNT}:role/{role}",
                "accountId": _ACCOUNT,
                "userName": role,
            },
            "attributes": {"creationDate": _iso(START), "mfaAuthenticated": str(console).lower()},
        },
    }


def _identifier(source: random.Random) -> str:
    text = f"{source.getrandbits(128):032x}"
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-a{text[17:20]}-{text[20:]}"


def _iso(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")
