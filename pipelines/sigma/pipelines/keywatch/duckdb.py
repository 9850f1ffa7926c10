"""CloudTrail's own records, as `keywatch hunt` reads them into DuckDB."""

from sigma.pipelines.keywatch._cloudtrail import cloudtrail_pipeline
from sigma.pipelines.keywatch._fields import FieldTable
from sigma.processing.pipeline import ProcessingPipeline


def cloudtrail_duckdb() -> ProcessingPipeline:
    """Build the pipeline for `keywatch_duckdb`."""
    return cloudtrail_pipeline("cloudtrail_duckdb", backends=["keywatch_duckdb"], table=FieldTable.beside(__file__))
