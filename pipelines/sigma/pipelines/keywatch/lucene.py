"""CloudTrail as Elastic's AWS integration stores it, for Lucene's queries."""

import sigma.pipelines.keywatch.elasticsearch
from sigma.pipelines.keywatch._cloudtrail import cloudtrail_pipeline
from sigma.pipelines.keywatch._fields import FieldTable
from sigma.processing.pipeline import ProcessingPipeline


def cloudtrail_lucene() -> ProcessingPipeline:
    """Build the pipeline for `keywatch_lucene`."""
    table = FieldTable.beside(sigma.pipelines.keywatch.elasticsearch.__file__)
    return cloudtrail_pipeline(
        "cloudtrail_lucene", backends=["keywatch_lucene"], table=table.overlaid(FieldTable.beside(__file__))
    )
