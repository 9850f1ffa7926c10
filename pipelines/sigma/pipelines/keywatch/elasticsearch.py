"""CloudTrail as Elastic's AWS integration stores it, for ES|QL."""

from sigma.pipelines.keywatch._cloudtrail import cloudtrail_pipeline
from sigma.pipelines.keywatch._fields import FieldTable
from sigma.pipelines.keywatch._pack import defaults
from sigma.processing.pipeline import ProcessingPipeline

_DEFAULT = defaults("elasticsearch")


def cloudtrail_elasticsearch(index: str = _DEFAULT["index"]) -> ProcessingPipeline:
    """Build the pipeline for `keywatch_elasticsearch`.

    :param index: the data streams, or a pattern of them, that hold CloudTrail.
    """
    return cloudtrail_pipeline(
        "cloudtrail_elasticsearch",
        backends=["keywatch_elasticsearch"],
        table=FieldTable.beside(__file__),
        state={"index": index},
    )
