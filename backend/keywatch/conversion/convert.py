"""Convert the pack for a target, and write what the target imports."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from sigma.backends.keywatch._artefact import ArtefactBackend
from sigma.backends.keywatch._correlation import Rule
from sigma.exceptions import SigmaError
from sigma.rule import SigmaRule

from keywatch.conversion.manifest import alone_in, keep
from keywatch.conversion.problems import problem_of
from keywatch.conversion.rules import Pack
from keywatch.conversion.targets import Target
from keywatch.errors import UserError


@dataclass
class Conversion:
    """What a conversion made: for each rule that is an alert by itself, its finished queries."""

    target: Target
    backend: Any
    output_format: str
    queries: dict[str, list[Any]] = field(default_factory=dict)
    rules: dict[str, Rule] = field(default_factory=dict)
    problems: list[UserError] = field(default_factory=list)


def convert(
    pack: Pack, target: Target, settings: dict[str, Any], output_format: str | None = None, method: str | None = None
) -> Conversion:
    """Convert every rule of a pack that is an alert by itself. A rule can be converted once.

    :param settings: `schedule` sets up the backend, the target's own section the pipeline.
    :param output_format: one of the target's formats; its first by default.
    :param method: correlation method; the backend's default, `sliding`, if none is named.
    """
    output_format = output_format or next(iter(target.formats))
    backend = backend_of(target, settings, output_format)
    conversion = Conversion(target, backend, output_format)
    outputs = {id(rule) for rule in pack.outputs()}
    failed: set[int] = set()
    names = _Names(backend.files[output_format])
    for rule in pack.in_order():
        try:
            for reference in getattr(rule, "referenced_rules", ()):
                if id(reference.rule) in failed:
                    raise SigmaError(f"it needs rule '{reference.reference}', which can't be converted")
            if isinstance(rule, SigmaRule):
                queries = backend.convert_rule(rule, output_format)
                if not rule.get_conversion_result():
                    raise SigmaError("its condition asks for nothing")
            else:
                queries = backend.convert_correlation_rule(rule, output_format, method)
        except Exception as error:  # whatever is wrong with one rule, the others are converted
            failed.add(id(rule))
            conversion.problems.append(problem_of(error, rule))
            continue
        if id(rule) in outputs:
            name = names.take(rule)
            conversion.queries[name] = queries
            conversion.rules[name] = rule
    return conversion


def backend_of(target: Target, settings: dict[str, Any], output_format: str) -> ArtefactBackend:
    """Return a target's backend, set up as settings say: schedule, placeholders, the target's own section."""
    pipeline = target.pipeline(output_format, settings.get(target.name, {}))
    pipeline.vars |= settings["placeholders"]
    backend = target.formats[output_format](pipeline, **settings["schedule"])
    backend.init_processing_pipeline(output_format)
    return backend


def write(conversion: Conversion, out: Path) -> list[Path]:
    """Write the files of a conversion, and remove those that an earlier one of the same target and format left there.

    A rule that can't be written becomes a problem of the conversion.
    :return: the files, in the order written.
    :raises UserError: if a file can't be written.
    """
    artefacts = _artefacts(conversion)
    if artefacts or out.exists():
        with alone_in(out):
            keep(out, f"{conversion.target.name} {conversion.output_format}", artefacts)
    return [out / name for name in artefacts]


def _artefacts(conversion: Conversion) -> dict[str, bytes]:
    """Return the files, by their paths; a rule of which none can be made is left out, and named."""

    def made(queries: dict[str, list[Any]]) -> dict[str, bytes]:
        artefacts: dict[str, bytes] = conversion.backend.artefacts(queries, conversion.output_format)
        return artefacts

    if not conversion.queries:
        return {}
    try:
        return made(conversion.queries)
    except Exception:  # of some rule: the others are written
        for name, queries in list(conversion.queries.items()):
            try:
                made({name: queries})
            except Exception as error:
                conversion.problems.append(problem_of(error, conversion.rules[name]))
                del conversion.queries[name]
        return made(conversion.queries) if conversion.queries else {}


class _Names:
    """The names of rules' files: that of the file that a rule is from, with a number where another has it."""

    def __init__(self, files: Iterable[str]) -> None:
        """Begin with the files of a format, as backends declare them: some are written once, for all rules."""
        self._of_a_rule = ["{rule}", *(pattern for pattern in files if "{rule}" in pattern)]
        self._taken = {pattern.casefold() for pattern in files}
        #: What begins a name → the first number that may be free; a file may hold a thousand rules.
        self._next: dict[str, int] = {}

    def take(self, rule: Rule) -> str:
        own = rule.source.path.stem if rule.source else str(rule.id)
        # A name that any system takes, whatever comes behind it, and that no terminal obeys.
        stem = re.sub(r"[^\w.+ -]", "_", own).lstrip(".").encode()[:150].decode(errors="ignore") or "rule"
        # Some systems take `All` and `all` for one.
        for number in count(self._next.get(stem.casefold(), 1)):
            name = stem if number == 1 else f"{stem}_{number}"
            paths = {pattern.format(rule=name).casefold() for pattern in self._of_a_rule}
            if self._taken.isdisjoint(paths):
                break
        self._next[stem.casefold()] = number + 1
        self._taken |= paths
        return name
