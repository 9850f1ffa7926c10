"""CloudTrail as AWS's table for Athena has it, and as an event data store of CloudTrail Lake has it."""

from sigma.pipelines.keywatch._cloudtrail import cloudtrail_pipeline, field_table
from sigma.processing.pipeline import ProcessingPipeline


def cloudtrail_athena(table: str = "cloudtrail_logs_pp") -> ProcessingPipeline:
    """Build the pipeline for `keywatch_athena` and `keywatch_lake`.

    :param table: the table, with its database in front where it needs one; partitioned by day, as AWS documents it.
    """
    return cloudtrail_pipeline(
        "cloudtrail_athena",
        backends=["keywatch_athena", "keywatch_lake"],
        mapping=expressions("table"),
        by_format={"sql-lake": expressions("lake")},
        state={"table": table},
    )


def expressions(schema: str) -> dict[str | None, str | list[str]]:
    """Return CloudTrail field → expression over a schema: `table` or `lake`."""
    table = field_table(__file__).items()
    entries = {name: entry if isinstance(entry, dict) else {schema: entry} for name, entry in table}
    return {name: entry[schema] for name, entry in entries.items() if schema in entry}
