"""CloudTrail records for the tests, and the named scenarios that every engine runs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from hypothesis import HealthCheck, given, settings
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
ISSUER = f"arn:aws:iam::{ACCOUNT}:role/app"
ADDRESS = "198.51.100.7"
API_USER = f"arn:aws:iam::{ACCOUNT}:user/BedrockAPIKey-ab12"
AKIA, ASIA = "AKIAIOSFODNN7EXAMPLE", "ASIAIOSFODNN7EXAMPLE"

INVOCATION_LONG = "correlation_aws_bedrock_invocation_multi_region_long_term_key"
INVOCATION_API_KEY = "correlation_aws_bedrock_invocation_multi_region_api_key"
INVOCATION_TEMPORARY = "correlation_aws_bedrock_invocation_multi_region_temporary_credentials"
INVOCATION_ROLE = "correlation_aws_bedrock_invocation_multi_region_role_address"
INVOCATION_DAY = "correlation_aws_bedrock_invocation_many_regions_in_a_day"
USER_SESSION = "correlation_aws_bedrock_call_multi_region_user_session"
MODELS = "correlation_aws_bedrock_many_models"
CATALOGUE = "correlation_aws_bedrock_catalogue_multi_region_long_term_key"
VOLUME = "correlation_aws_bedrock_invocation_volume_long_term_credential"
LISTED_THEN_INVOKED = "correlation_aws_bedrock_catalogue_then_invocation_long_term_key"
LISTED_THEN_INVOKED_ROLE = "correlation_aws_bedrock_catalogue_then_invocation_temporary_credentials"
ACCESS_LONG = "aws_cloudtrail_bedrock_model_access_long_term_key"
ACCESS_SESSION = "aws_cloudtrail_bedrock_model_access_user_session"
ACCESS_TEMPORARY = "aws_cloudtrail_bedrock_model_access_temporary_credentials"
ACCESS_REGIONS_LONG = "correlation_aws_bedrock_model_access_multi_region_long_term_key"
ACCESS_REGIONS_TEMPORARY = "correlation_aws_bedrock_model_access_multi_region_temporary_credentials"
DENIED = "correlation_aws_denied_enumeration_multi_region_long_term_key"
DENIED_DESCRIBE = "correlation_aws_denied_describe_multi_region_long_term_key"
DENIED_SESSION = "correlation_aws_denied_enumeration_multi_region_user_session"
DENIED_DAY = "correlation_aws_denied_enumeration_many_regions_in_a_day"
LOGGING_CHANGED = "aws_cloudtrail_bedrock_invocation_logging_changed"
LOGGING_READ = "aws_cloudtrail_bedrock_invocation_logging_read_long_term_key"
THROUGHPUT = "aws_cloudtrail_bedrock_provisioned_throughput"
CHECKER = "aws_cloudtrail_key_checker_client"
KEY_USER_OUTSIDE = "aws_cloudtrail_bedrock_api_key_user_outside_bedrock"
KEY_USER_ADDED = "aws_cloudtrail_bedrock_api_key_user_credentials_added"

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
    if kind == "AssumedRole":
        user["sessionContext"] = {"sessionIssuer": {"type": "Role", "arn": ISSUER, "accountId": ACCOUNT}}
    number = next(_numbers)
    whole = {
        "eventVersion": "1.11",
        "userIdentity": {k: v for k, v in (user | (identity or {})).items() if v is not _MISSING},
        "eventTime": _at(seconds),
        "eventSource": source,
        "eventName": name,
        "awsRegion": region,
        "sourceIPAddress": ADDRESS,
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


def _at(seconds: float) -> str:
    return (START + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


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


def listed(seconds: float, region: int | str, **fields: Any) -> dict[str, Any]:
    """Return a look at the catalogue of models."""
    return access(seconds, region, **({"name": "ListFoundationModels"} | fields))


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
    """Yield the named scenarios, detection by detection."""
    yield from _denials()
    yield from _invocations()
    yield from _sessions()
    yield from _slow_and_broad()
    yield from _volume_and_order()
    yield from _model_access()
    yield from _single_calls()


def _denials() -> Iterator[Scenario]:
    """Yield what is denied: 5 Regions in 30 minutes, and 4 in a day, which is why a sweep is found by both."""
    window = 30 * MINUTE
    both, slow = {DENIED: [MALLORY], DENIED_DAY: [MALLORY]}, {DENIED_DAY: [MALLORY]}
    yield Scenario("one Region less than the threshold", [denied(60 * i, i) for i in range(4)], slow)
    yield Scenario("one Region less than both thresholds", [denied(60 * i, i) for i in range(3)])
    yield Scenario("exactly at the threshold", [denied(60 * i, i) for i in range(5)], both)
    yield Scenario("across an hour's edge", [denied(50 * MINUTE + 300 * i, i) for i in range(5)], both)
    yield Scenario(
        "the first and the last exactly the window apart",
        [*(denied(i, i) for i in range(4)), denied(window, 4)],
        both,
    )
    yield Scenario(
        "one Region again exactly the window later, four in all",
        [denied(0, 0), *(denied(window, i) for i in range(4))],
        slow,
    )
    yield Scenario(
        "the window and a second apart",
        [*(denied(0, i) for i in range(4)), denied(window + 1, 4)],
        slow,
        within_a_grain={DENIED: [MALLORY]},
    )
    yield Scenario(
        "the window and two grains apart",
        [*(denied(0, i) for i in range(4)), denied(window + 2 * MINUTE, 4)],
        slow,
    )
    yield Scenario(
        "two principals interleaved, neither at the threshold",
        [denied(10 * i, i, arn=MALLORY if i % 2 else TRENT) for i in range(6)],
    )
    yield Scenario(
        "two principals interleaved, both over it",
        [denied(10 * i, i, arn=MALLORY if i % 2 else TRENT) for i in range(10)],
        {DENIED: [MALLORY, TRENT], DENIED_DAY: [MALLORY, TRENT]},
    )
    four = [denied(60 * i, i) for i in range(4)]
    yield Scenario("duplicates of one event less than the threshold", [*four, *four], slow)
    yield Scenario("the same Region many times", [denied(i, i % 3) for i in range(200)])
    yield Scenario("out of order", [denied(60 * i, i) for i in (3, 0, 4, 1, 2)], both)
    yield Scenario("no ARN", [denied(60 * i, i, arn=MISSING) for i in range(6)])
    yield Scenario("a null ARN", [denied(60 * i, i, arn=None) for i in range(6)])
    yield Scenario("an empty ARN", [denied(60 * i, i, arn="") for i in range(6)])
    yield Scenario("no Region in some events", [*four, denied(300, "us-east-1", awsRegion=MISSING)], slow)
    yield Scenario("temporary credentials of a role denied", [denied(60 * i, i, key=ASIA) for i in range(6)])
    yield Scenario(
        "a key that only looks alike",
        [denied(60 * i, i, key="XAKIA" + AKIA[4:], identity={"type": "AssumedRole"}) for i in range(6)],
    )
    yield Scenario(
        "denied and allowed mixed",
        [*four, *(denied(60 * i, i, errorCode=MISSING) for i in range(4, 9))],
        slow,
    )
    yield Scenario(
        "denied as EC2 says it, among others",
        [
            denied(60 * i, i, errorCode=code, source="ec2.amazonaws.com", name="GetEbsEncryptionByDefault")
            for i, code in enumerate(
                ["Client.UnauthorizedOperation", "UnauthorizedOperation", "AccessDeniedException", "AccessDenied"]
            )
        ]
        + [denied(300, 4, errorCode="VpceAccessDenied", source="s3.amazonaws.com", name="GetBucketAcl")],
        both,
    )
    yield Scenario(
        "an error that is no denial",
        [denied(60 * i, i, errorCode="ThrottlingException") for i in range(6)],
    )
    yield Scenario(
        "objects that may not be read, which are data events",
        [
            denied(60 * i, i, source="s3.amazonaws.com", name="GetObject", eventCategory="Data", managementEvent=False)
            for i in range(6)
        ],
    )
    described = {
        "name": "DescribeInstances",
        "source": "ec2.amazonaws.com",
        "errorCode": "Client.UnauthorizedOperation",
    }
    yield Scenario(
        "Describe calls",
        [denied(60 * i, i, **described) for i in range(5)],
        {DENIED_DESCRIBE: [MALLORY], DENIED_DAY: [MALLORY]},
    )
    yield Scenario("Describe calls in one Region less", [denied(60 * i, i, **described) for i in range(4)], slow)
    yield Scenario(
        "List and Describe calls, neither at the threshold",
        [denied(0, 0), denied(1, 1), denied(2, 2, **described)],
    )
    yield Scenario(
        "in another case, as Sigma compares",
        [denied(60 * i, i, name="LISTfunctions", errorCode="accessdenied", key=AKIA.lower()) for i in range(5)],
        both,
        missed_with_case=(DENIED, DENIED_DAY),
    )
    yield Scenario(
        "two attacks hours apart",
        [denied(shift + 60 * i, i) for shift in (0, 5 * HOUR) for i in range(5)],
        {DENIED: [MALLORY, MALLORY], DENIED_DAY: [MALLORY]},
    )
    yield Scenario(
        "one Region every ten minutes, four in any window",
        [denied(10 * MINUTE * i, i) for i in range(17)],
        slow,
    )
    yield Scenario("one Region every ten hours, three in any day", [denied(10 * HOUR * i, i) for i in range(5)])
    yield Scenario("one attack that lasts", [denied(2 * MINUTE * i, i % 9) for i in range(60)], both)
    session = {"key": ASIA, "identity": {"type": "IAMUser", "sessionContext": MISSING}}
    yield Scenario(
        "denials of a session that GetSessionToken made of a user's key",
        [denied(60 * i, i, **session, **(described if i % 2 else {})) for i in range(5)],
        {DENIED_SESSION: [MALLORY]},
    )
    yield Scenario("such a session in one Region less", [denied(60 * i, i, **session) for i in range(4)])
    yield Scenario(
        "denials of a user in the console",
        [denied(60 * i, i, **session, sessionCredentialFromConsole="true") for i in range(6)],
    )
    odd = f'arn:aws:sts::{ACCOUNT}:assumed-role/app/o\'brien "x" \\ %_*? | ünïcødé 名前'
    yield Scenario(
        "quotes and signs in the ARN and the user agent",
        [
            denied(60 * i, i, arn=odd, userAgent="a'; DROP TABLE cloudtrail; -- \" | delete ${x} `y` \\")
            for i in range(5)
        ],
        {DENIED: [odd], DENIED_DAY: [odd]},
    )


def _invocations() -> Iterator[Scenario]:
    """Yield what users' keys and Bedrock API keys invoke: 3 Regions in 30 minutes, and 2."""
    window, found = 30 * MINUTE, {INVOCATION_LONG: [MALLORY]}
    yield Scenario("one Region invoked", [invoked(i, 0) for i in range(9)])
    yield Scenario(
        "models invoked in three Regions with a long-term key",
        [invoked(0, 0), invoked(60, 2, name="CreateModelInvocationJob"), invoked(window, 1, name="ConverseStream")],
        found,
    )
    yield Scenario(
        "models invoked in three Regions, the window and two grains apart",
        [invoked(0, 0), invoked(60, 2), invoked(window + 2 * MINUTE, 1)],
    )
    yield Scenario(
        "one fail-over, and a Region for small requests",
        [invoked(i, i % 2, **({"errorCode": "ThrottlingException"} if i == 2 else {})) for i in range(9)],
    )
    yield Scenario(
        "three Regions as the root user", [invoked(i, i, identity={"type": "Root"}) for i in range(3)], found
    )
    yield Scenario(
        "a Bedrock API key of any user, denied, so without a marker and without a key",
        [invoked(i, i, key=MISSING, requestParameters=None, errorCode="AccessDenied") for i in range(3)],
        found,
    )
    yield Scenario(
        "a key whose id begins as a service-specific credential's",
        [invoked(i, i, key="ACCA" + AKIA[4:], errorCode="AccessDenied") for i in range(3)],
        found,
    )
    yield Scenario(
        "a call, and the service's own record of it elsewhere",
        [
            invoked(0, 0),
            invoked(0, 0, eventType="AwsServiceEvent"),
            invoked(
                1, 1, requestParameters=None, resources=[{"type": "AWS::Bedrock::Model", "ARN": "arn:aws:bedrock"}]
            ),
            invoked(1, 2, eventType="AwsServiceEvent"),
        ],
    )
    yield Scenario(
        "agents and inference by another endpoint, which are data events",
        [invoked(i, i, name="InvokeInlineAgent", eventCategory="Data") for i in range(2)]
        + [invoked(9, 2, name="CreateInference", source="bedrock-mantle.amazonaws.com", eventCategory="Data")],
        found,
    )
    named = {"arn": API_USER, "key": MISSING, "identity": {"userName": "BedrockAPIKey-ab12"}}
    yield Scenario(
        "a Bedrock API key made in the console, denied, so without a marker",
        [invoked(i, i, **named, errorCode="AccessDenied") for i in range(2)],
        {INVOCATION_API_KEY: [API_USER]},
    )
    marked = {"additionalEventData": {"callWithBearerToken": True, "inferenceRegion": "x"}}
    yield Scenario(
        "a Bedrock API key of any user, by its bearer marker",
        [invoked(i, i, key="", identity={"userName": "app"}, **marked) for i in range(2)],
        {INVOCATION_API_KEY: [MALLORY]},
    )
    yield Scenario("a Bedrock API key in one Region", [invoked(i, 0, key="", **marked) for i in range(9)])
    yield Scenario(
        "no bearer marker",
        [invoked(i, i, key="", additionalEventData={"callWithBearerToken": False}) for i in range(2)],
    )
    yield Scenario(
        "a short-term Bedrock API key, as a role",
        [invoked(i, i, arn=ROLE, key=ASIA, **marked) for i in range(2)],
        {INVOCATION_API_KEY: [ROLE]},
    )
    yield Scenario(
        "an API key on another endpoint, which has its marker elsewhere",
        [
            invoked(
                i,
                i,
                name="CreateInference",
                source=f"{source}.amazonaws.com",
                key=MISSING,
                requestParameters={"callWithBearerToken": True},
                eventCategory="Data",
            )
            for i, source in enumerate(["bedrock-mantle", "aws-external-anthropic"])
        ],
        {INVOCATION_API_KEY: [MALLORY]},
    )
    yield Scenario(
        "cross-Region inference from one Region",
        [invoked(60 * i, 0, additionalEventData={"inferenceRegion": REGIONS[i]}) for i in range(8)],
    )


