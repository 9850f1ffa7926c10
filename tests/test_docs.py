"""The pages tell the truth: the picture of the modules, the field table, the thresholds, the links."""

from __future__ import annotations

import ast
import os
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from sigma.pipelines.keywatch._cloudtrail import StrictFieldMapping
from sigma.pipelines.keywatch._pack import PACK, guides

import oracle
from keywatch.conversion.targets import TARGETS

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.rglob("*.md"), *ROOT.glob("*.md")])
RULES = oracle.load(PACK)
PACKAGES = {
    "keywatch": ROOT / "backend" / "keywatch",
    "sigma.backends.keywatch": ROOT / "backend" / "sigma" / "backends" / "keywatch",
    "sigma.pipelines.keywatch": ROOT / "pipelines" / "sigma" / "pipelines" / "keywatch",
}
MODULES = {
    f"{package}.{path.stem}": path
    for package, folder in PACKAGES.items()
    for path in folder.glob("*.py")
    if path.stem != "__init__"
}


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found & set(MODULES)


def test_the_picture_is_true() -> None:
    [picture] = re.findall(r"```mermaid\n(.*?)```", (DOCS / "architecture.md").read_text(encoding="utf-8"), re.DOTALL)
    package, drawn, arrows = "", set(), 0
    for line in picture.splitlines():
        if subgraph := re.match(r'\s+subgraph \w+\["(?:backend|pipelines)/(.+)"\]', line):
            package = subgraph[1].replace("/", ".")
        elif "-->" in line:
            names = [re.sub(r"^[bp]_", "", part.split("[")[0].strip()) for part in line.split("-->")]
            chain = [f"{package}.{name}" for name in names]
            for one, other in pairwise(chain):
                assert other in imports(MODULES[one]), f"{one} does not import {other}"
                arrows += 1
            drawn |= set(chain)
    assert drawn == set(MODULES)
    assert arrows > 20


def test_the_table_of_modules_is_whole() -> None:
    text = (DOCS / "architecture.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    named: set[str] = set()
    for row in rows:
        names = re.findall(r"`([\w.]+)`", row.split("|")[1])
        package = names[0].rpartition(".")[0]
        named |= {package + name if name.startswith(".") else name for name in names}
    assert named == set(MODULES)


def test_the_field_table() -> None:
    mappings: dict[str, Any] = {}
    for name, target in TARGETS.items():
        [step] = (i.transformation for i in target.pipeline().items if isinstance(i.transformation, StrictFieldMapping))
        mappings |= {name: step.mapping} | {f"{name}, {form}": table for form, table in step.by_format.items()}
    fields = sorted({field for mapping in mappings.values() for field in mapping if field})
    lines = [f"| CloudTrail | {' | '.join(mappings)} |", f"|---|{'---|' * len(mappings)}"]
    lines += [f"| {' | '.join([field, *(str(m.get(field, '–')) for m in mappings.values())])} |" for field in fields]
    text = "# Fields\n\nWritten from the pipelines by `make golden`. A field that is not here is an error.\n\n"
    text += "\n".join(lines) + "\n"
    page = DOCS / "fields.md"
    if os.environ.get("KEYWATCH_WRITE_GOLDEN"):
        page.write_text(text, encoding="utf-8")
    assert page.read_text(encoding="utf-8") == text


def test_each_detection_has_its_page_with_the_thresholds_that_are_set() -> None:
    rows = "\n".join(path.read_text(encoding="utf-8") for path in sorted((DOCS / "detections").glob("*.md")))
    for name in guides():
        rule = RULES[name]
        spec = rule.get("correlation")
        when = f"{spec['condition']['gte']} Regions in {spec['timespan']}" if spec else "each call"
        assert f"| `{name}` | {rule['level']} | {when} |" in rows


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        if anchor:
            headings = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in slugs, link
