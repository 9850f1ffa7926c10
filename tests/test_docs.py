"""The pages tell the truth: the picture of the modules, the field table, the thresholds, the links."""

from __future__ import annotations

import ast
import os
import re
from functools import cache
from pathlib import Path

import pytest
from sigma.pipelines.keywatch._fields import ELEMENTS, FieldTable, NotStoredError
from sigma.pipelines.keywatch._mapping import StrictFieldMapping
from sigma.pipelines.keywatch._pack import PACK, guides

import oracle
from conftest import ENGINES
from keywatch.conversion.targets import TARGETS
from keywatch.hunting.shapes import KNOWN, PASSED, SHAPES

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.rglob("*.md"), *ROOT.glob("*.md")])
RULES = oracle.load(PACK)


def imported(path: Path) -> set[str]:
    """Return what a module imports, by the names of modules; a package's name stands for its modules' re-exports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found


#: Package → its folder. A folder inside one is a package of its own.
PACKAGES = {
    "keywatch": ROOT / "backend" / "keywatch",
    "sigma.backends.keywatch": ROOT / "backend" / "sigma" / "backends" / "keywatch",
    "sigma.pipelines.keywatch": ROOT / "pipelines" / "sigma" / "pipelines" / "keywatch",
}
MODULES = {
    ".".join([package, *path.relative_to(folder).with_suffix("").parts]): path
    for package, folder in PACKAGES.items()
    for path in sorted(folder.rglob("*.py"))
    if path.stem != "__init__"
}
BACKENDS, PIPELINES = "sigma.backends.keywatch", "sigma.pipelines.keywatch"


@cache
def imports() -> set[tuple[str, str]]:
    """Return which module imports which."""
    return {(one, other) for one, path in MODULES.items() for other in imported(path) & set(MODULES)}


def package_of(module: str) -> str:
    """Return the part of the program that a module is in."""
    return next(name for name in (*PARTS, "keywatch") if f"{module}.".startswith(f"{name}."))


#: The parts, each of which uses only those behind it.
PARTS = [
    "keywatch.commands",
    "keywatch.show",
    "keywatch.hunting",
    "keywatch.conversion",
    BACKENDS,
    PIPELINES,
    "keywatch.files",
    "keywatch.ending",
    "keywatch.errors",
    "keywatch.words",
]


def node_of_backend(module: str) -> str:
    """Return what stands for a module of the backends in the picture: a SIEM's folder is one node."""
    return module.removeprefix(f"{BACKENDS}.").split(".")[0]


def picture(arrows: set[tuple[str, str]]) -> str:
    arrows = {(one, other) for one, other in arrows if one != other}
    names = {name: name.replace(".", "_") + "_" for arrow in arrows for name in arrow}
    lines = [f'    {names[name]}["{name}"]' for name in sorted(names)]
    lines += [f"    {names[one]} --> {names[other]}" for one, other in sorted(arrows)]
    return "\n".join(["```mermaid", "flowchart LR", *lines, "```"])


def written(page: Path, name: str, text: str) -> None:
    """Compare a part of a page between its marks with what it must be; write it with `make golden`."""
    content = page.read_text(encoding="utf-8")
    begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
    head, rest = content.split(begin)
    tail = rest[rest.index(end) :]
    if os.environ.get("KEYWATCH_WRITE_GOLDEN"):
        page.write_text(head + begin + text + "\n" + tail, encoding="utf-8")
    else:
        assert rest[: rest.index(end)] == text + "\n", "make golden"


@pytest.mark.parametrize("part", ["packages", "commands", "show", "conversion", "hunting", "backends", "pipelines"])
def test_the_pictures_are_the_imports(part: str) -> None:
    """Every arrow is an import, and every import an arrow."""
    inside = {
        "packages": {(package_of(one), package_of(other)) for one, other in imports()},
        "backends": {
            (node_of_backend(one), node_of_backend(other))
            for one, other in imports()
            if package_of(one) == package_of(other) == BACKENDS
        },
    }
    folder = PIPELINES if part == "pipelines" else f"keywatch.{part}"
    between = {
        (one.removeprefix(f"{folder}."), other.removeprefix(f"{folder}."))
        for one, other in imports()
        if package_of(one) == package_of(other) == folder
    }
    written(DOCS / "architecture.md", part, picture(inside.get(part, between)))


def test_no_part_uses_one_in_front_of_it() -> None:
    order = ["keywatch", *PARTS]
    for one, other in imports():
        assert order.index(package_of(one)) <= order.index(package_of(other)), f"{one} imports {other}"


def test_the_folder_of_a_siem_has_one_way_through() -> None:
    """Its query uses its windows and its artefacts, never the other way round."""
    for one, other in imports():
        if node_of_backend(one) == node_of_backend(other) and one.startswith(f"{BACKENDS}."):
            another_schema = one.endswith((".lake", ".securitylake"))
            assert another_schema or not other.endswith((".query", ".esql", ".dsl", ".kql")), f"{one}: {other}"


