"""An error is one line, and names the line of a file that it is about."""

from __future__ import annotations

from pathlib import Path

import pytest

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
