"""CloudTrail as Microsoft Sentinel's table AWSCloudTrail has it."""

from sigma.pipelines.keywatch._cloudtrail import cloudtrail_pipeline
from sigma.pipelines.keywatch._fields import FieldTable
from sigma.processing.pipeline import ProcessingPipeline


def cloudtrail_sentinel() -> ProcessingPipeline:
    """Build the pipeline for `keywatch_sentinel`."""
    return cloudtrail_pipeline("cloudtrail_sentinel", backends=["keywatch_sentinel"], table=FieldTable.beside(__file__))
