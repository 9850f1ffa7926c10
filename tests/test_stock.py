"""The rules are useful without this project's backends; and what stock tools do wrong, each with the least input.

A test of a defect fails when upstream has mended it: then the page docs/upstream.md, and what works around it, can go.
test_pysigma2.py runs all of them under pySigma 2 as well, which has mended two.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from sigma.backends.elasticsearch import EqlBackend, ESQLBackend, LuceneBackend
from sigma.backends.opensearch import OpenSearchPPLBackend
from sigma.backends.splunk import SplunkBackend
from sigma.backends.sqlite import sqliteBackend
from sigma.collection import SigmaCollection
from sigma.data import mitre_attack
from sigma.exceptions import SigmaConversionError
from sigma.pipelines.keywatch._pack import PACK
from sigma.processing.pipeline import ProcessingItem, ProcessingPipeline
from sigma.processing.transformations import AddFieldnamePrefixTransformation

import oracle
from engines import Engine
from events import DENIED, MALLORY, MINUTE, denied
from packs import converted

BASE = """
title: Base
name: base
logsource: {product: aws, service: cloudtrail}
detection:
    selection: {eventName: ListFunctions}
    condition: selection
"""
COUNT = """
title: Many
id: 00000000-0000-4000-8000-000000000000
status: test
level: high
fields: [userAgent]
correlation:
    type: value_count
    rules: [base]
    group-by: [userIdentity.arn]
    timespan: 30m
    condition: {field: awsRegion, gte: 5}
"""
MENDED = "upstream has mended it: see docs/upstream.md"
PYSIGMA = int(version("pysigma").partition(".")[0])


def stock(backend: Any, *documents: str, output_format: str | None = None) -> Any:
    return backend.convert(SigmaCollection.from_yaml("---".join(documents)), output_format)


@pytest.mark.parametrize("backend", [SplunkBackend, ESQLBackend, sqliteBackend])
@pytest.mark.parametrize("path", sorted(PACK.rglob("correlation_*.yml")), ids=lambda path: path.stem)
def test_the_rules_convert_with_stock_backends(path: Path, backend: Any, tmp_path: Path) -> None:
    """A detection at a time, in a folder of its own, as docs/upstream.md says."""
    says = oracle.load(PACK)[path.stem]["correlation"]
    for one in (path, *(next(PACK.rglob(f"{base}.yml")) for base in says["rules"])):
        shutil.copy(one, tmp_path)
    rules = SigmaCollection.load_ruleset([tmp_path])
    if says["type"] == "temporal_ordered" and backend is not sqliteBackend:
        with pytest.raises(NotImplementedError, match="'temporal_ordered' is not supported"):
            backend().convert(rules)
        return
    queries = backend().convert(rules)
    assert says.get("condition", {}).get("field", "userIdentity.arn") in queries[-1].replace("`", "")


#: What the stock backends for Splunk and Elasticsearch refuse.
CHAINS = {name for name, rule in oracle.load(PACK).items() if "ordered" in rule.get("correlation", {}).get("type", "")}


def test_the_whole_pack_does_not_convert_at_once() -> None:
    """PySigma 1 sorts rules by an order in which most are equal, so a correlation can come before its rule."""
    rules = SigmaCollection.load_ruleset([path for path in PACK.rglob("*.yml") if path.stem not in CHAINS])
    if PYSIGMA == 1:
        with pytest.raises(SigmaConversionError, match="Conversion result not available"):
            SplunkBackend().convert(rules)
    else:
        assert len(SplunkBackend().convert(rules)) == len(list(rules.get_output_rules()))


#: Five denials, five minutes apart, across a half hour's edge.
ACROSS = [denied(50 * MINUTE + 5 * MINUTE * i, i) for i in range(5)]


@pytest.mark.parametrize(("method", "found"), [("stats", []), ("sliding", [MALLORY])])
@pytest.mark.parametrize("name", ["esql"])
def test_fixed_buckets_miss_what_straddles_them(
    name: str, method: str, found: list[str], engines: Callable[[str], Engine]
) -> None:
    if method == "stats":
        with pytest.warns(UserWarning, match="counts in fixed time buckets and misses what straddles their edges"):
            conversion = converted("elasticsearch", "esql", method=method, without=CHAINS)
    else:
        conversion = converted("elasticsearch", "esql", method=method)
    assert engines(name).found(conversion, ACROSS)[DENIED] == found


def test_stock_queries_count_in_fixed_buckets() -> None:
    assert "bin _time span=30m" in stock(SplunkBackend(), BASE, COUNT)[0], MENDED
    assert "date_trunc(30minutes, @timestamp)" in stock(ESQLBackend(), BASE, COUNT)[0], MENDED


def test_eql_asks_for_the_same_value_n_times() -> None:
    assert "by awsRegion with runs=5" in stock(EqlBackend(), BASE, COUNT)[0], MENDED


def test_ppl_drops_the_timespan() -> None:
    [query] = stock(OpenSearchPPLBackend(), BASE, COUNT)
    assert "stats dc(awsRegion)" in query
    assert "30m" not in query, MENDED
    assert "span" not in query, MENDED


def test_siem_rule_needs_the_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def unreachable(request: Any, *_: Any, **__: Any) -> None:
        asked.append(request)
        raise OSError("no network")

    monkeypatch.setattr(mitre_attack, "urlopen", unreachable)
    monkeypatch.setattr(mitre_attack, "_custom_url", None)
    mitre_attack.set_cache_dir(str(tmp_path))
    with pytest.raises(Exception, match="ATT&CK"):
        tagged = BASE.replace("\ndetection", "\ntags: [attack.t1526]\ndetection")
        stock(ESQLBackend(), tagged, output_format="siem_rule")
    assert asked, MENDED


def test_evidence_fields_of_correlations_are_lost() -> None:
    for backend in (SplunkBackend(), ESQLBackend()):
        assert "userAgent" not in stock(backend, BASE, COUNT)[0], MENDED


def test_saved_searches_have_no_schedule() -> None:
    text = stock(SplunkBackend(), BASE, COUNT, output_format="savedsearches")
    assert "cron_schedule" not in text, MENDED
    assert "enableSched" not in text, MENDED


def test_data_model_fails_on_correlations() -> None:
    with pytest.raises(AttributeError):
        stock(SplunkBackend(), BASE, COUNT, output_format="data_model")


def test_a_filter_is_mapped_once_for_each_rule_it_is_in() -> None:
    """PySigma 1 puts the same objects into every rule, so a transformation of one changes all."""
    leave_out = """
