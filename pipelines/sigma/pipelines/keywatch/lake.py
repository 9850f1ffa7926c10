"""CloudTrail as an event data store of CloudTrail Lake has it."""

import sigma.pipelines.keywatch.athena
from sigma.pipelines.keywatch._cloudtrail import cloudtrail_pipeline
from sigma.pipelines.keywatch._fields import FieldTable
from sigma.processing.pipeline import ProcessingPipeline


def cloudtrail_lake() -> ProcessingPipeline:
    """Build the pipeline for `keywatch_lake`. Its columns are those of Athena's table but for a few."""
    table = FieldTable.beside(sigma.pipelines.keywatch.athena.__file__)
    return cloudtrail_pipeline(
        "cloudtrail_lake", backends=["keywatch_lake"], table=table.overlaid(FieldTable.beside(__file__))
    )
