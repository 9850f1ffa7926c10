"""Exact windows in DuckDB's SQL, as a list of named stages.

`matched` are the events, `possible` the groups that have enough values at all, `counted` adds to each of their events
what the window that ends with it holds, `crossed` are those that complete the correlation, `alerts` joins windows that
overlap, and the last SELECT gathers what lies in them, with list_distinct: DuckDB 2 plans each aggregate with DISTINCT
as a query of its own, which takes longer than to run it.
"""

from __future__ import annotations

from typing import ClassVar

from sigma.backends.keywatch._chain import chained, seen
from sigma.backends.keywatch._conditions import passes
from sigma.backends.keywatch._correlation import OUTCOMES, SUCCESS, Correlation
from sigma.backends.keywatch._sliding import SlidingWindowBackend
from sigma.backends.keywatch._sql_text import ALL_EVENTS, literal

#: Adds to each event the number of distinct {measured} in the window that ends with it, if a group has {least} in all.
_COUNTED = """WITH matched AS (
{search}
),
possible AS (
    SELECT {groupby} FROM matched GROUP BY {groupby} HAVING count(DISTINCT {measured}) >= {least}
),
counted AS MATERIALIZED (
    SELECT *, count(DISTINCT {measured}) OVER (
        PARTITION BY {groupby} ORDER BY "eventTime"
        RANGE BETWEEN INTERVAL {window} SECONDS PRECEDING AND CURRENT ROW
    ) AS value_count
    FROM matched JOIN possible USING ({groupby})
    WHERE {present}
)"""
#: The same with the sum or the mean of {measured}; what is no number takes no part in it.
_MEASURED = """WITH matched AS (
{search}
),
counted AS MATERIALIZED (
    SELECT *, {function}(TRY_CAST({measured} AS DOUBLE)) OVER (
        PARTITION BY {groupby} ORDER BY "eventTime"
        RANGE BETWEEN INTERVAL {window} SECONDS PRECEDING AND CURRENT ROW
    ) AS value_count
    FROM {once}
    WHERE {present}
)"""
#: An event that is there for each rule that it matches has one value.
_ONCE = '(SELECT DISTINCT ON ({groupby}, "eventID") * FROM matched)'
_CROSSED = ",\ncrossed AS (\n    SELECT * FROM counted WHERE value_count {passes}\n)"
#: Adds to each event what its group's rules have matched, and takes those at which the last one that is needed did.
_MET = """WITH matched AS (
{search}
),
present AS (
    SELECT * FROM matched WHERE {present}
),
{stages},
crossed AS (
    SELECT *, {count} AS value_count FROM counted WHERE {met}
)"""
#: Windows of the same {keys} that overlap get the same number.
_OVERLAPPING = """,
opened AS (
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
), behind AS (
    SELECT *{outcome}
    FROM alerts JOIN counted USING ({groupby})
    WHERE "eventTime" BETWEEN window_start AND window_end{same}
)
SELECT {groupby}, most_values AS value_count,{values}
    min("eventTime") AS first_seen, max("eventTime") AS last_seen, {events} AS event_count{outcomes}{fields}
FROM behind
GROUP BY {groupby}, most_values, window_start
ORDER BY first_seen, {groupby}"""
#: Adds to each event behind an alert how many there are of the same Region and error, and from when to when.
_OUTCOME = """,
        concat({region}, ' ', {ended}, ': ', {events} OVER same, ' (',
            strftime(min("eventTime") OVER same, '%Y-%m-%dT%H:%M:%SZ'), ' to ',
            strftime(max("eventTime") OVER same, '%Y-%m-%dT%H:%M:%SZ'), ')') AS {column}"""
