"""CloudTrail as AWS's table for Athena has it."""

from sigma.pipelines.keywatch._cloudtrail import cloudtrail_pipeline, field_table
from sigma.processing.pipeline import ProcessingPipeline


def cloudtrail_athena(table: str = "cloudtrail_logs_pp") -> ProcessingPipeline:
    """Build the pipeline for `keywatch_athena`.

    :param table: the table, with its database in front where it needs one; partitioned by day, as AWS documents it.
    """
    return cloudtrail_pipeline(
        "cloudtrail_athena", backends=["keywatch_athena"], mapping=field_table(__file__), state={"table": table}
    )
