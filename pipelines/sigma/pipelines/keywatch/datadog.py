"""CloudTrail as Datadog's AWS integration stores it."""

from sigma.pipelines.keywatch._cloudtrail import cloudtrail_pipeline
from sigma.pipelines.keywatch._fields import FieldTable
from sigma.processing.pipeline import ProcessingPipeline


def cloudtrail_datadog() -> ProcessingPipeline:
    """Build the pipeline for `keywatch_datadog`."""
    return cloudtrail_pipeline("cloudtrail_datadog", backends=["keywatch_datadog"], table=FieldTable.beside(__file__))