_SAME = "\n    WINDOW same AS (PARTITION BY {groupby}, window_start, {region}, {ended})"
#: Correlation type → the stages up to the events that complete it.
_STAGES = {
    "value_count": _COUNTED + _CROSSED,
    "event_count": _COUNTED + _CROSSED,
    "value_sum": _MEASURED + _CROSSED,
    "value_avg": _MEASURED + _CROSSED,
    "temporal": _MET,
    "temporal_extended": _MET,
    "temporal_ordered": _MET,
}
#: When a correlation would have alerted at each threshold of the table `thresholds`.
_GRID = (
    _COUNTED
    + ",\ncrossed AS (\n    SELECT * FROM counted JOIN thresholds ON value_count >= threshold\n)"
    + _OVERLAPPING
    + """
SELECT threshold, concat_ws(' ', {groupby}) AS principal, min("eventTime") AS first_crossed
FROM numbered GROUP BY {groupby}, threshold, alert_number
ORDER BY threshold, first_crossed, principal"""
)


class DuckDBSliding(SlidingWindowBackend):
    """The method `sliding` in DuckDB's SQL."""

    evidence: ClassVar[str] = ",\n    list_sort(list_distinct(list(nullif({field}, '')))) AS {field}"
    outcomes: ClassVar[str] = f",\n    list_sort(list_distinct(list({OUTCOMES}))) AS {OUTCOMES}"
    sliding: ClassVar[dict[str, str]] = {kind: stages + _OVERLAPPING + _ALERTS for kind, stages in _STAGES.items()}
    completions: ClassVar[dict[str, str]] = {
        kind: stages + "\nSELECT DISTINCT {columns} FROM crossed" for kind, stages in _STAGES.items()
    }

    def sliding_variables(self, correlation: Correlation) -> dict[str, str]:
        """Add what groups are told by, what is counted, how much a group needs in all, and that it has its fields.

        Where rules have to match, add the stages that tell which did.
        """
        variables = super().sliding_variables(correlation)
        group = variables["groupby"] or ALL_EVENTS
        field = variables["field"]
        present = " AND ".join(f"{self.column(correlation.rule, name)} <> ''" for name in correlation.keys)
        variables |= {
            "groupby": group,
            "keys": group,
            "measured": field or '"eventID"',
            "values": f"\n    list_sort(list_distinct(list({field}))) AS {field}," if field else "",
            "events": 'count(DISTINCT "eventID")' if len(correlation.rules) > 1 or correlation.tagged else "count(*)",
            "passes": passes(correlation),
            "function": correlation.type.removeprefix("value_"),
            "least": variables["count"],
            "once": _ONCE.format(groupby=group) if correlation.tagged else "matched",
            "present": present or "true",
        }
        variables |= self._outcome(correlation, variables)
        if correlation.over_rules:
            add = chained if correlation.type == "temporal_ordered" else seen
            window = f"INTERVAL {correlation.window} SECONDS"
            stages, met = add(correlation, group, '"eventTime"', window)
            variables |= {"stages": stages, "met": met, "count": str(len(correlation.rules))}
        return variables

    def _outcome(self, correlation: Correlation, variables: dict[str, str]) -> dict[str, str]:
        if correlation.outcome is None:
            return {"outcome": "", "same": ""}
        region, error = (self.column(correlation.rule, name) for name in correlation.outcome)
        ended = f"coalesce(nullif({error}, ''), {literal(SUCCESS)})"
        made = variables | {"region": region, "ended": ended, "column": OUTCOMES}
        return {"outcome": _OUTCOME.format(**made), "same": _SAME.format(**made)}


class GridSliding(DuckDBSliding):
    """When a correlation would have alerted at each threshold of the table `thresholds`."""

    sliding: ClassVar[dict[str, str]] = {"value_count": _GRID, "event_count": _GRID}

    def sliding_variables(self, correlation: Correlation) -> dict[str, str]:
        """Tell alerts of different thresholds apart."""
        variables = super().sliding_variables(correlation)
        keys, least = f"{variables['groupby']}, threshold", "(SELECT min(threshold) FROM thresholds)"
        return variables | {"keys": keys, "least": least}
