"""CloudTrail as AWS's table for Athena has it."""

from sigma.pipelines.keywatch._cloudtrail import cloudtrail_pipeline
from sigma.pipelines.keywatch._fields import FieldTable
from sigma.pipelines.keywatch._pack import defaults
from sigma.processing.pipeline import ProcessingPipeline

_DEFAULT = defaults("athena")


def cloudtrail_athena(table: str = _DEFAULT["table"]) -> ProcessingPipeline:
    """Build the pipeline for `keywatch_athena`.

    :param table: the table, with its database in front where it needs one; partitioned by day, as AWS documents it.
    """
    return cloudtrail_pipeline(
        "cloudtrail_athena", backends=["keywatch_athena"], table=FieldTable.beside(__file__), state={"table": table}
    )
