"""Athena's SQL (Trino) over Amazon Security Lake's table of CloudTrail, which is OCSF."""

from __future__ import annotations

from typing import ClassVar

from sigma.backends.keywatch.athena.query import KeywatchAthenaBackend


class KeywatchSecurityLakeBackend(KeywatchAthenaBackend):
    """SQL for Security Lake: Athena's query over the table of AWS's source version 2."""

    identifier: ClassVar[str] = "keywatch_securitylake"
    name: ClassVar[str] = "Athena SQL over Amazon Security Lake's OCSF (keywatch)"
    formats: ClassVar[dict[str, str]] = {
        "sql": "a query with two parameters: the first and the last day, as '2026-11-20'",
        "default": "the same as sql",
    }
    event_id: ClassVar[str] = "metadata.uid"
    # AWS partitions the tables of source version 2 by time_dt, and no longer by eventday.
    selection: ClassVar[str] = """\
    SELECT time / 1000 AS "time"{columns}
    FROM {source}
    WHERE time_dt >= CAST(? AS timestamp) AND time_dt < CAST(? AS timestamp) + INTERVAL '1' DAY
        AND ({condition})"""