def _sessions() -> Iterator[Scenario]:
    """Yield what sessions of users and of roles invoke: 3 Regions in 30 minutes."""
    user: dict[str, Any] = {"key": ASIA, "identity": {"type": "IAMUser", "sessionContext": MISSING}}
    yield Scenario(
        "models invoked and listed in three Regions with a session of a user",
        [invoked(0, 0, **user), listed(60, 1, **user), invoked(30 * MINUTE, 2, **user)],
        {USER_SESSION: [MALLORY]},
    )
    yield Scenario("a session of a user in two Regions", [invoked(60 * i, i % 2, **user) for i in range(9)])
    yield Scenario(
        "a user in the console, in three Regions",
        [invoked(60 * i, i, **user, sessionCredentialFromConsole="true") for i in range(3)],
    )
    whole = {INVOCATION_TEMPORARY: [ASIA], INVOCATION_ROLE: [f"{ISSUER} {ADDRESS}"]}
    yield Scenario(
        "models invoked in three Regions with one session of a role",
        [invoked(60 * i, i, arn=ROLE, key=ASIA) for i in range(3)],
        whole,
    )
    yield Scenario(
        "one session of a role in two Regions", [invoked(60 * i, i % 2, arn=ROLE, key=ASIA) for i in range(9)]
    )
    yield Scenario(
        "one session of a role from an address in each Region",
        [invoked(60 * i, i, arn=ROLE, key=ASIA, sourceIPAddress=f"203.0.113.{i}") for i in range(3)],
        {INVOCATION_TEMPORARY: [ASIA]},
    )
    yield Scenario(
        "one role from one address with a session in each Region",
        [invoked(60 * i, i, arn=f"{ROLE}-{i}", key=f"{ASIA[:-1]}{i}") for i in range(3)],
        {INVOCATION_ROLE: [f"{ISSUER} {ADDRESS}"]},
    )
    yield Scenario(
        "one function in four Regions, with a key and an address in each",
        [invoked(60 * i, i, arn=ROLE, key=f"{ASIA[:-1]}{i}", sourceIPAddress=f"203.0.113.{i}") for i in range(4)],
    )


