"""Hostile values: an engine matches exactly the events that the Sigma value means, or the conversion refuses."""

from __future__ import annotations

import string
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import oracle
from engines import Engine, only
from events import DENIED, MISSING, denied
from hostile import MODIFIERS, TEXTS, near, value_rule
from keywatch.conversion.settings import load_settings
from keywatch.errors import UserError
from packs import written

Event = dict[str, Any]
#: How many batches of values are drawn for each engine.
DRAWN = {
    "duckdb": 25,
    "athena": 25,
    "lake": 5,  # its conditions are Athena's
    "securitylake": 5,
    "datadog": 40,
    "esql": 30,
    "lucene": 30,
    "opensearch": 30,
    "sentinel": 60,
    "spl": 120,
}


def events_for(values: list[str]) -> list[Event]:
    texts = sorted({text for value in values for text in near(value)})
    # Elastic keeps keywords of up to 1024 characters, and drops empty ones; that is tested by itself.
    events = [denied(0, 0, userAgent=text) for text in texts if 0 < len(text) <= 1024 and "İ" not in text]
    return [*events, denied(0, 0, userAgent=MISSING)]


def matched(engine: Engine, document: dict[str, Any], events: list[Event], folder: Path) -> set[str]:
    [found] = engine.found(engine.converted(rules=[written([document], folder)]), events).values()
    return set(found)


def differing(engine: Engine, document: dict[str, Any], events: list[Event], folder: Path) -> set[str | None] | None:
    """Return the texts that an engine is wrong about; None if the conversion refuses the rule."""
    try:
        found = matched(engine, document, events, folder)
    except UserError as error:
        assert "\n" not in str(error)
        return None
    meant = oracle.cased(document) if engine.cased else document
    wanted = {event["eventID"] for event in events if oracle.matches(meant, event)}
    return {event.get("userAgent") for event in events if event["eventID"] in found ^ wanted}


@pytest.mark.parametrize("name", DRAWN)
def test_hostile_values(name: str, engines: Callable[[str], Engine], tmp_path_factory: pytest.TempPathFactory) -> None:
    engine, folder = engines(name), tmp_path_factory.mktemp("values")
    seen = Counter[bool]()
    drawn: list[tuple[str, str, bool]] = []

    @settings(max_examples=DRAWN[name], deadline=None, suppress_health_check=list(HealthCheck))
    @given(values=st.lists(st.tuples(TEXTS, st.sampled_from(MODIFIERS), st.booleans()), min_size=5, max_size=8))
    def matches_what_is_meant(values: list[tuple[str, str, bool]]) -> None:
        drawn.extend(values)
        if not engine.at_once or len(drawn) > 30:
            check()

    def check() -> None:
        events = events_for([value for value, _, _ in drawn])
        while drawn:
            value, modifier, negated = drawn.pop()
            wrong = differing(engine, value_rule(value, modifier, negated=negated), events, folder)
            seen[wrong is None] += 1
            assert not wrong, (value, modifier, negated)

    matches_what_is_meant()
    check()
    assert seen[False] > seen[True] / 4  # refusing everything would be no way to be right


#: Values that an engine once matched something else with.
FOUND_WRONG = ["<\\", ">=1", "x<y", "x>", "ä", "ÄÖ"]


@pytest.mark.parametrize("name", DRAWN)
@pytest.mark.parametrize("modifier", MODIFIERS)
def test_values_that_were_wrong_once(
    name: str, modifier: str, engines: Callable[[str], Engine], tmp_path: Path
) -> None:
    engine, events = engines(name), events_for(FOUND_WRONG)
    for value in FOUND_WRONG:
        assert differing(engine, value_rule(value, modifier), events, tmp_path) in (None, set())


@pytest.mark.parametrize("name", DRAWN)
@pytest.mark.parametrize("negated", [False, True])
@pytest.mark.parametrize("network", ["198.51.100.0/24", "198.51.100.4/30", "10.0.0.0/7", "0.0.0.0/0", "2001:db8::/32"])
def test_networks(network: str, negated: bool, name: str, engines: Callable[[str], Engine], tmp_path: Path) -> None:
    addresses = ["198.51.100.7", "198.51.100.8", "198.51.101.7", "10.1.2.3", "11.1.2.3", "12.1.2.3", "AWS Internal"]
    events = [denied(0, 0, sourceIPAddress=address) for address in [*addresses, "bedrock.amazonaws.com", "2001:db8::1"]]
    document = value_rule("x", "", negated=negated)
    document["detection"]["value"] = {"sourceIPAddress|cidr": network}
    try:
        found = matched(engines(name), document, events, tmp_path)
    except UserError as error:
        assert "matches networks by patterns" in str(error)
        assert ":" in network or network.endswith("/0")
        return
    assert found == {event["eventID"] for event in events if oracle.matches(document, event)}


