"""Hostile values: an engine matches exactly the events that the Sigma value means, or the conversion refuses."""

from __future__ import annotations

import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import strategies as st

import oracle
from engines import Engine
from events import DENIED, MISSING, denied, drawn
from hostile import MODIFIERS, TEXTS, near, value_rule
from keywatch.conversion.settings import load_settings
from keywatch.errors import UserError
from packs import attempted, only, written

Event = dict[str, Any]
#: How many batches of values are drawn for each engine.
DRAWN = {
    "duckdb": 25,
    "athena": 10,
    "lake": 3,  # its conditions are Athena's
    "securitylake": 3,
    "datadog": 40,
    "esql": 30,
    "lucene": 30,
    "opensearch": 30,
    "sentinel": 30,
    "spl": 60,
}


def events_for(values: list[str]) -> list[Event]:
    texts = sorted({text for value in values for text in near(value)})
    # Elastic keeps keywords of up to 1024 characters, and drops empty ones; that is tested by itself.
    events = [denied(0, 0, userAgent=text) for text in texts if 0 < len(text) <= 1024 and "İ" not in text]
    return [*events, denied(0, 0, userAgent=MISSING)]


def matched(engine: Engine, document: dict[str, Any], events: list[Event], folder: Path) -> set[str]:
    [found] = engine.found(engine.converted(rules=[written([document], folder)]), events).values()
    return set(found)


def checked(engine: Engine, values: list[tuple[str, str, bool]], folder: Path) -> int:
    """Assert that an engine finds what each of several values means, by its modifier and negated or not.

    :return: the number of values of which the conversion refuses the rule.
    """
    events = events_for([value for value, _, _ in values])
    documents = {
        str(number): value_rule(value, modifier, negated=negated) | {"title": str(number)}
        for number, (value, modifier, negated) in enumerate(values)
    }
    path = written([*documents.values()], folder)
    conversion = attempted(engine.target, engine.output_format, rules=[path])
    assert not [problem for problem in conversion.problems if "\n" in str(problem)]
    for name, found in engine.found(conversion, events).items():
        document = documents[conversion.rules[name].title]
        meant = oracle.cased(document) if engine.cased else document
        wanted = {event["eventID"] for event in events if oracle.matches(meant, event)}
        wrong = {event.get("userAgent") for event in events if event["eventID"] in {*found} ^ wanted}
        assert not wrong, document["detection"]
    return len(documents) - len(conversion.queries)


@pytest.mark.parametrize("name", DRAWN)
def test_hostile_values(name: str, engines: Callable[[str], Engine], tmp_path: Path) -> None:
    values = st.lists(st.tuples(TEXTS, st.sampled_from(MODIFIERS), st.booleans()), min_size=5, max_size=8)
    asked = [value for batch in drawn(values, DRAWN[name]) for value in batch]
    refused = sum(checked(engines(name), asked[start : start + 40], tmp_path) for start in range(0, len(asked), 40))
    assert refused < len(asked) * 0.8  # refusing everything would be no way to be right


#: Values that an engine once matched something else with.
FOUND_WRONG = ["<\\", ">=1", "x<y", "x>", "ä", "ÄÖ", "😀?", "Ä.\\\\?*😀"]


@pytest.mark.parametrize("name", DRAWN)
def test_values_that_were_wrong_once(name: str, engines: Callable[[str], Engine], tmp_path: Path) -> None:
    values = [(value, modifier, False) for value in FOUND_WRONG for modifier in MODIFIERS]
    checked(engines(name), values[:: 5 if DRAWN[name] == 3 else 1], tmp_path)


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
@pytest.mark.parametrize("name", ["esql"])
def test_the_longest_value_that_elasticsearch_takes(
    name: str, text: str, modifier: str, engines: Callable[[str], Engine], tmp_path: Path
) -> None:
    wild = text == "a*" or modifier not in ("", "|cased")
    value = (text * 500)[: 298 if wild else 1000]
    events = [denied(0, 0, userAgent=value.replace("*", "b"))]
    assert matched(engines(name), value_rule(value, modifier), events, tmp_path) == {events[0]["eventID"]}


#: Sessions whose names would end a literal, a clause or a command.
_SESSIONS = ["o'brien", 'x" OR "1"="1', "x') OR 1=1 --", "back\\slash", "a|b", "$x$ ${x} {{x}} %s", "名 \U0001f600"]


@pytest.mark.parametrize("name", [name for name in DRAWN if name != "lucene"])
def test_a_filter_leaves_out_whom_it_names_and_nobody_else(
    name: str, engines: Callable[[str], Engine], tmp_path: Path
) -> None:
    arns = [f"arn:aws:sts::111122223333:assumed-role/app/{session}" for session in _SESSIONS]
    events = [denied(i, i, arn=arn) for arn in [*arns, *(f"{arn}x" for arn in arns)] for i in range(5)]
    paths = [tmp_path / f"{number}.yml" for number in range(len(arns))]
    for path, arn in zip(paths, arns, strict=True):
        test = {"rules": "any", "one": {"userIdentity.arn": arn}, "condition": "not one"}
        logsource = {"product": "aws", "service": "cloudtrail"}
        path.write_text(yaml.safe_dump({"title": arn, "logsource": logsource, "filter": test}), encoding="utf-8")
    engine = engines(name)
    for filters in ([], paths[:1], paths):
        conversion = only(engine.converted(filters=filters), DENIED)
        named = {*arns[: len(filters)]}
        assert {*engine.found(conversion, events)[DENIED]} == {event["userIdentity"]["arn"] for event in events} - named


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
