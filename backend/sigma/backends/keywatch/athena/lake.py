"""CloudTrail Lake's SQL (Trino) over an event data store."""

from __future__ import annotations

from typing import Any, ClassVar

from sigma.backends.keywatch._correlation import Rule
from sigma.backends.keywatch.athena.query import KeywatchAthenaBackend
from sigma.conversion.state import ConversionState


class KeywatchLakeBackend(KeywatchAthenaBackend):
    """SQL for CloudTrail Lake: Athena's query over an event data store."""

    identifier: ClassVar[str] = "keywatch_lake"
    name: ClassVar[str] = "CloudTrail Lake SQL (keywatch)"
    formats: ClassVar[dict[str, str]] = {
        "sql-lake": "a query over an event data store; $EDS_ID, $FROM and $TO are to be filled in",
        "default": "the same as sql-lake",
    }
    default_format: ClassVar[str] = "sql-lake"
    files: ClassVar[dict[str, tuple[str, ...]]] = {"sql-lake": ("{rule}.lake.sql",)}
    import_steps: ClassVar[dict[str, str]] = {
        "sql-lake": "fill in $EDS_ID, $FROM and $TO, and run a file in CloudTrail's Lake > Query"
    }
    #: AWS's own sample queries have $EDS_ID in this place.
    source: ClassVar[str] = "$EDS_ID"
    # Lake has no parameters, and no INTERVAL.
    selection: ClassVar[str] = """\
    SELECT CAST(to_unixtime(eventtime) AS bigint) AS "time"{columns}
    FROM {source}
    WHERE eventtime BETWEEN TIMESTAMP '$FROM' AND TIMESTAMP '$TO'
        AND ({condition})"""

    # pySigma looks for a method that is named after the format, and no method's name can hold a hyphen.
    def finalize_query(self, rule: Rule, query: Any, index: int, state: ConversionState, output_format: str) -> Any:
        """Make a statement of a query."""
        return super().finalize_query(rule, query, index, state, "default")

    def finalize(self, queries: list[Any], output_format: str) -> Any:
        """Join the statements."""
        return super().finalize(queries, "default")
