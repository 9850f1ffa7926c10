"""Other people's rules: a folder of them that KEYWATCH_RULES names, on every target and on every engine.

The table in docs/other-peoples-rules.md is written from this run: `make golden`, with the folder that the page names.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from foreign import events_for
from test_zoo import said

import oracle
from conftest import ENGINES
from engines import Engine
from keywatch.conversion.convert import convert, write
from keywatch.conversion.rules import Pack, load_pack
from keywatch.conversion.settings import load_settings
from keywatch.conversion.targets import TARGETS

Document = dict[str, Any]
PAGE = Path(__file__).parents[1] / "docs" / "other-peoples-rules.md"
_BEGIN, _END = "<!-- table -->", "<!-- end -->"
#: Of SigmaHQ's rules, how many convert for a target in its default format.
LEAST = dict.fromkeys(TARGETS, 54) | {"duckdb": 56, "athena": 56, "securitylake": 56}


@pytest.fixture(scope="session")
def rules() -> Path:
    """Return the folder of rules."""
    folder = os.environ.get("KEYWATCH_RULES")
    if not folder:
        pytest.skip("KEYWATCH_RULES names no folder of other people's rules")
    return Path(folder)


@cache
def documents_in(folder: Path) -> list[tuple[Path, Document]]:
    """Return the rules of a folder that are no correlations, with their files."""
    found = [
        (path, document)
        for path in sorted(folder.rglob("*.yml"))
        for document in yaml.safe_load_all(path.read_text(encoding="utf-8"))
    ]
    return [(path, document) for path, document in found if "detection" in document]


@cache
def events_in(folder: Path) -> list[dict[str, Any]]:
    return [event for _, document in documents_in(folder) for event in events_for(document)]


def loaded(folder: Path) -> Pack:
    return load_pack([folder], [], load_settings(None))


@pytest.mark.parametrize("name", ENGINES)
def test_each_finds_what_it_means(name: str, rules: Path, engines: Callable[[str], Engine]) -> None:
    engine = engines(name)
    events = events_in(rules)
    pack = loaded(rules)
    conversion = convert(pack, TARGETS[engine.target], load_settings(None), engine.output_format)
    said([*pack.problems, *conversion.problems])
    found = engine.found(conversion, events)
    titles = {document["title"]: document for _, document in documents_in(rules)}
    wrong = {}
    for rule, ids in found.items():
        document = titles[conversion.rules[rule].title]
        meant = oracle.cased(document) if engine.cased else document
        must = {event["eventID"] for event in events if oracle.matches(meant, event)}
        if must != set(ids):
            wrong[document["title"]] = (len(must), len(must - set(ids)), len(set(ids) - must))
    assert not wrong, f"rule: (matching events, missed, found besides): {wrong}"


def table(folder: Path, out: Path) -> list[str]:
    """Return the lines of the table: for each target and format, what converts, and what is refused why."""
    lines, reasons = ["| Target | Format | Converted | Refused |", "|---|---|---|---|"], Counter[str]()
    for target in TARGETS.values():
        for output_format in target.formats:
            pack = loaded(folder)
            conversion = convert(pack, target, load_settings(None), output_format)
            write(conversion, out / target.name / output_format)
            refused = said([*pack.problems, *conversion.problems])
            whys = sorted(re.sub(r"^.*?([\w-]+)\.yml:\d+: (?:rule '[^']*': )?", r"\1: ", why) for why in refused)
            whys = [re.sub(r"pipeline 'cloudtrail_\w+'", "its pipeline", why) for why in whys]
            reasons.update(whys)
            numbers = ", ".join(str(list(reasons).index(why) + 1) for why in whys)
            lines.append(f"| {target.name} | {output_format} | {len(conversion.queries)} | {numbers} |")
    return [*lines, "", *(f"{number}. {why}" for number, why in enumerate(reasons, 1))]


def test_table(rules: Path, tmp_path: Path) -> None:
    if not (rules / "sigmahq").is_dir():
        pytest.skip("the page is about SigmaHQ's rules, which KEYWATCH_RULES does not hold")
    lines = table(rules / "sigmahq", tmp_path)
    written = "\n".join([_BEGIN, *lines, _END])
    page = PAGE.read_text(encoding="utf-8")
    begin, end = page.index(_BEGIN), page.index(_END) + len(_END)
    if os.environ.get("KEYWATCH_WRITE_GOLDEN"):
        PAGE.write_text(page[:begin] + written + page[end:], encoding="utf-8")
    else:
        assert page[begin:end] == written
    for name, target in TARGETS.items():
        cells = next(line for line in lines if line.startswith(f"| {name} | {next(iter(target.formats))} |"))
        assert int(cells.split("|")[3]) >= LEAST[name], name