@pytest.mark.parametrize("name", DRAWN)
@pytest.mark.parametrize("modifier", ["", "|contains"])
def test_ten_kilobytes(name: str, modifier: str, engines: Callable[[str], Engine], tmp_path: Path) -> None:
    long = "".join(string.ascii_lowercase[i * i % 26] for i in range(10_000))
    events = [denied(0, 0, userAgent=text) for text in (long, long[:-1], "short")]
    if name in ("esql", "opensearch"):
        with pytest.raises(UserError, match=r"(Elastics|OpenS)earch compares with up to"):
            matched(engines(name), value_rule(long, modifier), events, tmp_path)
        return
    if name == "sentinel":
        with pytest.raises(UserError, match="Sentinel takes up to 10000"):
            matched(engines(name), value_rule(long, modifier), events, tmp_path)
        return
    found = matched(engines(name), value_rule(long, modifier), events, tmp_path)
    # Elastic's integration keeps keywords of up to 1024 characters: what is longer is as if it were not there.
    assert found == (set() if name == "lucene" else {events[0]["eventID"]})


@pytest.mark.parametrize("modifier", MODIFIERS)
@pytest.mark.parametrize("text", ["aa", "ab", "a*"])  # the patterns that cost most
def test_the_longest_value_that_elasticsearch_takes(
    text: str, modifier: str, engines: Callable[[str], Engine], tmp_path: Path
) -> None:
    wild = text == "a*" or modifier not in ("", "|cased")
    value = (text * 500)[: 298 if wild else 1000]
    events = [denied(0, 0, userAgent=value.replace("*", "b"))]
    assert matched(engines("esql"), value_rule(value, modifier), events, tmp_path) == {events[0]["eventID"]}


#: Sessions whose names would end a literal, a clause or a command.
_SESSIONS = ["o'brien", 'x" OR "1"="1', "x') OR 1=1 --", "back\\slash", "a|b", "$x$ ${x} {{x}} %s", "名 \U0001f600"]


@pytest.mark.parametrize("name", [name for name in DRAWN if name != "lucene"])
def test_a_filter_leaves_out_whom_it_names_and_nobody_else(
    name: str, engines: Callable[[str], Engine], tmp_path: Path
) -> None:
    arns = [f"arn:aws:sts::111122223333:assumed-role/app/{session}" for session in _SESSIONS]
    events = [denied(i, i, arn=arn) for arn in [*arns, *(f"{arn}x" for arn in arns)] for i in range(5)]
    for arn in arns:
        path = tmp_path / "filter.yml"
        test = {"rules": "any", "one": {"userIdentity.arn": arn}, "condition": "not one"}
        logsource = {"product": "aws", "service": "cloudtrail"}
        path.write_text(yaml.safe_dump({"title": arn, "logsource": logsource, "filter": test}), encoding="utf-8")
        engine = engines(name)
        conversion = only(engine.converted(filters=[path]), DENIED)
        assert {*engine.found(conversion, events)[DENIED]} == {event["userIdentity"]["arn"] for event in events} - {arn}


@pytest.mark.parametrize(
    "setting",
    [
        "splunk: {index: 'x\" | delete'}",
        "splunk: {index: '`macro`'}",
        "splunk: {sourcetype: 'a b'}",
        'splunk: {index: "a\\nb"}',
        "elasticsearch: {index: 'x | LIMIT 0'}",
        "elasticsearch: {index: '../x'}",
        "elasticsearch: {index: '{{x}}'}",
        "athena: {table: 'x; DROP TABLE y'}",
    ],
)
def test_a_name_in_the_settings_can_say_nothing_else(setting: str, tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text(setting, encoding="utf-8")
    with pytest.raises(UserError, match="is not a name or pattern of letters, digits"):
        load_settings(path)
