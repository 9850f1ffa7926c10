"""Exact windows in DuckDB's SQL, as a list of named stages.

`matched` are the events, `possible` the groups that have enough values at all, `counted` adds to each of their events
the number of distinct values in the window that ends with it, `crossed` are the windows over the threshold, `alerts`
joins those that overlap, and the last SELECT gathers what lies in them, with list_distinct: DuckDB 2 plans each
aggregate with DISTINCT as a query of its own, which takes longer than to run it.
"""

from __future__ import annotations

from typing import ClassVar

from sigma.backends.keywatch._correlation import Correlation
from sigma.backends.keywatch._sliding import SlidingWindowBackend

#: Adds to each event the number of distinct values in the window that ends with it, where a group has {least} in all.
_COUNTED = """{search},
possible AS (
    SELECT {groupby} FROM matched GROUP BY {groupby} HAVING count(DISTINCT {field}) >= {least}
),
counted AS MATERIALIZED (
    SELECT *, count(DISTINCT {field}) OVER (
        PARTITION BY {groupby} ORDER BY "eventTime"
        RANGE BETWEEN INTERVAL {window} SECONDS PRECEDING AND CURRENT ROW
    ) AS value_count
    FROM matched JOIN possible USING ({groupby})
    WHERE {present}
),
"""
#: Windows of the same {keys} that overlap get the same number.
_OVERLAPPING = """opened AS (
    SELECT {keys}, "eventTime", value_count,
        "eventTime" - INTERVAL {window} SECONDS > lag("eventTime") OVER (
            PARTITION BY {keys} ORDER BY "eventTime"
        ) AS opens
    FROM crossed
), numbered AS (
    SELECT *, count(*) FILTER (opens) OVER (
        PARTITION BY {keys} ORDER BY "eventTime" RANGE UNBOUNDED PRECEDING
    ) AS alert_number
    FROM opened
)"""
#: A hunt goes through months, where one principal can raise several alerts: windows that overlap are joined, and what
#: lies in them is gathered.
_ALERTS = """, alerts AS (
    SELECT {groupby}, max(value_count) AS most_values,
        min("eventTime") - INTERVAL {window} SECONDS AS window_start, max("eventTime") AS window_end
    FROM numbered GROUP BY {groupby}, alert_number
)
SELECT {groupby}, most_values AS value_count,
    list_sort(list_distinct(list({field}))) AS {field},
    min("eventTime") AS first_seen, max("eventTime") AS last_seen, count(*) AS event_count{fields}
FROM alerts JOIN counted USING ({groupby})
WHERE "eventTime" BETWEEN window_start AND window_end
GROUP BY {groupby}, most_values, window_start
ORDER BY first_seen, {groupby}"""


class DuckDBSliding(SlidingWindowBackend):
    """The method `sliding` in DuckDB's SQL."""

    evidence: ClassVar[str] = ",\n    list_sort(list_distinct(list({field}) FILTER ({field} <> ''))) AS {field}"
    sliding: ClassVar[dict[str, str]] = {
        "value_count": _COUNTED
        + "crossed AS (\n    SELECT * FROM counted WHERE value_count >= {count}\n),\n"
        + _OVERLAPPING
        + _ALERTS,
    }

    def sliding_variables(self, correlation: Correlation) -> dict[str, str]:
        """Add what groups are told by, how many values a group needs in all, and that its fields have a value."""
        variables = super().sliding_variables(correlation)
        present = " AND ".join(f"{self.column(correlation.rule, name)} <> ''" for name in correlation.keys)
        return variables | {"keys": variables["groupby"], "least": variables["count"], "present": present}


class GridSliding(DuckDBSliding):
    """When a correlation would have alerted at each threshold of the table `thresholds`."""

    sliding: ClassVar[dict[str, str]] = {
        "value_count": _COUNTED
        + "crossed AS (\n    SELECT * FROM counted JOIN thresholds ON value_count >= threshold\n),\n"
        + _OVERLAPPING
        + """
SELECT threshold, concat_ws(' ', {groupby}) AS principal, min("eventTime") AS first_crossed
FROM numbered GROUP BY {groupby}, threshold, alert_number
ORDER BY threshold, first_crossed, principal""",
    }

    def sliding_variables(self, correlation: Correlation) -> dict[str, str]:
        """Tell alerts of different thresholds apart."""
        variables = super().sliding_variables(correlation)
        keys, least = f"{variables['groupby']}, threshold", "(SELECT min(threshold) FROM thresholds)"
        return variables | {"keys": keys, "least": least}
