"""Write what a pull request to SigmaHQ/sigma needs: the rules where it keeps them, and the text of the request."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sigma.pipelines.keywatch._pack import PACK, read_yaml

from keywatch.conversion.regression import KEY, Event, examples, info_path, regression
from keywatch.errors import UserError
from keywatch.files import replace_all

#: The order that SigmaHQ's rule conventions give (sigma-specification, sigmahq/sigmahq-rule-convention.md), with the
#: keys that correlations have besides.
ORDER = (
    "title", "id", "name", "related", "status", "description", "references", "author", "date", "modified", "tags",
    "logsource", "detection", "correlation", "falsepositives", "level",
)  # fmt: skip


def upstream(folder: Path) -> list[Path]:
    """Write the rules of the pack, a sample of what each matches, and `pull-request.md`; return the files.

    Rule files are copied as they are, with a line at their end that says where their samples are: everything of this
    project's own lies beside them, not in them.
    :raises UserError: for a rule with a key that SigmaHQ does not take, or in another order, and if a file can't be
        written.
    """
    rules = {path.relative_to(PACK): read_yaml(path) for path in sorted(PACK.rglob("*.yml"))}
    known = examples()
    files: dict[Path, str] = {}
    for path, rule in rules.items():
        _check(PACK / path, rule)
        files[path] = f"{(PACK / path).read_text(encoding='utf-8').rstrip()}\n{KEY}: {info_path(path)}\n"
        files |= regression(path, rule, known)
    files[Path("pull-request.md")] = _request(list(rules.values()), known)
    replace_all({folder / name: text for name, text in files.items()})
    return [folder / name for name in files]


def _check(path: Path, rule: dict[str, Any]) -> None:
    unknown = [key for key in rule if key not in ORDER]
    if unknown:
        raise UserError(f"key '{unknown[0]}' is not accepted by SigmaHQ; put it into a guide under sigma/guides", path)
    if list(rule) != [key for key in ORDER if key in rule]:
        raise UserError(f"keys are in another order than SigmaHQ's: {', '.join(ORDER)}", path)


def _request(rules: list[dict[str, Any]], known: dict[str, list[Event]]) -> str:
    """Return the request's text: SigmaHQ's template, filled in."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(  # noqa: S701  # Markdown of our own rules
        loader=PackageLoader("keywatch.conversion", "."),
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    template = environment.get_template("pull-request.md.j2")
    return template.render(
        rules=rules,
        titles={rule["name"]: rule["title"] for rule in rules},
        pulls=read_yaml(PACK / "related.yaml"),
        examples={name: [json.dumps(event, indent=4) for event in events] for name, events in known.items()},
    )