title: Not this one
logsource: {product: aws, service: cloudtrail}
filter:
    rules: any
    known: {userIdentity.arn: x}
    condition: not known
"""
    second = BASE.replace("Base", "Second").replace("base", "second")
    prefix = ProcessingPipeline(items=[ProcessingItem(AddFieldnamePrefixTransformation("p."))])
    queries = stock(SplunkBackend(prefix), BASE, second, leave_out)
    assert sorted("p.p.userIdentity.arn" in query for query in queries) == [False, PYSIGMA == 1], MENDED


def test_a_rule_that_is_generated_too_is_left_unfinished() -> None:
    """`generate: true` makes the base rule an output, but its query is the unfinished one, without its format."""
    both = COUNT.replace("    type: value_count", "    generate: true\n    type: value_count")
    [alone] = stock(ESQLBackend(), BASE)
    first, _ = stock(ESQLBackend(), BASE, both)
    assert alone.startswith("from *")
    assert first != alone, MENDED


def test_a_network_spelt_out_has_no_brackets() -> None:
    """Beside another condition, the patterns of a network are joined by `or` without brackets."""

    class Patterns(LuceneBackend):
        cidr_expression = None  # type: ignore[assignment]
        convert_or_as_in = False

    rule = BASE.replace("{eventName: ListFunctions}", "{eventName: ListFunctions, sourceIPAddress|cidr: 10.0.0.0/7}")
    [query] = stock(Patterns(), rule)
    assert query == "eventName:ListFunctions AND sourceIPAddress:10.* OR sourceIPAddress:11.*", MENDED
