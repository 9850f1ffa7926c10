"""Run the samples of a `regression_data/` against the rules that name them: what SigmaHQ's own runner does, and more.

Its runner (tests/regression_tests_runner.py, with JSON since pull request #6203) knows rules of single events only, and
needs programs that are downloaded. This one converts for DuckDB, as a hunt does, so it knows correlations too; it knows
no log but CloudTrail's, and no sample but JSON. Events with the same eventID are one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

from keywatch.conversion.convert import convert
from keywatch.conversion.documents import Document, read_documents
from keywatch.conversion.regression import KEY
from keywatch.conversion.rules import load_pack
from keywatch.conversion.settings import load_settings
from keywatch.conversion.targets import TARGETS
from keywatch.errors import UserError
from keywatch.hunting.coverage import Coverage
from keywatch.hunting.hunt import hunt
from keywatch.hunting.selection import Selection

PASSED, FAILED, UNTRIED = "passed", "failed", "untried"
_JSON = ("json", "ndjson", "jsonl")
_TEXT = {"type": "string"}
#: What an `info.yml` has, in words of our own: README.md of SigmaHQ's regression_data at a8da5bad.
_INFO = {
    "type": "object",
    "required": ["id", "description", "date", "author", "rule_metadata", "regression_tests_info"],
    "properties": {
        "rule_metadata": {"type": "array", "minItems": 1, "items": {"type": "object", "required": ["id", "title"]}},
        "regression_tests_info": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["type", "path"],
                "properties": {"type": _TEXT, "path": _TEXT, "match_count": {"type": "integer", "minimum": 1}},
            },
        },
    },
}


@dataclass(frozen=True)
class Tried:
    """What came of the samples of a rule: `passed`, `failed` or `untried`, and why, as far as it did not pass."""

    rule: Path
    outcome: str
    why: str = ""


def tried(paths: Sequence[Path]) -> Iterator[Tried]:
    """Run the samples of every rule that names some, by file.

    :param paths: rule files or folders of them, where the rules that correlations refer to are looked for too.
    """
    files = [file for path in paths for file in (sorted(path.rglob("*.yml")) if path.is_dir() else [path])]
    texts = {file: _text(file) for file in files}
    for file in files:
        if f"\n{KEY}:" not in texts[file]:
            continue  # nearly every rule of SigmaHQ's, at a hundredth of the time
        problems: list[UserError] = []
        for document in read_documents([file], "", problems):
            if KEY in document.content:
                yield _tried(document, texts)
        for problem in problems:
            yield Tried(file, UNTRIED, str(problem))


def _tried(rule: Document, texts: Mapping[Path, str]) -> Tried:
    try:
        info_file, tests = _tests(rule)
        used = _with_references(rule, texts)
        for test in tests:
            sample, wanted = _found(rule.path, test["path"]), test.get("match_count", 1)
            if sample.stem != str(rule.content.get("id")):
                return Tried(rule.path, FAILED, f"{sample}: a sample is called as its rule's id, {rule.content['id']}")
            count = _matches(rule, used, sample)
            if count < wanted:
                return Tried(rule.path, FAILED, f"{sample}: {count} found, {info_file} wants {wanted}")
    except UserError as error:
        return Tried(rule.path, UNTRIED, str(error))
    return Tried(rule.path, PASSED)


def _tests(rule: Document) -> tuple[Path, list[dict[str, Any]]]:
    """Return the file that describes a rule's samples, and what it says of each.

    :raises UserError: if it makes no sense, is about another rule, or if it has a sample that is no JSON.
    """
    file = _found(rule.path, str(rule.content[KEY]))
    problems: list[UserError] = []
    described = read_documents([file], "", problems)
    for problem in problems:
        raise problem
    info = described[0].content
    for error in Draft202012Validator(_INFO).iter_errors(info):
        raise UserError(f"{'.'.join(map(str, error.absolute_path)) or 'info.yml'}: {error.message}", file)
    for key in ("id", "title"):
        ours, theirs = rule.content.get(key), info["rule_metadata"][0][key]
        if str(ours) != str(theirs):
            raise UserError(f"rule_metadata: {key} is '{theirs}', that of {rule.path} is '{ours}'", file)
    tests: list[dict[str, Any]] = info["regression_tests_info"]
    for test in tests:
        if test["type"] not in _JSON:
            raise UserError(f"a sample of type '{test['type']}' is not read; {', '.join(_JSON)} are", file)
    return file, tests


def _found(rule: Path, path: str) -> Path:
    """Return a file that is named from the root of the repository that a rule lies in.

    :raises UserError: if it is not there.
    """
    for folder in rule.absolute().parents:
        if (folder / path).is_file():
            return folder / path
    raise UserError(f"'{path}' is not there", rule)


def _with_references(rule: Document, texts: Mapping[Path, str]) -> list[Path]:
    """Return the files that a rule needs: its own, and those of the rules that it refers to, and they to.

    :param texts: the files to look in, with what stands in them.
    """
    needed = [rule.path]
    waiting = [rule]
    while waiting:
        references = (waiting.pop().correlation or {}).get("rules", ())
        for reference in references if isinstance(references, list) else ():
            pattern = re.compile(rf"^(?:name|id): *['\"]?{re.escape(str(reference))}['\"]? *$", re.MULTILINE)
            for file, text in texts.items():
                if file not in needed and pattern.search(text):
                    needed.append(file)
                    waiting += read_documents([file], "", [])
    return needed


def _matches(rule: Document, files: list[Path], sample: Path) -> int:
    """Return how many events of a sample a rule matches; of a correlation, how often it is raised.

    :raises UserError: if the rule can't be converted, or the sample not be read.
    """
    settings = load_settings()
    pack = load_pack(files, [], settings)
    conversion = convert(pack, TARGETS["duckdb"], settings)
    coverage = Coverage()
    alerts = hunt(conversion, [str(sample)], Selection(), coverage)
    for problem in (*pack.problems, *conversion.problems, *coverage.problems):
        raise problem
    return sum(alert.rule_id == str(rule.content["id"]) for alert in alerts)


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return f"\n{KEY}:"  # what is wrong with it is said where it is read
