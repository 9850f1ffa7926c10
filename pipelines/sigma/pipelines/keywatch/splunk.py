"""CloudTrail as the Splunk Add-on for AWS indexes it."""

from __future__ import annotations

from dataclasses import dataclass

from sigma.exceptions import SigmaTransformationError
from sigma.pipelines.keywatch._cloudtrail import cloudtrail_pipeline, field_table
from sigma.processing.pipeline import ProcessingPipeline
from sigma.processing.transformations.base import DetectionItemTransformation
from sigma.rule import SigmaDetectionItem
from sigma.types import SigmaExists, SigmaNull, SigmaString


@dataclass
class SuccessIsAnErrorCode(DetectionItemTransformation):
    """Where a rule asks for no errorCode, take `success` too.

    The add-on's props.conf gives every event an errorCode (`EVAL-errorCode = coalesce(errorCode, …, "success")`).
    """

    def apply_detection_item(self, detection_item: SigmaDetectionItem) -> None:
        """Add the value `success` to an absent errorCode.

        :raises SigmaTransformationError: for `errorCode|exists: true`, which every event would match.
        """
        if detection_item.field != "errorCode":
            return
        values = detection_item.value
        if any(isinstance(value, SigmaExists) and value.exists for value in values):
            raise SigmaTransformationError(
                "field 'errorCode' exists in every event of Splunk's add-on; exclude `errorCode: null` instead"
            )
        if any(isinstance(value, SigmaNull | SigmaExists) for value in values):
            values.append(SigmaString("success"))


def cloudtrail_splunk(index: str = "*", sourcetype: str = "aws:cloudtrail") -> ProcessingPipeline:
    """Build the pipeline for `keywatch_splunk`.

    :param index: the index, or a pattern of indexes, that holds CloudTrail.
    :param sourcetype: its sourcetype; `aws:cloudtrail` is the add-on's.
    """
    return cloudtrail_pipeline(
        "cloudtrail_splunk",
        backends=["keywatch_splunk"],
        mapping=field_table(__file__),
        transformations=[SuccessIsAnErrorCode()],
        state={"source": f'index="{index}" sourcetype="{sourcetype}"'},
    )