def _slow_and_broad() -> Iterator[Scenario]:
    """Yield what is counted by day, by model, and in the catalogue: 4 Regions, 6 models, 3 Regions."""
    yield Scenario(
        "one Region every six hours with a long-term key",
        [invoked(6 * HOUR * i, i, key="", additionalEventData={"callWithBearerToken": i == 3}) for i in range(4)],
        {INVOCATION_DAY: [MALLORY]},
    )
    yield Scenario("one Region every ten hours with a long-term key", [invoked(10 * HOUR * i, i) for i in range(5)])
    yield Scenario("three Regions in a day", [invoked(HOUR * i, i % 3) for i in range(20)])

    def tried(count: int) -> list[dict[str, Any]]:
        return [
            invoked(20 * i, 0, arn=ROLE, key=ASIA, requestParameters={"modelId": f"us.example.model-{i}"})
            for i in range(count)
        ]

    yield Scenario("six models with one session of a role, in one Region", tried(6), {MODELS: [ROLE]})
    yield Scenario("five models, one of them again and again", [*tried(5), *tried(3), *tried(2)])
    yield Scenario(
        "six models in the console's playground",
        [event | {"sessionCredentialFromConsole": "true"} for event in tried(6)],
    )
    yield Scenario(
        "six models in six hours", [event | {"eventTime": _at(HOUR * i)} for i, event in enumerate(tried(6))]
    )
    yield Scenario(
        "the catalogue listed in three Regions, on both endpoints",
        [
            listed(0, 0),
            listed(9, 1, name="ListInferenceProfiles"),
            listed(30 * MINUTE, 2, name="ListModels", source="bedrock-mantle.amazonaws.com"),
        ],
        {CATALOGUE: [MALLORY]},
    )
    yield Scenario("the catalogue listed in two Regions", [listed(i, i % 2) for i in range(9)])
    yield Scenario("the catalogue listed by a role", [listed(60 * i, i, arn=ROLE, key=ASIA) for i in range(4)])


