"""CloudTrail as an event data store of CloudTrail Lake has it."""

import sigma.pipelines.keywatch.athena
from sigma.pipelines.keywatch._cloudtrail import cloudtrail_pipeline, field_table
from sigma.processing.pipeline import ProcessingPipeline


def cloudtrail_lake() -> ProcessingPipeline:
    """Build the pipeline for `keywatch_lake`. Its columns are those of Athena's table but for a few."""
    mapping = field_table(sigma.pipelines.keywatch.athena.__file__) | field_table(__file__)
    return cloudtrail_pipeline("cloudtrail_lake", backends=["keywatch_lake"], mapping=mapping)
