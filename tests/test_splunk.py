"""The Splunk artefacts: AppInspect, the .conf files read back, and the searches by Splunk's documented semantics."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, time
from pathlib import Path
from typing import Any

import pytest
from sigma.backends.keywatch.splunk.saved_search import conf_stanza, cron
from sigma.pipelines.keywatch._pack import PACK

import oracle
from engines import spl
from engines.conf import read_conf
from events import DENIED, MISSING, denied
from hostile import try_rules
from keywatch.conversion.convert import Conversion, write
from packs import attempted, converted, one_rule, queries, written

SEARCHES = queries("splunk", "spl")

RULES = oracle.load(PACK)


def one_search(tmp_path: Path, selection: dict[str, Any]) -> str | list[str]:
    """Convert a rule of this selection alone; return its search, or what is wrong with it."""
    conversion = attempted("splunk", "spl", rules=[written([one_rule(selection)], tmp_path)])
    return [str(problem) for problem in conversion.problems] or conversion.queries["rules"][0]


#: Every way to ask for no error code, for any, and for one that the add-on's `success` would match.
NONE = [
    {"errorCode": None},
    {"errorCode|exists": False},
    {"errorCode": ""},
    {"errorCode": []},
    {"errorCode|re|neq": ".+"},
]
ANY = [
    {"errorCode": "*"},
    {"errorCode|exists": True},
    {"errorCode|re": ".+"},
    {"errorCode|contains": ""},
    {"errorCode|neq": None},
]
LIKE = [{"errorCode|contains": "cc"}, {"errorCode|startswith": ["S", "Acc"]}, {"errorCode|endswith|all": ["d", "ied"]}]


@pytest.mark.parametrize(
    ("asked", "found"),
    [(asked, [False, True]) for asked in NONE] + [(asked, [True, False]) for asked in [*ANY, *LIKE]],
    ids=str,
)
def test_success_is_what_the_add_on_makes_of_no_error_code(
    tmp_path: Path, asked: dict[str, Any], found: list[bool]
) -> None:
    search = one_search(tmp_path, asked)
    assert isinstance(search, str), search
    events = [spl.flat(denied(0, 0)), spl.flat(denied(1, 0, errorCode=MISSING))]
    assert [len(spl.run(search, [event])) == 1 for event in events] == found
    del events[1]["errorCode"]  # without the add-on
    assert len(spl.run(search, [events[1]])) == found[1]


def test_a_flood_stays_under_max_stream_window(tmp_path: Path) -> None:
    """Six Regions a second for half an hour are 10,806 rows; one more Region comes first, and one last."""
    path = tmp_path / "settings.yaml"
    path.write_text(f"rules: {{{DENIED}: {{threshold: 8}}}}")
    search = queries("splunk", "spl", settings=path)[DENIED]
    events = [spl.flat(denied(second, region)) for second in range(1801) for region in range(6)]
    late = spl.flat(denied(1800, 6))
    assert spl.run(search, [*events, late]) == []
    [row] = spl.run(search, [spl.flat(denied(0, 7)), *events, late])
    assert (row["value_count"], row["event_count"]) == (8, 10_808)


def test_saved_searches(tmp_path: Path) -> None:
    conversion = converted("splunk")
    [path] = write(conversion, tmp_path)
    stanzas = read_conf(path.read_text(encoding="utf-8"))
    names = dict(zip(conversion.rules, stanzas, strict=True))
    for name, rule in conversion.rules.items():
        whole = f"Keywatch - {rule.title}"
        assert names[name] == whole or len(whole) > LONGEST_NAME
        beginning, _, end = names[name].partition(" ... ")
        assert whole.startswith(beginning)
        assert end in ("", f"({str(rule.id)[:8]})")
        stanza = stanzas[names[name]]
        assert stanza["search"] == SEARCHES[name]
        assert stanza["enableSched"] == "1"
        assert stanza["cron_schedule"] == "*/15 * * * *"
        window = rule.timespan.seconds // 60 if name.startswith("correlation_") else 0  # type: ignore[union-attr]
        assert stanza["dispatch.earliest_time"] == f"-{window + 30}m@m"
        assert stanza["dispatch.latest_time"] == "now"
        assert stanza["alert.suppress"] == "1"
        assert stanza["alert.suppress.period"] == f"{(window + 31) * 60}s"
        group = [field.replace(".", "_") for field in RULES[name].get("correlation", {}).get("group-by", ["eventID"])]
        assert stanza["alert.suppress.fields"] == ",".join(group)
        techniques = [tag.removeprefix("attack.").upper() for tag in RULES[name]["tags"] if tag.startswith("attack.t1")]
        assert json.loads(stanza["action.correlationsearch.annotations"])["mitre_attack"] == techniques
        named = group[0] if window else "userIdentity_arn"
        assert f"${named}$" in stanza["action.notable.param.rule_title"]
        guide = json.loads(stanza["action.notable.param.next_steps"])
        assert guide["version"] == 1
        assert "What to do if it is an attack\n" in guide["data"]
        assert stanza["action.notable.param.nes_fields"] == stanza["alert.suppress.fields"]
        assert "$" not in guide["data"]  # tokens are documented for titles and descriptions only
        date = datetime.combine(rule.modified or rule.date, time(), UTC)  # type: ignore[arg-type]
        assert json.loads(stanza["action.correlationsearch.metadata"]) == {
            "detection_id": str(rule.id),
            "deprecated": "0",
            "detection_version": "1",
            "publish_time": date.timestamp(),
        }
        for drilldown in json.loads(stanza["action.notable.param.drilldown_searches"]):
            source = r'index="\*" sourcetype="aws:cloudtrail" ([\w.]+)="\$(\w+)\$"'
            assert re.fullmatch(rf"{source}( earliest=-30d@d latest=now\n.*)?", drilldown["search"], re.DOTALL)


#: The keys that contentctl's template writes for a detection with notable and risk, but for those of `action.escu`:
#: contentctl/output/templates/savedsearches_detections.j2 of splunk/contentctl at fc00988 (2026-05-06).
CONTENTCTL = [
    "description",
    "action.risk",
    "action.risk.param._risk_message",
    "action.risk.param._risk",
    "action.risk.param._risk_score",
    "action.risk.param.verbose",
    "cron_schedule",
    "dispatch.earliest_time",
    "dispatch.latest_time",
    "action.correlationsearch.enabled",
    "action.correlationsearch.detection_type",
    "action.correlationsearch.label",
    "action.correlationsearch.annotations",
    "action.correlationsearch.metadata",
    "schedule_window",
    "action.notable",
    "action.notable.param._entities",
    "action.notable.param.nes_fields",
    "action.notable.param.rule_description",
    "action.notable.param.rule_title",
    "action.notable.param.security_domain",
    "action.notable.param.severity",
    "alert.digest_mode",
    "disabled",
    "enableSched",
    "allow_skew",
    "counttype",
    "relation",
    "quantity",
    "realtime_schedule",
    "is_visible",
    "alert.suppress",
    "alert.suppress.fields",
    "alert.suppress.period",
    "search",
    "action.notable.param.drilldown_searches",
]
#: What that template has as values for every detection; but alert.digest_mode, which the page says.
FIXED = {
    "action.correlationsearch.enabled": "1",
    "action.correlationsearch.detection_type": "ebd",
    "action.notable": "1",
    "action.risk": "1",
    "action.risk.param._risk_score": "0",
    "action.risk.param.verbose": "0",
    "allow_skew": "100%",
    "counttype": "number of events",
    "enableSched": "1",
    "is_visible": "false",
    "quantity": "0",
    "realtime_schedule": "0",
    "relation": "greater than",
}
#: contentctl/objects/constants.py there: 99, less what a clone in the domain `endpoint` or `identity` has more.
LONGEST_NAME = 99 - len("endpoint -  - Rule")


def test_the_keys_are_contentctls_and_the_page_names_the_others() -> None:
    page = (Path(__file__).parents[1] / "docs" / "splunk.md").read_text(encoding="utf-8")
    [row] = [line for line in page.splitlines() if line.startswith("Keys that contentctl does not write:")]
    for stanza in read_conf("\n".join(queries("splunk").values())).values():
        assert set(CONTENTCTL) <= set(stanza)
        assert set(re.findall(r"`([\w.]+)`", row)) == set(stanza) - set(CONTENTCTL)
        assert FIXED.items() <= stanza.items()
        assert stanza["alert.digest_mode"] == "0"
        assert json.loads(stanza["action.notable.param._entities"]) == [
            {"risk_object_field": "N/A", "risk_object_type": "N/A", "risk_score": 0}
        ]


@pytest.mark.parametrize("title", ["x" * 70, "word " * 30, "x" * 200])
def test_no_name_is_too_long_to_be_edited_and_none_is_there_twice(title: str, tmp_path: Path) -> None:
    rules = [
        one_rule({"eventName": "x"}, title=f"{title}{n}"[:256], name=n, id=f"{n * 8}-0000-4000-8000-000000000000")
        for n in "ab"
    ]
    stanzas = read_conf("\n".join(queries("splunk", rules=[written_each(rules, tmp_path)]).values()))
    assert len(stanzas) == 2
    for name in [*stanzas, *read_conf("\n".join(queries("splunk").values()))]:
        assert len(name) <= LONGEST_NAME
        assert name.startswith("Keywatch - ")


def written_each(documents: list[dict[str, Any]], folder: Path) -> Path:
    """Write rules to files of their own."""
    for document in documents:
        written([document], folder).rename(folder / f"{document['name']}.yml")
    return folder


def test_every_construct_is_in_the_documentation() -> None:
    """The searches use what the interpreter knows and nothing else, and the page says what Splunk documents of it."""
    page = (Path(__file__).parents[1] / "docs" / "splunk.md").read_text(encoding="utf-8")
    table = "\n".join(line for line in page.splitlines() if line.startswith("|"))
    for name in ["search", "streamstats", *spl.COMMANDS, *spl.FUNCTIONS, "count", "min", "max", "sum", "dc", "values"]:
        assert re.search(rf"`(\| )?{name}\b|`.*\b{name}\b.*`", table), name


def test_an_alert_is_raised_where_eventstats_adds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """limits.conf says that it stops adding fields at a limit."""
    events = [spl.flat(denied(i, i)) for i in range(5)]
    [row] = spl.run(SEARCHES[DENIED], events)
    assert len(row.pop("outcomes")) == 5
    monkeypatch.setitem(spl.COMMANDS, "eventstats", lambda _, rows: rows)
    assert spl.run(SEARCHES[DENIED], events) == [row]


def test_a_parser_of_spl_takes_them(parse: Callable[..., list[str]], tmp_path: Path) -> None:
    broken = SEARCHES[DENIED].replace("streamstats window", "streamstats windw")
    *good, bad = parse(spl.PARSER, [*SEARCHES.values(), broken], tmp_path)
    assert good == [""] * len(SEARCHES)
    assert bad


def test_appinspect(tmp_path: Path) -> None:
    try:
        import magic  # noqa: F401
    except ImportError as error:
        pytest.fail(f"AppInspect needs libmagic (apt install libmagic1, brew install libmagic): {error}")
    import subprocess
    import sys

    paths = write(converted("splunk", "app"), tmp_path)
    report = tmp_path / "report.json"
    inspect = Path(sys.executable).with_name("splunk-appinspect")
    command = [str(inspect), "inspect", str(paths[0]), "--mode", "precert"]
    subprocess.run([*command, "--data-format", "json", "--output-file", str(report)], check=True, capture_output=True)
    results = Counter(
        (tag, check["result"])
        for inspected in json.loads(report.read_text())["reports"]
        for group in inspected["groups"]
        for check in group["checks"]
        for tag in check["tags"]
    )
    assert {result for _, result in results} == {"success", "not_applicable"}
    for tag in ("cloud", "private_victoria", "splunk_appinspect"):  # those of the Splunk Clouds, and of Splunkbase
        assert results[tag, "success"] > 30


@pytest.mark.parametrize("text", ["a\\", "a\rb", "a\0b", "\x1b[31m"])
def test_conf_refuses_what_it_can_not_hold(text: str) -> None:
    with pytest.raises(ValueError, match="has no form"):
        conf_stanza("x", {"search": text})


@pytest.mark.parametrize("text", ["a\nb", "[stanza]", "a\n[stanza]\nb = c", "# no comment", "a = b", '"', "a\\\nb"])
def test_conf_values_are_read_back(text: str) -> None:
    assert read_conf(conf_stanza("n[a]me", {"one": text, "two": "2"})) == {"n(a)me": {"one": text, "two": "2"}}


@pytest.mark.parametrize(("seconds", "line"), [(300, "*/5 * * * *"), (3600, "0 */1 * * *"), (86400, "0 0 * * *")])
def test_cron(seconds: int, line: str) -> None:
    assert cron(seconds) == line


def test_hostile_rules(tmp_path: Path) -> None:
    """No text of a rule adds a stanza or a key."""
    stanzas = read_conf("\n".join(queries("splunk").values()))
    wanted = set(stanzas["Keywatch - AWS Enumeration Denied in Multiple Regions with Long-Term Key"])

    def stays_in_its_stanza(_: Any, conversion: Conversion) -> None:
        [[text]] = conversion.queries.values()
        [(name, stanza)] = read_conf(text).items()
        assert name.startswith("Keywatch - ")
        assert set(stanza) == wanted

    try_rules("splunk", ["savedsearches"], tmp_path, stays_in_its_stanza, examples=100)


def test_the_stock_methods_search_as_the_stock_backend_does(tmp_path: Path) -> None:
    """What `sliding` adds to tell rules apart is none of theirs, which count the names that their own search gives."""
    bases = [one_rule({"eventName": name}, title=name, name=name) for name in ("CreateUser", "CreateAccessKey")]
    says = {"type": "temporal", "rules": ["CreateUser", "CreateAccessKey"], "timespan": "10m"}
    both = {"title": "Both", "name": "both", "correlation": says | {"group-by": ["userIdentity.arn"]}}
    with pytest.warns(UserWarning, match="fixed time buckets"):
        conversion = converted("splunk", "spl", rules=[written([*bases, both], tmp_path)], method="stats")
    [[query]] = conversion.queries.values()
    assert 'event_type="CreateUser"' in query
    assert "dc(event_type)" in query
    assert "rule_number" not in query


def test_a_path_through_lists_is_found_however_deep_it_lies(tmp_path: Path) -> None:
    """As AuthorizeSecurityGroupIngress has it: five keys, of which some are lists, and a network that is a text."""
    path = "requestParameters.ipPermissions.items.ipRanges.items.cidrIp"
    search = one_search(tmp_path, {path: "0.0.0.0/0"})
    assert isinstance(search, str), search
    networks = ("0.0.0.0/0", "10.0.0.0/8")
    events = [
        spl.flat(
            denied(0, 0, requestParameters={"ipPermissions": {"items": [{"ipRanges": {"items": [{"cidrIp": one}]}}]}})
        )
        for one in networks
    ]
    assert [len(spl.run(search, [event])) for event in events] == [1, 0]
    too_deep = one_search(tmp_path, {f"{path}.a.b": "x"})
    assert isinstance(too_deep, list)
    assert "too many spellings" in too_deep[0]
