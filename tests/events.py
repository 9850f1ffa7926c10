"""CloudTrail records for the tests, and the named scenarios that every engine runs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from hypothesis import strategies as st

REGIONS = [
    "us-east-1", "us-east-2", "us-west-1", "us-west-2", "eu-west-1", "eu-west-2", "eu-west-3", "eu-central-1",
    "eu-north-1", "ap-south-1", "ap-northeast-1", "ap-northeast-2", "ap-southeast-1", "ap-southeast-2", "ca-central-1",
    "sa-east-1", "ap-northeast-3",
]  # fmt: skip
START = datetime(2026, 11, 20, 10, 0, tzinfo=UTC)
ACCOUNT = "111122223333"
MALLORY = f"arn:aws:iam::{ACCOUNT}:user/mallory"
TRENT = f"arn:aws:iam::{ACCOUNT}:user/trent"
ROLE = f"arn:aws:sts::{ACCOUNT}:assumed-role/app/session"
AKIA, ASIA = "AKIAIOSFODNN7EXAMPLE", "ASIAIOSFODNN7EXAMPLE"

INVOCATION_LONG = "correlation_aws_bedrock_invocation_multi_region_long_term_key"
INVOCATION_TEMPORARY = "correlation_aws_bedrock_invocation_multi_region_temporary_credentials"
ACCESS_LONG = "aws_cloudtrail_bedrock_model_access_long_term_key"
ACCESS_TEMPORARY = "aws_cloudtrail_bedrock_model_access_temporary_credentials"
ACCESS_REGIONS_LONG = "correlation_aws_bedrock_model_access_multi_region_long_term_key"
ACCESS_REGIONS_TEMPORARY = "correlation_aws_bedrock_model_access_multi_region_temporary_credentials"
DENIED = "correlation_aws_denied_enumeration_multi_region_long_term_key"

MINUTE, HOUR = 60, 3600
_MISSING = object()
_numbers = count(1)


def record(
    seconds: float,
    region: str | None,
    name: str,
    source: str,
    *,
    arn: Any = MALLORY,
    key: Any = AKIA,
    identity: dict[str, Any] | None = None,
    **fields: Any,
) -> dict[str, Any]:
    """Build a record in the shape of CloudTrail's: absent fields are absent, `error`-free calls have no errorCode."""
    kind = "AssumedRole" if isinstance(key, str) and key.startswith("ASIA") else "IAMUser"
    user = {"type": kind, "principalId": "AIDAEXAMPLE", "arn": arn, "accountId": ACCOUNT, "accessKeyId": key}
    number = next(_numbers)
    whole = {
        "eventVersion": "1.11",
        "userIdentity": {k: v for k, v in (user | (identity or {})).items() if v is not _MISSING},
        "eventTime": (START + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "eventSource": source,
        "eventName": name,
        "awsRegion": region,
        "sourceIPAddress": "198.51.100.7",
        "userAgent": "aws-cli/2.15",
        "requestParameters": None,
        "responseElements": None,
        "eventID": f"00000000-0000-4000-8000-{number:012d}",
        "readOnly": True,
        "eventType": "AwsApiCall",
        "managementEvent": True,
        "recipientAccountId": ACCOUNT,
        "eventCategory": "Management",
    } | fields
    return {k: v for k, v in whole.items() if v is not _MISSING and (k != "awsRegion" or v is not None)}


MISSING = _MISSING


def denied(seconds: float, region: int | str, **fields: Any) -> dict[str, Any]:
    """Return a denied List call."""
    fields = {"name": "ListFunctions20150331", "source": "lambda.amazonaws.com", "errorCode": "AccessDenied"} | fields
    return record(seconds, REGIONS[region] if isinstance(region, int) else region, **fields)


def invoked(seconds: float, region: int | str, **fields: Any) -> dict[str, Any]:
    """Return an invocation of a model."""
    fields = {
        "name": "InvokeModel",
        "source": "bedrock.amazonaws.com",
        "requestParameters": {"modelId": "anthropic.claude-3-sonnet-20240229-v1:0"},
    } | fields
    return record(seconds, REGIONS[region] if isinstance(region, int) else region, **fields)


def access(seconds: float, region: int | str, **fields: Any) -> dict[str, Any]:
    """Return a call of a model access API."""
    fields = {"name": "PutUseCaseForModelAccess", "source": "bedrock.amazonaws.com"} | fields
    return record(seconds, REGIONS[region] if isinstance(region, int) else region, **fields)


@dataclass(frozen=True)
class Scenario:
    """Events, and who is found by which rule. A name that stands twice is found in two alerts that do not overlap."""

    name: str
    events: list[dict[str, Any]]
    found: dict[str, list[str]] = field(default_factory=dict)
    #: Found besides by a target that quantises time: the spread is between W and W + its grain.
    within_a_grain: dict[str, list[str]] = field(default_factory=dict)
    #: Rules that find nobody on a target that compares with regard to case.
    missed_with_case: tuple[str, ...] = ()


def scenarios() -> Iterator[Scenario]:
    """Yield the named scenarios. The rules' defaults are 5 Regions in 30 minutes for denials, 2 for invocations."""
    window = 30 * MINUTE
    yield Scenario("one Region less than the threshold", [denied(60 * i, i) for i in range(4)])
    yield Scenario("exactly at the threshold", [denied(60 * i, i) for i in range(5)], {DENIED: [MALLORY]})
    yield Scenario(
        "across an hour's edge",
        [denied(50 * MINUTE + 300 * i, i) for i in range(5)],
        {DENIED: [MALLORY]},
    )
    yield Scenario(
        "the first and the last exactly the window apart",
        [*(denied(i, i) for i in range(4)), denied(window, 4)],
        {DENIED: [MALLORY]},
    )
    yield Scenario(
        "one Region again exactly the window later, four in all",
        [denied(0, 0), *(denied(window, i) for i in range(4))],
    )
    yield Scenario(
        "the window and a second apart",
        [*(denied(0, i) for i in range(4)), denied(window + 1, 4)],
        within_a_grain={DENIED: [MALLORY]},
    )
    yield Scenario(
        "the window and two grains apart",
        [*(denied(0, i) for i in range(4)), denied(window + 2 * MINUTE, 4)],
    )
    yield Scenario(
        "two principals interleaved, neither at the threshold",
        [denied(10 * i, i, arn=MALLORY if i % 2 else TRENT) for i in range(8)],
    )
    yield Scenario(
        "two principals interleaved, both over it",
        [denied(10 * i, i, arn=MALLORY if i % 2 else TRENT) for i in range(10)],
        {DENIED: [MALLORY, TRENT]},
    )
    four = [denied(60 * i, i) for i in range(4)]
    yield Scenario("duplicates of one event less than the threshold", [*four, *four])
    yield Scenario("the same Region many times", [denied(i, i % 4) for i in range(200)])
    yield Scenario("out of order", [denied(60 * i, i) for i in (3, 0, 4, 1, 2)], {DENIED: [MALLORY]})
    yield Scenario("no ARN", [denied(60 * i, i, arn=MISSING) for i in range(6)])
    yield Scenario("a null ARN", [denied(60 * i, i, arn=None) for i in range(6)])
    yield Scenario("an empty ARN", [denied(60 * i, i, arn="") for i in range(6)])
    yield Scenario("no Region in some events", [*four, denied(300, "us-east-1", awsRegion=MISSING)])
    yield Scenario("temporary credentials denied", [denied(60 * i, i, key=ASIA) for i in range(6)])
    yield Scenario("a key that only looks alike", [denied(60 * i, i, key="XAKIA" + AKIA[4:]) for i in range(6)])
    yield Scenario(
        "denied and allowed mixed",
        [*four, *(denied(60 * i, i, errorCode=MISSING) for i in range(4, 9))],
    )
    yield Scenario(
        "denied as EC2 says it, among others",
        [
            denied(60 * i, i, errorCode=code, source="ec2.amazonaws.com", name="GetEbsEncryptionByDefault")
            for i, code in enumerate(
                ["Client.UnauthorizedOperation", "UnauthorizedOperation", "AccessDeniedException", "AccessDenied"]
            )
        ]
        + [denied(300, 4, errorCode="VpceAccessDenied", source="s3.amazonaws.com", name="GetObject")],
        {DENIED: [MALLORY]},
    )
    yield Scenario(
        "an error that is no denial",
        [denied(60 * i, i, errorCode="ThrottlingException") for i in range(6)],
    )
    yield Scenario("Describe calls", [denied(60 * i, i, name="DescribeInstances") for i in range(6)])
    yield Scenario(
        "in another case, as Sigma compares",
        [denied(60 * i, i, name="LISTfunctions", errorCode="accessdenied", key=AKIA.lower()) for i in range(5)],
        {DENIED: [MALLORY]},
        missed_with_case=(DENIED,),
    )
    yield Scenario(
        "two attacks hours apart",
        [denied(shift + 60 * i, i) for shift in (0, 5 * HOUR) for i in range(5)],
        {DENIED: [MALLORY, MALLORY]},
    )
    yield Scenario(
        "one Region every ten minutes, four in any window",
        [denied(10 * MINUTE * i, i) for i in range(17)],
    )
    yield Scenario(
        "one attack that lasts",
        [denied(2 * MINUTE * i, i % 9) for i in range(60)],
        {DENIED: [MALLORY]},
    )
    yield Scenario("one Region invoked", [invoked(i, 0) for i in range(9)])
    yield Scenario(
        "models invoked in two Regions with a long-term key",
        [invoked(0, 0), invoked(window, 1, name="ConverseStream")],
        {INVOCATION_LONG: [MALLORY]},
    )
    yield Scenario(
        "models invoked in two Regions, the window and two grains apart",
        [invoked(0, 0), invoked(window + 2 * MINUTE, 1)],
    )
    api_user = f"arn:aws:iam::{ACCOUNT}:user/BedrockAPIKey-ab12"
    yield Scenario(
        "a Bedrock API key made in the console, denied, so without a marker",
        [
            invoked(
                i, i, arn=api_user, key=MISSING, identity={"userName": "BedrockAPIKey-ab12"}, errorCode="AccessDenied"
            )
            for i in range(2)
        ],
        {INVOCATION_LONG: [api_user]},
    )
    yield Scenario(
        "a Bedrock API key of any user, by its bearer marker",
        [
            invoked(i, i, key="", identity={"userName": "app"}, additionalEventData={"callWithBearerToken": True})
            for i in range(2)
        ],
        {INVOCATION_LONG: [MALLORY]},
    )
    yield Scenario(
        "no bearer marker",
        [invoked(i, i, key="", additionalEventData={"callWithBearerToken": False}) for i in range(2)],
    )
    yield Scenario(
        "a short-term Bedrock API key, as a role",
        [
            invoked(i, i, arn=ROLE, key=ASIA, additionalEventData={"callWithBearerToken": True, "inferenceRegion": "x"})
            for i in range(3)
        ],
    )
    yield Scenario(
        "a user with temporary credentials",
        [invoked(i, i, key=ASIA, identity={"type": "IAMUser", "userName": "BedrockAPIKey-ab12"}) for i in range(3)],
    )
    yield Scenario(
        "models invoked in four Regions with temporary credentials",
        [invoked(60 * i, i, arn=ROLE, key=ASIA) for i in range(4)],
        {INVOCATION_TEMPORARY: [ROLE]},
    )
    yield Scenario(
        "cross-Region inference from one Region",
        [invoked(60 * i, 0, additionalEventData={"inferenceRegion": REGIONS[i]}) for i in range(8)],
    )
    yield Scenario(
        "model access with a long-term key, one Region",
        [access(0, 0), access(30, 0, name="GetFoundationModelAvailability")],
        {ACCESS_LONG: [MALLORY, MALLORY]},
    )
    yield Scenario(
        "model access with a long-term key, two Regions an hour apart",
        [access(0, 0), access(HOUR, 1, name="PutFoundationModelEntitlement")],
        {ACCESS_LONG: [MALLORY, MALLORY], ACCESS_REGIONS_LONG: [MALLORY]},
    )
    yield Scenario(
        "model access from the console",
        [access(60 * i, i, arn=ROLE, key=ASIA, sessionCredentialFromConsole="true") for i in range(4)],
    )
    yield Scenario(
        "model access with a role, three Regions",
        [access(60 * i, i, arn=ROLE, key=ASIA) for i in range(3)],
        {ACCESS_TEMPORARY: [ROLE] * 3, ACCESS_REGIONS_TEMPORARY: [ROLE]},
    )
    yield Scenario(
        "APIs that were always public",
        [access(60 * i, i, name="ListFoundationModels") for i in range(4)],
    )
    odd = f'arn:aws:sts::{ACCOUNT}:assumed-role/app/o\'brien "x" \\ %_*? | ünïcødé 名前'
    yield Scenario(
        "quotes and signs in the ARN and the user agent",
        [
            denied(60 * i, i, arn=odd, userAgent="a'; DROP TABLE cloudtrail; -- \" | delete ${x} `y` \\")
            for i in range(5)
        ],
        {DENIED: [odd]},
    )


#: Who calls. The last ones differ from the first in case only, or are no principal.
_ARNS = [MALLORY, TRENT, ROLE, MALLORY.upper(), "ünï'\"\\ | $x `y`", "", None, MISSING]
_KEYS = [AKIA, ASIA, AKIA.lower(), "XAKIA7", "AKI", "AKIA", "", None, MISSING]
_ERRORS = ["AccessDenied", "Client.UnauthorizedOperation", "accessdenied", "AccessDenied ", "Throttling", None, MISSING]
_MARKERS = [True, False, "true", "TRUE", "yes", None]
#: For each rule that counts: the calls, the key, the window and the threshold.
_COUNTED = [
    (denied, AKIA, 30 * MINUTE, 5),
    (invoked, AKIA, 30 * MINUTE, 2),
    (invoked, ASIA, 30 * MINUTE, 4),
    (access, AKIA, HOUR, 2),
    (access, ASIA, HOUR, 3),
]

#: What an event of a burst may have instead of what the rule wants.
_ODD: dict[str, st.SearchStrategy[Any]] = {
    "name": st.sampled_from(["List", "listx", "GetX", "Xlist", "InvokeModels", "converse", "Describe", ""]),
    "source": st.sampled_from(["bedrock.amazonaws.com", "BEDROCK.amazonaws.com", "bedrock-runtime.amazonaws.com"]),
    "key": st.sampled_from(_KEYS),
    "arn": st.sampled_from(_ARNS),
    "errorCode": st.sampled_from(_ERRORS),
    "awsRegion": st.sampled_from(["", "US-EAST-1", None, MISSING]),
    "userAgent": st.text(max_size=9),
    "sessionCredentialFromConsole": st.sampled_from(["true", "false", "True", MISSING]),
    "additionalEventData": st.builds(lambda marker: {"callWithBearerToken": marker}, st.sampled_from(_MARKERS)),
    "identity": st.builds(
        lambda kind, name: {"type": kind, "userName": name},
        st.sampled_from(["IAMUser", "iamuser", "AssumedRole", "Root"]),
        st.sampled_from(["BedrockAPIKey-1", "bedrockapikey-", "BedrockAPIKey", "xBedrockAPIKey-", MISSING]),
    ),
}


@st.composite
def _burst(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Draw calls of one principal, around the length of a rule's window and its threshold."""
    kind, key, window, threshold = draw(st.sampled_from(_COUNTED))
    # Window ends to the second, and the same a minute later: ES|QL's grain.
    spread = window + draw(st.sampled_from([-1, 0, 0, 1, 1, 59, 60, 61]))
    last = threshold - 1 + draw(st.sampled_from([-1, 0, 0, 0, 1]))
    moments = [(0, 0), (spread, last)]
    moments += [(draw(st.sampled_from([0, spread]) | st.integers(0, spread)), region) for region in range(1, last)]
    moments += draw(st.lists(st.tuples(st.integers(-spread, 2 * spread), st.integers(0, last)), max_size=3))
    start, arn = draw(st.integers(0, HOUR)), draw(st.sampled_from([MALLORY] * 8 + _ARNS))
    events = []
    for second, region in moments:
        odd = draw(st.sampled_from([None] * 6 * len(_ODD) + list(_ODD)))
        fields = {"arn": arn, "key": key} | ({odd: draw(_ODD[odd])} if odd else {})
        events.append(kind(start + second, region, **fields))
    return events


@st.composite
def histories(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Draw a history: bursts that overlap, some events twice, in any order."""
    events = [event for burst in draw(st.lists(_burst(), min_size=1, max_size=4)) for event in burst]
    again = draw(st.lists(st.sampled_from(events), max_size=5))
    for number, event in enumerate(events):
        event["eventID"] = f"00000000-0000-4000-8000-{number:012d}"
    return list(draw(st.permutations([*events, *again])))
