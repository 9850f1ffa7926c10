"""CloudTrail as Elastic's AWS integration stores it, for ES|QL."""

from sigma.pipelines.keywatch._cloudtrail import cloudtrail_pipeline
from sigma.pipelines.keywatch._fields import FieldTable
from sigma.processing.pipeline import ProcessingPipeline


def cloudtrail_elasticsearch(index: str = "logs-aws.cloudtrail-*") -> ProcessingPipeline:
    """Build the pipeline for `keywatch_elasticsearch`.

    :param index: the data streams, or a pattern of them, that hold CloudTrail.
    """
    return cloudtrail_pipeline(
        "cloudtrail_elasticsearch",
        backends=["keywatch_elasticsearch"],
        table=FieldTable.beside(__file__),
        state={"index": index},
    )