def test_the_table_of_modules_is_whole() -> None:
    text = (DOCS / "architecture.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    named: set[str] = set()
    for row in rows:
        names = re.findall(r"`([\w.]+)`", row.split("|")[1])
        package = names[0].rpartition(".")[0]
        named |= {package + name if name.startswith(".") else name for name in names}
    assert named == set(MODULES)


def test_no_module_is_long() -> None:
    lines = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in MODULES.items()}
    assert {name: count for name, count in lines.items() if count > 250} == {}


def spelt(table: FieldTable, field: str) -> str:
    """Return how a schema spells a field, as a cell of a table."""
    try:
        names = table.names(field)
    except NotStoredError:
        return "–"
    return ", ".join(f"`{name.removeprefix(ELEMENTS)}`" for name in names).replace("|", "\\|")


def test_the_field_table() -> None:
    tables: dict[str, FieldTable] = {}
    for target in TARGETS.values():
        for output_format in target.formats:
            pipeline = target.pipeline(output_format, {})
            [step] = (i.transformation for i in pipeline.items if isinstance(i.transformation, StrictFieldMapping))
            tables[step.pipeline.removeprefix("cloudtrail_")] = step.table
    fields = sorted(FieldTable.known())
    lines = [f"| CloudTrail | {' | '.join(tables)} |", f"|---|{'---|' * len(tables)}"]
    lines += [f"| {' | '.join([field, *(spelt(table, field) for table in tables.values())])} |" for field in fields]
    text = "# Fields\n\nWritten from the pipelines by `make golden`. Below an object, such as requestParameters,\n"
    text += "any path is a field; another field that is not here is an error.\n\n" + "\n".join(lines) + "\n"
    page = DOCS / "fields.md"
    if os.environ.get("KEYWATCH_WRITE_GOLDEN"):
        page.write_text(text, encoding="utf-8")
    assert page.read_text(encoding="utf-8") == text


def test_the_table_of_shapes() -> None:
    rows = ["| Shape | Where it comes from | What leads to the records |", "|---|---|---|"]
    rows += [f"| {shape.name} | {shape.got} | {', '.join(f'`{path}`' for path in shape.at)} |" for shape in SHAPES]
    rows += ["", "| Passed over, and counted | Told by |", "|---|---|"]
    rows += [f"| {kind} | `{path}`{f': {value}' if value else ''} |" for kind, path, value in PASSED]
    rows += ["", "| Named, with what would be right | Told by |", "|---|---|"]
    rows += [f"| {what} | `{path}` |" for what, path in KNOWN]
    written(DOCS / "hunting.md", "shapes", "\n".join(rows))


def test_each_detection_has_its_page_with_the_thresholds_that_are_set() -> None:
    rows = "\n".join(path.read_text(encoding="utf-8") for path in sorted((DOCS / "detections").glob("*.md")))
    for name in guides():
        rule = RULES[name]
        spec = rule.get("correlation")
        when = "each call"
        if spec and spec["type"] == "temporal_ordered":
            when = f"one after the other in {spec['timespan']}"
        elif spec:
            condition = spec["condition"]
            nouns = {"awsRegion": "Regions", "requestParameters.modelId": "models", None: "calls"}
            when = f"{condition['gte']} {nouns[condition.get('field')]} in {spec['timespan']}"
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


def test_the_table_for_athena_is_that_of_the_tests() -> None:
    """The statement of the page, in Trino's names of types, has the columns that the queries are tried on."""
    page = (DOCS / "trino.md").read_text(encoding="utf-8")
    columns = page.partition("TABLE cloudtrail_logs_pp (")[2].partition("\n)\nPARTITIONED BY")[0].lower()
    names = {"struct<": "row(", "array<": "array(", "map<": "map(", ">": ")", ": ": " ", "string": "varchar"}
    for hive, trino in names.items():
        columns = columns.replace(hive, trino)
    table = (ROOT / "tests/engines/trino/athena.sql").read_text(encoding="utf-8")
    wanted = table.partition("cloudtrail_logs_pp (")[2].partition(',\n    "timestamp"')[0]
    assert "".join(columns.split()) == "".join(wanted.split())


#: A command of pytest on a page: the files, and what is chosen in them.
_PYTEST = re.compile(r'pytest ((?:tests/\w+\.py ?)+)(?:-k ("[^"]+"|\w+))?')


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_what_a_page_says_was_checked_has_a_command_that_is_there(page: Path) -> None:
    """Each page with such a section names what repeats it; and each command on a page finds its files and tests."""
    text = page.read_text(encoding="utf-8")
    for section in re.split(r"^## ", text, flags=re.MULTILINE):
        if re.match("What was checked|How it is tested|Defects of", section):
            assert _PYTEST.search(" ".join(section.split())) or "`make test`" in section
    for files, chosen in _PYTEST.findall(" ".join(text.split())):
        sources = {path: (ROOT / path).read_text(encoding="utf-8") for path in files.split()}
        names = [*ENGINES, *sources, *re.findall(r"^def (test_\w+)", "\n".join(sources.values()), re.MULTILINE)]
        for word in set(chosen.strip('"').split()) - {"and", "or", "not"}:
            assert any(word in name for name in names), (files, word)
