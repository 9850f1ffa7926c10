"""CloudTrail as the Splunk Add-on for AWS indexes it."""

from sigma.pipelines.keywatch._cloudtrail import cloudtrail_pipeline, field_table
from sigma.processing.pipeline import ProcessingPipeline


def cloudtrail_splunk(index: str = "*", sourcetype: str = "aws:cloudtrail") -> ProcessingPipeline:
    """Build the pipeline for `keywatch_splunk`.

    :param index: the index, or a pattern of indexes, that holds CloudTrail.
    :param sourcetype: its sourcetype; `aws:cloudtrail` is the add-on's.
    """
    return cloudtrail_pipeline(
        "cloudtrail_splunk",
        backends=["keywatch_splunk"],
        mapping=field_table(__file__),
        state={"source": f'index="{index}" sourcetype="{sourcetype}"'},
    )
