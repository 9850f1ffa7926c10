"""An error is one line, and names the line of a file that it is about."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from keywatch.conversion.rules import load_pack
from keywatch.conversion.settings import load_settings
from keywatch.errors import UserError
from packs import attempted, one_rule, written


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (UserError("one\n  line"), "one line"),
        (UserError("wrong", Path("a.yml")), "a.yml: wrong"),
        (UserError("wrong", Path("a.yml"), 7), "a.yml:7: wrong"),
        (UserError("\x1b[31m\u202e", Path("a\n.yml")), r"a\n.yml: \x1b[31m\u202e"),
    ],
)
def test_an_error_is_one_line(error: UserError, says: str) -> None:
    assert str(error) == says


@pytest.mark.parametrize("field", ["nosuch", "nosuch|contains", "nosuch|contains|all"])
def test_the_line_is_that_of_the_document_that_is_wrong(field: str, tmp_path: Path) -> None:
    right = one_rule({"eventName": "nosuch"}, title="Right", name="right")
    path = written([right, one_rule({field: ["x", "y"]}), right | {"title": "nosuch", "name": "last"}], tmp_path)
    [problem] = attempted("duckdb", rules=[path]).problems
    lines = path.read_text(encoding="utf-8").splitlines()
    assert problem.line is not None
    assert lines[problem.line - 1].strip().startswith(field)


def stack(number: int, below: str) -> dict[str, Any]:
    """Return a correlation that stands on another rule."""
    says = {"type": "event_count", "rules": [below], "timespan": "1h", "condition": {"gte": 2}}
    return {"title": f"C{number}", "name": f"c{number}", "correlation": says}


def test_what_correlations_refer_to_is_told_whatever_they_refer_to(tmp_path: Path) -> None:
    """The depth has an end, and a missing rule and a circle are named."""
    deep = [one_rule({"eventName": "x"}, name="c0"), *(stack(number, f"c{number - 1}") for number in range(1, 1500))]
    circle, missing = [stack(-1, "c-2"), stack(-2, "c-1")], stack(-3, "nobody")
    pack = load_pack([written([*deep, *circle, missing], tmp_path)], [], load_settings(None))
    said = [problem.message for problem in pack.problems]
    assert said.count("rule 'C17' stands on more than 16 correlations") == 1
    assert "rule 'C16' stands on more than 16 correlations" not in said
    assert "rule 'C-1' refers to itself, by way of 'c-1'" in said
    assert "Rule 'c-1' not found in rule collection" in said
    assert "Rule 'nobody' not found in rule collection" in said
    assert len(said) == 1499 - 16 + 3


def test_a_value_that_would_be_very_many_is_refused(tmp_path: Path) -> None:
    few, many = " -a /b -c -d", " -a" * 40
    path = written([one_rule({"userAgent|contains|windash": [few]}), one_rule({"userAgent|windash": many})], tmp_path)
    [problem] = load_pack([path], [], load_settings(None)).problems
    assert "windash would make" in problem.message
