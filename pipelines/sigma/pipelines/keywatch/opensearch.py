"""CloudTrail as its records lie in OpenSearch, mapped dynamically."""

from sigma.pipelines.keywatch._cloudtrail import cloudtrail_pipeline
from sigma.pipelines.keywatch._fields import FieldTable
from sigma.pipelines.keywatch._pack import defaults
from sigma.processing.pipeline import ProcessingPipeline

_DEFAULT = defaults("opensearch")


def cloudtrail_opensearch(index: str = _DEFAULT["index"], channel: str = _DEFAULT["channel"]) -> ProcessingPipeline:
    """Build the pipeline for `keywatch_opensearch`.

    :param index: the indexes, or a pattern of them, that hold CloudTrail; CloudWatch Logs writes `cwl-*`.
    :param channel: the ID of the notification channel that alerts are sent to.
    """
    return cloudtrail_pipeline(
        "cloudtrail_opensearch",
        backends=["keywatch_opensearch"],
        table=FieldTable.beside(__file__),
        state={"index": index, "channel": channel},
    )
