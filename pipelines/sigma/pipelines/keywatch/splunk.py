"""CloudTrail as the Splunk Add-on for AWS indexes it."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from sigma.conditions import ConditionAND, ConditionOR
from sigma.pipelines.keywatch._cloudtrail import cloudtrail_pipeline
from sigma.pipelines.keywatch._fields import FieldTable
from sigma.pipelines.keywatch._pack import defaults
from sigma.processing.pipeline import ProcessingPipeline
from sigma.processing.transformations.base import DetectionItemTransformation
from sigma.rule import SigmaDetection, SigmaDetectionItem
from sigma.types import SigmaExists, SigmaRegularExpression, SigmaString, SigmaType

#: What the add-on's props.conf gives every event that has no error: `coalesce(errorCode, …, "success")`.
_SUCCESS = "success"


@dataclass
class SuccessIsAnErrorCode(DetectionItemTransformation):
    """Tell the error code of the add-on's successes from CloudTrail's, which has none then."""

    def apply_detection_item(self, detection_item: SigmaDetectionItem) -> SigmaDetection | None:
        """Take `success` for no errorCode, and leave it out of what any errorCode matches."""
        if detection_item.field != "errorCode":
            return None
        values = list(detection_item.value)
        success = SigmaDetectionItem("errorCode", [], [SigmaString(_SUCCESS)])
        if any(isinstance(value, SigmaExists) and not value for value in values):
            values.append(SigmaString(_SUCCESS))
        hits = [value for value in values if _is_any(value)]
        rest = [value for value in values if not _is_any(value)]
        if not hits:
            detection_item.value = values
            return None
        if detection_item.value_linking is ConditionAND:
            hits, rest = values, []
        linked = replace(detection_item, modifiers=[], negated=False)
        parts: list[SigmaDetectionItem | SigmaDetection] = [replace(linked, value=hits)]
        if detection_item.negated:  # none of the hits, or success; and none of the rest
            errors = SigmaDetection([replace(linked, value=hits, negated=True), success], item_linking=ConditionOR)
            others = [replace(linked, value=rest, negated=True)] if rest else []
            return SigmaDetection([errors, *others], item_linking=ConditionAND)
        errors = SigmaDetection([*parts, replace(success, negated=True)], item_linking=ConditionAND)
        return SigmaDetection([errors, *([replace(linked, value=rest)] if rest else [])], item_linking=ConditionOR)


def _is_any(value: SigmaType) -> bool:
    """Tell whether a value that does not mean `success` matches it."""
    if isinstance(value, SigmaExists):
        return bool(value)
    if isinstance(value, SigmaString) and value.contains_special():
        pattern = value.convert(wildcard_multi=".*", wildcard_single=".", add_escaped=".^$+{}[]()|\\")
        return re.fullmatch(pattern, _SUCCESS, re.IGNORECASE) is not None
    if isinstance(value, SigmaRegularExpression):
        try:
            return re.search(str(value.regexp), _SUCCESS) is not None
        except re.error:
            return False
    return False


_DEFAULT = defaults("splunk")


def cloudtrail_splunk(index: str = _DEFAULT["index"], sourcetype: str = _DEFAULT["sourcetype"]) -> ProcessingPipeline:
    """Build the pipeline for `keywatch_splunk`.

    :param index: the index, or a pattern of indexes, that holds CloudTrail.
    :param sourcetype: its sourcetype; `aws:cloudtrail` is the add-on's.
    """
    return cloudtrail_pipeline(
        "cloudtrail_splunk",
        backends=["keywatch_splunk"],
        table=FieldTable.beside(__file__),
        transformations=[SuccessIsAnErrorCode()],
        state={"source": f'index="{index}" sourcetype="{sourcetype}"'},
    )
