"""What the pipelines of all schemas share: the field table, strictly applied, and the triage guide.

A pipeline is a table of CloudTrail's field names, beside its module, and the few transformations that its schema needs.
"""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from string import Formatter
from typing import Any

from sigma.correlations import SigmaCorrelationRule
from sigma.exceptions import SigmaTransformationError, SigmaValueError
from sigma.pipelines.keywatch._pack import guides, read_yaml
from sigma.processing.pipeline import ProcessingItem, ProcessingPipeline
from sigma.processing.transformations import FieldMappingTransformation, SetStateTransformation
from sigma.processing.transformations.base import DetectionItemTransformation, PreprocessingTransformation
from sigma.rule import SigmaDetectionItem, SigmaLogSource, SigmaRule

_CLOUDTRAIL = SigmaLogSource(product="aws", service="cloudtrail")

#: All fields that the pack knows: those of the records themselves.
_FIELDS = Path(__file__).with_name("duckdb.yml")

#: Where a rule carries its triage guide from the pipeline to the backend.
GUIDE = "keywatch_guide"
#: Where a rule carries which CloudTrail field each name of the schema stands for.
_NAMES = "keywatch_names"


def cloudtrail_names(rule: SigmaRule | SigmaCorrelationRule) -> dict[str, str]:
    """Return name in the schema → CloudTrail's name, of the fields of a mapped rule and of those that it refers to."""
    names: dict[str, str] = {}
    for reference in getattr(rule, "referenced_rules", ()):
        names |= cloudtrail_names(reference.rule)
    names |= rule.custom_attributes.get(_NAMES, {})
    return names


def field_table(module: str) -> Any:
    """Read the field table that lies beside a pipeline's module, under the same name.

    :param module: the module's `__file__`.
    :return: CloudTrail's field name → what the schema makes of it.
    """
    return read_yaml(Path(module).with_suffix(".yml"))


@dataclass
class AttachGuide(PreprocessingTransformation):
    """Give a rule of the pack its evidence fields and its triage guide, which lie outside the rule file.

    SigmaHQ takes no `fields:` in a rule; so that stock `sigma convert` gets them too, the pipeline adds them.
    """

    def apply(self, rule: SigmaRule | SigmaCorrelationRule) -> None:
        """Add the guide that names this rule, if any."""
        super().apply(rule)
        guide = guides().get(rule.name or "")
        if guide is not None:
            rule.fields = [*rule.fields, *(name for name in guide.fields if name not in rule.fields)]
            rule.custom_attributes[GUIDE] = guide


@dataclass
class OwnDetections(PreprocessingTransformation):
    """Give each rule detections of its own.

    pySigma 1.5 puts the same objects of a Sigma filter into every rule: what is mapped for one is mapped for all.
    """

    def apply(self, rule: SigmaRule | SigmaCorrelationRule) -> None:
        """Copy the detections."""
        super().apply(rule)
        if isinstance(rule, SigmaRule):
            rule.detection.detections = deepcopy(rule.detection.detections)


