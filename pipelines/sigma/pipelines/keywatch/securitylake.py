"""CloudTrail as Amazon Security Lake has it: OCSF 1.1.0, which AWS calls source version 2."""

from sigma.pipelines.keywatch._cloudtrail import cloudtrail_pipeline
from sigma.pipelines.keywatch._ocsf import trino_table
from sigma.pipelines.keywatch._pack import defaults
from sigma.processing.pipeline import ProcessingPipeline

_DEFAULT = defaults("securitylake")


def cloudtrail_securitylake(table: str = _DEFAULT["table"]) -> ProcessingPipeline:
    """Build the pipeline for `keywatch_securitylake`.

    :param table: the table of CloudTrail's management events, with its database in front where it needs one.
    """
    return cloudtrail_pipeline(
        "cloudtrail_securitylake", backends=["keywatch_securitylake"], table=trino_table(), state={"table": table}
    )
