"""What the tests share."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

import pytest
from trino.dbapi import Connection

from engines import Engine, athena, datadog, duck, elastic, opensearch, sentinel, spl
from programs import maven, npm, rust

ENGINES: dict[str, Callable[[pytest.FixtureRequest], Engine]] = {
    "duckdb": lambda request: duck.DuckDB(request.getfixturevalue("tmp_path_factory").mktemp("duckdb")),
    "athena": lambda request: athena.Athena(request.getfixturevalue("trino")),
    "lake": lambda request: athena.Lake(request.getfixturevalue("trino")),
    "securitylake": lambda request: athena.SecurityLake(request.getfixturevalue("trino")),
    "datadog": lambda request: request.getfixturevalue("datadog_search"),
    "esql": lambda request: elastic.ESQL(request.getfixturevalue("elasticsearch")),
    "lucene": lambda request: elastic.Lucene(request.getfixturevalue("elasticsearch")),
    "opensearch": lambda request: opensearch.OpenSearch(request.getfixturevalue("opensearch_node")),
    "sentinel": lambda request: sentinel.Sentinel(request.getfixturevalue("kusto")),
    "spl": lambda _: spl.Splunk(far_end_inside=True),
    "spl-far-end-out": lambda _: spl.Splunk(far_end_inside=False),
}
#: Those that have correlations.
CORRELATING = [name for name in ENGINES if name != "lucene"]


#: What the name of an engine, or of its tests' file, begins with → what runs it, which is started once.
SERVERS = {
    "athena": "trino",
    "datadog": "datadog",
    "duckdb": "duckdb",
    "elasticsearch": "elasticsearch",
    "esql": "elasticsearch",
    "kusto": "kusto",
    "lake": "trino",
    "lucene": "elasticsearch",
    "opensearch": "opensearch",
    "remote": "trino",
    "securitylake": "trino",
    "sentinel": "kusto",
    "spl": "spl",
    "trino": "trino",
}


def scope_of(nodeid: str) -> str:
    """Return what runs a test: the server that it needs, or its file."""
    path, _, test = nodeid.partition("::")
    names = [Path(path).stem.removeprefix("test_"), *re.findall(r"[\w]+", test.partition("[")[2])]
    return next((SERVERS[begin] for name in names for begin in SERVERS if name.startswith(begin)), path)


@cache
def step_back() -> None:
    """Leave the processors to other processes that want them."""
    os.nice(5)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Let the tests of Trino go before all others: no other process has so many."""
    if os.environ.get("PYTEST_XDIST_WORKER") and scope_of(item.nodeid) != "trino":
        step_back()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Keep the tests of what is started in one process, and those of a file, where `make test` runs several.

    A test of an engine is known by a parameter that names it, or by its file; else the engine would be started again.
    pytest-xdist 3.8 has marks for that, which pytest 9.2 does not let it see.
    """
    from xdist.scheduler import LoadScopeScheduling

    class ByServer(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            return scope_of(nodeid)

    return ByServer(config, log)


@pytest.fixture(scope="session")
def engines(request: pytest.FixtureRequest) -> Callable[[str], Engine]:
    """Return what gives an engine by its name, each made once a run."""
    return cache(lambda name: ENGINES[name](request))


def absent(reason: str) -> NoReturn:
    """Skip a test whose program is not there; fail it where KEYWATCH_NO_SKIP says that nothing may be skipped."""
    if os.environ.get("KEYWATCH_NO_SKIP"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture
def cloudtrail_samples() -> Path:
    """Return the folder of real CloudTrail records that KEYWATCH_SAMPLES names."""
    folder = os.environ.get("KEYWATCH_SAMPLES")
    if not folder:
        pytest.skip("KEYWATCH_SAMPLES names no folder of real CloudTrail records")
    return Path(folder)


@pytest.fixture(scope="session")
def parse() -> Callable[[str, list[str], Path], list[str]]:
    """Return what parses queries with a parser from Maven Central."""
    if missing := maven.missing("pth"):
        absent(f"no {', '.join(missing)}: a JDK 17 and Maven run the parsers (apt install default-jdk maven)")
    return maven.parse


@pytest.fixture(scope="session")
def elasticsearch() -> Iterator[elastic.Elasticsearch]:
    """Return a real node, started once a run."""
    if missing := elastic.missing():
        reason = (
            f"no {', '.join(missing)}: a JDK 17 and Maven run the Elasticsearch tests (apt install default-jdk maven)"
        )
        absent(reason)
    with elastic.running() as node:
        yield node


@pytest.fixture(scope="session")
def trino() -> Iterator[Connection]:
    """Return a connection to a real Trino server, started once a run."""
    if missing := maven.missing("trino"):
        absent(
            f"no {', '.join(missing)}: a JDK 25 (Temurin's) and Maven run the Athena tests; JAVA_HOME may name the JDK"
        )
    with athena.running() as connection:
        yield connection


@pytest.fixture(scope="session")
def datadog_search() -> datadog.Datadog:
    """Return Datadog's search."""
    if missing := rust.missing():
        absent(f"no {', '.join(missing)}: Rust 1.95 or later (rustup) builds Datadog's search")
    return datadog.Datadog()


@pytest.fixture(scope="session")
def opensearch_node() -> Iterator[opensearch.Cluster]:
    """Return a real node, started once a run."""
    if missing := maven.missing("opensearch_node"):
        absent(f"no {', '.join(missing)}: a JDK 17 and Maven run the OpenSearch tests (apt install default-jdk maven)")
    with opensearch.running() as node:
        yield node


@pytest.fixture(scope="session")
def kusto() -> Iterator[sentinel.Kusto]:
    """Return what checks and executes KQL, started once a run."""
    if missing := npm.missing():
        absent(f"no {', '.join(missing)}: Node.js 18 or later runs Microsoft's KQL parser (apt install nodejs npm)")
    with sentinel.running() as program:
        yield program


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say in one line each why tests were skipped."""
    reasons = Counter(report.longrepr[2] for report in terminalreporter.stats.get("skipped", []))
    for reason, tests in sorted(reasons.items()):
        terminalreporter.write_line(f"{tests} tests skipped: {reason.removeprefix('Skipped: ')}")
