"""Whatever a rule says: it converts, or is refused in one line; and what converts finds what Sigma means."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any

import kinds
import pytest
import yaml

import oracle
from conftest import ENGINES
from engines import Engine
from keywatch.conversion.convert import Conversion, convert, write
from keywatch.conversion.rules import load_pack
from keywatch.conversion.settings import load_settings
from keywatch.conversion.targets import TARGETS
from keywatch.errors import UserError

Document = dict[str, Any]
#: Where a query costs much, so many rules are passed over for one: each field, modifier and negation has its turn.
EVERY = {"athena": 11, "lake": 31, "securitylake": 31}
FORMATS = [(target, output_format) for target in TARGETS for output_format in TARGETS[target].formats]
#: What stands in a message that is Python's own, and no answer to whoever wrote the rule.
_OWN = re.compile(r"Traceback|\b[A-Z]\w+(?:Error|Exception)\b|object at 0x|<class|has no attribute|positional arg|\n")


def settings() -> dict[str, Any]:
    """Return the settings, with values for the placeholders."""
    return load_settings(None) | {"placeholders": kinds.PLACEHOLDERS}


def files(documents: Iterable[Document], folder: Path) -> list[Path]:
    """Write rules, each to a file of its own."""
    paths = []
    for document in documents:
        paths.append(folder / f"{document['name']}.yml")
        paths[-1].write_text(yaml.dump(document, Dumper=yaml.CSafeDumper), encoding="utf-8")
    return paths


@pytest.fixture(scope="session")
def combinations(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Return the files of all combinations."""
    return files(kinds.combinations(), tmp_path_factory.mktemp("combinations"))


@pytest.fixture(scope="session")
def saying(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Return the files of the rules that engines run."""
    return files(kinds.saying(), tmp_path_factory.mktemp("saying"))


@cache
def events() -> list[dict[str, Any]]:
    """Return the events that engines are asked about."""
    return kinds.events()


@cache
def meant(rule: str, *, cased: bool) -> tuple[Document, set[str]]:
    """Return what a rule that engines run detects, and the IDs of the events that it means."""
    document = _SAYING[rule]
    as_meant = oracle.cased(document) if cased else document
    return document["detection"], {
        event["eventID"] for event in events() if oracle.matches(as_meant, event, kinds.PLACEHOLDERS)
    }


_SAYING = {document["name"]: document for document in kinds.saying()}


def said(problems: Iterable[UserError]) -> list[str]:
    """Return what problems say, and make sure that it is fit to be said."""
    messages = list(map(str, problems))
    wrong = [message for message in messages if _OWN.search(message) or not re.match(r".*\.yml:\d+: .", message)]
    assert not wrong, wrong[:5]
    return messages


@pytest.mark.parametrize(("target", "output_format"), FORMATS)
def test_each_combination_converts_or_is_refused_in_a_line(
    target: str, output_format: str, combinations: list[Path], tmp_path: Path
) -> None:
    # The other formats of a target have the conditions of the first, in other files.
    every = 1 if output_format == next(iter(TARGETS[target].formats)) else 7
    paths = combinations[::every]
    pack = load_pack(paths, [], settings())
    conversion = convert(pack, TARGETS[target], settings(), output_format)
    write(conversion, tmp_path / "out")
    refused = said([*pack.problems, *conversion.problems])
    assert len(conversion.queries) + len(refused) == len(paths)
    assert len(conversion.queries) > len(paths) / 5


def asked(engine: Engine, paths: list[Path]) -> Conversion:
    """Convert the rules that engines run."""
    pack = load_pack(paths, [], settings())
    assert not said(pack.problems)
    conversion = convert(pack, TARGETS[engine.target], settings(), engine.output_format)
    said(conversion.problems)
    return conversion


@pytest.mark.parametrize("name", ENGINES)
def test_what_converts_finds_what_is_meant(name: str, engines: Callable[[str], Engine], saying: list[Path]) -> None:
    engine = engines(name)
    found = engine.found(asked(engine, saying[:: EVERY.get(name, 1)]), events())
    wrong = {}
    for rule, ids in found.items():
        detection, must = meant(rule, cased=engine.cased)
        if different := must ^ set(ids):
            wrong[str(detection)] = [
                event.get("requestParameters") or event.get("userAgent")
                for event in events()
                if event["eventID"] in different
            ]
    assert not wrong, Counter(wrong)