def _volume_and_order() -> Iterator[Scenario]:
    """Yield what is counted by call, 500 in an hour, and what comes one after the other within an hour."""
    yield Scenario("500 calls in an hour", [invoked(7 * i, 0) for i in range(500)], {VOLUME: [MALLORY]})
    yield Scenario("499 calls in an hour", [invoked(7 * i, 0) for i in range(499)])
    yield Scenario(
        "the catalogue listed, then a model invoked, an hour apart",
        [listed(0, 0), invoked(HOUR, 1)],
        {LISTED_THEN_INVOKED: [MALLORY]},
    )
    yield Scenario("a model invoked, then the catalogue listed", [invoked(0, 0), listed(60, 0)])
    yield Scenario("listed by one and invoked by another", [listed(0, 0), invoked(60, 0, arn=TRENT)])
    yield Scenario(
        "the catalogue listed and models invoked in two Regions with a role",
        [listed(0, 0, arn=ROLE, key=ASIA), invoked(60, 0, arn=ROLE, key=ASIA), invoked(90, 1, arn=ROLE, key=ASIA)],
        {LISTED_THEN_INVOKED_ROLE: [ROLE]},
    )


def _model_access() -> Iterator[Scenario]:
    """Yield calls about model access: a change is an alert each, and 3 Regions in an hour, with calls that ask."""
    read = "GetFoundationModelAvailability"
    yield Scenario(
        "model access with a long-term key, one Region",
        [access(0, 0), access(30, 0, name=read)],
        {ACCESS_LONG: [MALLORY]},
    )
    yield Scenario(
        "model access with a long-term key, three Regions in an hour",
        [access(0, 0), access(60, 1, name=read), access(HOUR, 2, name="PutFoundationModelEntitlement")],
        {ACCESS_LONG: [MALLORY, MALLORY], ACCESS_REGIONS_LONG: [MALLORY]},
    )
    yield Scenario(
        "model access with a long-term key, three Regions in more than an hour",
        [access(0, 0), access(60, 1, name=read), access(HOUR + 4 * MINUTE, 2)],
        {ACCESS_LONG: [MALLORY, MALLORY]},
    )
    yield Scenario(
        "a list of models kept up to date in two Regions",
        [access(i, i % 2, name=read) for i in range(60)],
        {ACCESS_LONG: []},
    )
    yield Scenario(
        "model access from the console",
        [access(60 * i, i, arn=ROLE, key=ASIA, sessionCredentialFromConsole="true") for i in range(4)],
        {ACCESS_TEMPORARY: []},
    )
    yield Scenario(
        "model access with a role, three Regions",
        [access(60 * i, i, arn=ROLE, key=ASIA) for i in range(3)],
        {ACCESS_TEMPORARY: [ROLE] * 3, ACCESS_REGIONS_TEMPORARY: [ROLE]},
    )
    yield Scenario(
        "model access with a session of a user",
        [access(0, 0, key=ASIA, identity={"type": "IAMUser"})],
        {ACCESS_SESSION: [MALLORY], ACCESS_TEMPORARY: [], ACCESS_LONG: []},
    )
    yield Scenario(
        "an application to a trusted access program, and a look at it",
        [
            access(0, 0, name="StartTrustedAccessProgramAccountApplication"),
            access(60, 0, name="PutTrustedAccessProgramAccountEnrollment"),
            access(90, 0, name="ListTrustedAccessPrograms"),
        ],
        {ACCESS_LONG: [MALLORY, MALLORY]},
    )


