"""CloudTrail's own records, as `keywatch hunt` reads them into DuckDB."""

from sigma.pipelines.keywatch._cloudtrail import cloudtrail_pipeline, field_table
from sigma.processing.pipeline import ProcessingPipeline


def cloudtrail_raw() -> ProcessingPipeline:
    """Build the pipeline for `keywatch_duckdb`."""
    return cloudtrail_pipeline("cloudtrail_raw", backends=["keywatch_duckdb"], mapping=field_table(__file__))