@dataclass
class StrictFieldMapping(FieldMappingTransformation):
    """Map field names wherever they stand, in conditions, correlations, evidence and guide; refuse an unknown one."""

    pipeline: str = ""
    _rule: SigmaRule | SigmaCorrelationRule | None = field(init=False, default=None, compare=False)

    def apply(self, rule: SigmaRule | SigmaCorrelationRule) -> None:
        """Map the field names of a rule.

        :raises SigmaTransformationError: if the table lacks a field, or the rule is for another log source; it names
            rule, field and pipeline.
        """
        if isinstance(rule, SigmaRule) and rule.logsource not in _CLOUDTRAIL:
            raise SigmaTransformationError(
                f"rule '{rule.title}': pipeline '{self.pipeline}' is for logsource product: aws, service: cloudtrail",
                source=rule.source,
            )
        self._rule = rule
        rule.custom_attributes[_NAMES] = {mapped: name for name, mapped in self.mapping.items()}
        super().apply(rule)
        guide = rule.custom_attributes.get(GUIDE)
        if guide is not None:
            rule.custom_attributes[GUIDE] = replace(
                guide, steps={title: self._map_text(text) for title, text in guide.steps.items()}
            )

    def apply_field_name(self, field: str | None) -> str:
        """Look a field up in the table."""
        mapped = self.mapping.get(field)
        assert self._rule is not None
        if isinstance(mapped, str):
            return mapped
        if field is None:
            raise SigmaTransformationError(
                f"rule '{self._rule.title}': a keyword without a field can't be searched for in CloudTrail events; "
                "name the field",
                source=self._rule.source,
            )
        if field in read_yaml(_FIELDS):
            raise SigmaTransformationError(
                f"rule '{self._rule.title}': pipeline '{self.pipeline}' has nothing for field '{field}', which the "
                "target does not store; turn the rule off if it can't do without it (settings: rules, enabled: false)",
                source=self._rule.source,
            )
        near = difflib.get_close_matches(field, [name for name in self.mapping if name], n=1)
        raise SigmaTransformationError(
            f"rule '{self._rule.title}': field '{field}' is not known to pipeline '{self.pipeline}'"
            + (f"; did you mean '{near[0]}'?" if near else ""),
            source=self._rule.source,
        )

    def _map_text(self, text: str) -> str:
        return "".join(
            literal.replace("{", "{{").replace("}", "}}") + (f"{{{self.apply_field_name(name)}}}" if name else "")
            for literal, name, _, _ in Formatter().parse(text)
        )


@dataclass
class RefuseUnclearText(DetectionItemTransformation):
    """Refuse values with characters that engines differ on, and that CloudTrail's names have none of."""

    def apply_detection_item(self, detection_item: SigmaDetectionItem) -> None:
        """Look at the values of a field.

        :raises SigmaValueError: if one has a control character, or a letter whose case is folded in several ways.
        """
        for value in detection_item.value:
            text = "".join(part for part in getattr(value, "s", ()) if isinstance(part, str))
            for char in text + str(getattr(value, "regexp", "")):
                problem = (
                    "a control character, and CloudTrail has none"
                    if unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp")
                    else f"the letter '{char}', and engines differ in how they ignore its case; put ? in its place"
                    if _folds_in_several_ways(char)
                    else None
                )
                if problem:
                    raise SigmaValueError(
                        f"field '{detection_item.field}': its value has {problem}", source=detection_item.source
                    )


def _folds_in_several_ways(char: str) -> bool:
    """Tell whether a letter has more than two forms that are the same but for the case, such as the Kelvin sign."""
    lower, upper = char.lower(), char.upper()
    one_pair = char.casefold() == lower == upper.lower() and upper == lower.upper()
    return char in "Σσ" or not one_pair


def cloudtrail_pipeline(
    name: str,
    backends: Iterable[str],
    mapping: dict[str | None, str | list[str]],
    transformations: Iterable[PreprocessingTransformation] = (),
    state: dict[str, str] | None = None,
) -> ProcessingPipeline:
    """Build the pipeline of a schema.

    :param name: the pipeline's identifier, as sigma-cli lists it.
    :param backends: identifiers of the backends it is meant for.
    :param mapping: the field table.
    :param transformations: what the schema needs besides, applied before the field names are mapped.
    :param state: values for the backend, such as the index.
    """
    steps: list[PreprocessingTransformation] = [
        OwnDetections(),
        AttachGuide(),
        RefuseUnclearText(),
        *transformations,
        StrictFieldMapping(mapping, pipeline=name),
        *(SetStateTransformation(key, value) for key, value in (state or {}).items()),
    ]
    return ProcessingPipeline(
        name=name,
        priority=20,
        allowed_backends=frozenset(backends),
        items=[ProcessingItem(transformation=step) for step in steps],
    )