def _single_calls() -> Iterator[Scenario]:
    """Yield calls that are an alert each."""
    get, put, delete = (f"{verb}ModelInvocationLoggingConfiguration" for verb in ("Get", "Put", "Delete"))
    role = {"arn": ROLE, "key": ASIA}
    yield Scenario(
        "the log of invocations asked for, put and deleted",
        [access(0, 0, name=get), access(60, 0, name=put, **role), access(90, 0, name=delete)],
        {LOGGING_READ: [MALLORY], LOGGING_CHANGED: [ROLE, MALLORY]},
    )
    yield Scenario("the log of invocations asked for by a role", [access(0, 0, name=get, **role)], {LOGGING_READ: []})
    yield Scenario(
        "throughput bought, looked at and given back",
        [
            access(60 * i, 0, name=f"{verb}ProvisionedModelThroughput", **role)
            for i, verb in enumerate(["Create", "Get", "Delete"])
        ],
        {THROUGHPUT: [ROLE]},
    )
    clients = ["TruffleHog", "Boto3/1.43.74 iam_masscek/2.0", "aws-cli/2.15", "Boto3/1.43.74 md/Botocore#1.43.74"]
    yield Scenario(
        "checkers of stolen keys, and other clients",
        [
            access(i, 0, name="GetCallerIdentity", source="sts.amazonaws.com", userAgent=client)
            for i, client in enumerate(clients)
        ],
        {CHECKER: [MALLORY, MALLORY]},
    )
    named = {"arn": API_USER, "identity": {"userName": "BedrockAPIKey-ab12"}}
    yield Scenario(
        "a user of a Bedrock API key outside Bedrock, and where it belongs",
        [
            access(0, 0, name="ListRoles", source="iam.amazonaws.com", **named),
            access(60, 0, name="GetCallerIdentity", source="sts.amazonaws.com", **named),
            access(90, 0, name="ListFoundationModels", **named),
            access(99, 0, name="Decrypt", source="kms.amazonaws.com", arn=API_USER)
            | {
                "userIdentity": {"type": "IAMUser", "arn": API_USER, "userName": "BedrockAPIKey-ab12"}
                | {"invokedBy": "bedrock.amazonaws.com"}
            },
        ],
        {KEY_USER_OUTSIDE: [API_USER]},
    )
    yield Scenario(
        "an access key for a user of a Bedrock API key, and for another",
        [
            access(
                i, 0, name="CreateAccessKey", source="iam.amazonaws.com", requestParameters={"userName": name}, **role
            )
            for i, name in enumerate(["BedrockAPIKey-ab12", "bob", "AeaApiKey-ab12"])
        ],
        {KEY_USER_ADDED: [ROLE, ROLE]},
    )


