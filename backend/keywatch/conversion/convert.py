"""Convert the pack for a target and write what the target imports."""

from __future__ import annotations

import io
import shutil
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sigma.backends.keywatch._sliding import Rule
from sigma.exceptions import SigmaError
from sigma.rule import SigmaRule

from keywatch.conversion.rules import Pack, problem_of
from keywatch.conversion.targets import Target
from keywatch.errors import UserError, writing


@dataclass
class Conversion:
    """What a conversion made: for each rule that is an alert by itself, its finished queries."""

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
    formats = target.formats
    output_format = output_format or next(iter(formats))
    pipeline = target.pipeline(output_format, settings.get(target.name, {}))
    backend = formats[output_format](pipeline, **settings["schedule"])
    backend.init_processing_pipeline(output_format)
    conversion = Conversion(backend, output_format)
    failed: set[int] = set()
    for rule in pack.in_order():
        for reference in getattr(rule, "referenced_rules", ()):
            if id(reference.rule) in failed:
                failed.add(id(rule))
                message = f"it needs rule '{reference.reference}', which can't be converted"
                conversion.problems.append(problem_of(SigmaError(message), rule))
        if id(rule) in failed:
            continue
        try:
            if isinstance(rule, SigmaRule):
                queries = backend.convert_rule(rule, output_format)
            else:
                queries = backend.convert_correlation_rule(rule, output_format, method)
        except (SigmaError, NotImplementedError) as error:
            failed.add(id(rule))
            conversion.problems.append(problem_of(error, rule))
            continue
        if pack.is_output(rule):
            name = _file_stem(rule, conversion.queries)
            conversion.queries[name] = queries
            conversion.rules[name] = rule
    return conversion


def write(conversion: Conversion, out: Path, *, clean: bool) -> list[Path]:
    """Write the files of a conversion.

    :param clean: first remove what an earlier conversion to the same format left in the folder.
    :return: the files, in the order written.
    :raises UserError: if a file can't be written.
    """
    patterns = conversion.backend.files[conversion.output_format]
    everything = [query for queries in conversion.queries.values() for query in queries]
    written: dict[Path, bytes] = {}
    for pattern in patterns:
        if "{rule}" in pattern:
            for name, queries in conversion.backend.grouped(conversion.queries).items():
                written[out / pattern.format(rule=name)] = _finalized(conversion, queries)
        elif pattern.endswith("/"):
            written |= {out / name: content for name, content in _unpacked(_finalized(conversion, everything))}
        else:
            written[out / pattern] = _finalized(conversion, everything)
    with writing(out):
        if clean:
            for old in (old for pattern in patterns for old in out.glob(pattern.format(rule="*"))):
                shutil.rmtree(old) if old.is_dir() else old.unlink()
        for path, content in written.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    return list(written)


def _finalized(conversion: Conversion, queries: list[Any]) -> bytes:
    output = conversion.backend.finalize(queries, conversion.output_format)
    return output.encode() if isinstance(output, str) else output


def _unpacked(archive: bytes) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        for entry in files:
            content = files.extractfile(entry)
            if content is not None:
                yield entry.name, content.read()


def _file_stem(rule: Rule, taken: dict[str, Any]) -> str:
    stem = rule.source.path.stem if rule.source else str(rule.id)
    if stem not in taken:
        return stem
    return next(name for number in range(2, len(taken) + 3) if (name := f"{stem}_{number}") not in taken)
