"""Whatever a rule says: it converts, or is refused in one line; and what converts finds what Sigma means."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import kinds
import pytest
import yaml

import oracle
from conftest import ENGINES
from engines import Engine
from keywatch.conversion.convert import Conversion, convert, write
from keywatch.conversion.rules import Pack, load_pack
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


def loaded(documents: Iterable[Document], folder: Path) -> Pack:
    """Read rules, each from a file of its own."""
    folder.mkdir(exist_ok=True)
    for document in documents:
        (folder / f"{document['name']}.yml").write_text(yaml.dump(document, Dumper=yaml.CSafeDumper), encoding="utf-8")
    return load_pack([folder], [], settings())


def said(problems: Iterable[UserError]) -> list[str]:
    """Return what problems say, and make sure that it is fit to be said."""
    messages = list(map(str, problems))
    wrong = [message for message in messages if _OWN.search(message) or not re.match(r".*\.yml:\d+: .", message)]
    assert not wrong, wrong[:5]
    return messages


@pytest.mark.parametrize(("target", "output_format"), FORMATS)
def test_each_combination_converts_or_is_refused_in_a_line(target: str, output_format: str, tmp_path: Path) -> None:
    # The other formats of a target have the conditions of the first, in other files.
    every = 1 if output_format == next(iter(TARGETS[target].formats)) else 7
    documents = list(islice(kinds.combinations(), 0, None, every))
    pack = loaded(documents, tmp_path / "rules")
    conversion = convert(pack, TARGETS[target], settings(), output_format)
    write(conversion, tmp_path / "out")
    refused = said([*pack.problems, *conversion.problems])
    assert len(conversion.queries) + len(refused) == len(documents)
    assert len(conversion.queries) > len(documents) / 5


@cache
def asked(engine: Engine, every: int, folder: Path) -> tuple[Conversion, dict[str, Document]]:
    """Convert the rules that engines run; return what was converted, and those rules."""
    documents = {document["name"]: document for document in islice(kinds.saying(), 0, None, every)}
    pack = loaded(documents.values(), folder / "rules")
    assert not said(pack.problems)
    conversion = convert(pack, TARGETS[engine.target], settings(), engine.output_format)
    said(conversion.problems)
    return conversion, {name: documents[name] for name in conversion.queries}


@pytest.mark.parametrize("name", ENGINES)
def test_what_converts_finds_what_is_meant(
    name: str, engines: Callable[[str], Engine], tmp_path_factory: pytest.TempPathFactory
) -> None:
    engine = engines(name)
    conversion, documents = asked(engine, EVERY.get(name, 1), tmp_path_factory.mktemp("zoo"))
    events = kinds.events()
    found = engine.found(conversion, events)
    wrong = {}
    for rule, document in documents.items():
        meant = oracle.cased(document) if engine.cased else document
        must = {event["eventID"] for event in events if oracle.matches(meant, event, kinds.PLACEHOLDERS)}
        if different := must ^ set(found[rule]):
            wrong[str(document["detection"])] = [
                event.get("requestParameters") or event.get("userAgent")
                for event in events
                if event["eventID"] in different
            ]
    assert not wrong, Counter(wrong)