#: Who calls. The last ones differ from the first in case only, or are no principal.
_ARNS = [MALLORY, TRENT, ROLE, MALLORY.upper(), "ünï'\"\\ | $x `y`", "", None, MISSING]
_KEYS = [AKIA, ASIA, AKIA.lower(), "XAKIA7", "AKI", "AKIA", "", None, MISSING]
_ERRORS = ["AccessDenied", "Client.UnauthorizedOperation", "accessdenied", "AccessDenied ", "Throttling", None, MISSING]
_MARKERS = [True, False, "true", "TRUE", "yes", None]
#: For each rule that counts: the calls, the key, the window and the threshold.
_COUNTED = [
    (denied, AKIA, 30 * MINUTE, 5),
    (denied, AKIA, 24 * HOUR, 4),
    (invoked, AKIA, 30 * MINUTE, 3),
    (invoked, ASIA, 30 * MINUTE, 3),
    (listed, AKIA, 30 * MINUTE, 3),
    (access, AKIA, HOUR, 3),
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
    "sourceIPAddress": st.sampled_from(["203.0.113.1", "", MISSING]),
    "eventType": st.sampled_from(["AwsServiceEvent", "awsserviceevent", MISSING]),
    "eventCategory": st.sampled_from(["Data", "data", MISSING]),
    "requestParameters": st.builds(lambda model: {"modelId": model}, st.sampled_from(["a", "b", "A", "", None])),
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


def drawn(examples: st.SearchStrategy[Any], most: int) -> list[Any]:
    """Return what is drawn, up to so many examples, where an engine is asked about all of them at once."""
    found = []

    @settings(max_examples=most, deadline=None, suppress_health_check=list(HealthCheck))
    @given(example=examples)
    def draw(example: Any) -> None:
        found.append(example)

    draw()
    return found
