"""Exact windows in Trino's SQL, as a list of named stages.

Trino has no DISTINCT in windows, so the distinct values in a window are counted as a sum that runs through time: a
value counts from its first event to a window after its last, or without a break when it is seen again before.
Beginnings come before ends of the same second, so both ends of a window are in. Exact, and sorted once.

`matched` are the events, under CloudTrail's names; `present` adds when each value was seen before and after; `steps`
are the beginnings and ends; `counted` is the running sum; `crossed` marks where it reaches the threshold; `alerts` are
the spans over it; the last SELECT gathers what lies in them.
"""

from __future__ import annotations

from typing import ClassVar

from sigma.backends.keywatch._chain import chained, seen
from sigma.backends.keywatch._conditions import passes
from sigma.backends.keywatch._correlation import OUTCOMES, SUCCESS, Correlation, Rule
from sigma.backends.keywatch._sliding import SlidingWindowBackend
from sigma.backends.keywatch._sql_text import ALL_EVENTS, literal, quoted
from sigma.pipelines.keywatch._fields import cloudtrail_names

#: The events, in which what takes no part is left out.
_PRESENT = """WITH matched AS (
{search}
),
present AS (
"""
#: The running sum of distinct {measured}, and the spans of time over the threshold. Trino runs a stage anew for each
#: place that names it, and Athena's price is by what is read: beginnings and ends come from one.
_COUNTED = """    SELECT *,
        lag("time") OVER (PARTITION BY {groupby}, {measured} ORDER BY "time") AS before,
        lead("time") OVER (PARTITION BY {groupby}, {measured} ORDER BY "time") AS after
    FROM matched
    WHERE {present}
), steps AS (
    SELECT {groupby}, at, step
    FROM present CROSS JOIN UNNEST(
        ARRAY["time", "time" + {window}], ARRAY[1, -1],
        ARRAY[before IS NULL OR before < "time" - {window}, after IS NULL OR after > "time" + {window}]
    ) AS edges (at, step, counts)
    WHERE counts
), counted AS (
    SELECT *, sum(step) OVER (
        PARTITION BY {groupby} ORDER BY at, step DESC ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
    ) AS value_count
    FROM steps
),
crossed AS (
    SELECT *, CASE WHEN step = 1 AND value_count = {count} THEN 1 ELSE 0 END AS opens
    FROM counted
    WHERE value_count >= {count} OR step = -1 AND value_count = {count} - 1
), numbered AS (
    SELECT *, sum(opens) OVER (
        PARTITION BY {groupby} ORDER BY at, step DESC ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
    ) AS alert_number
    FROM crossed
)"""
#: The events at which the last rule that is needed has matched.
_MET = """    SELECT * FROM matched
    WHERE {present}
),
{stages},
"""
#: The sum or the mean of {measured}, of which each event has one value, however often it was delivered.
_MEASURED = """    SELECT *, row_number() OVER (PARTITION BY {groupby}, "eventID", "time" ORDER BY "time") AS delivery
    FROM matched
    WHERE {present} AND TRY_CAST({measured} AS double) IS NOT NULL
), counted AS (
    SELECT *, {function}(TRY_CAST({measured} AS double)) OVER (
        PARTITION BY {groupby} ORDER BY "time" RANGE BETWEEN {window} PRECEDING AND CURRENT ROW
    ) AS measure
    FROM present
    WHERE delivery = 1
),
"""
#: The events that complete the correlation; windows of them that overlap get the same number.
_CROSSED = """crossed AS (
    SELECT *, {reached} AS value_count, "time" AS at,
        CASE
            WHEN "time" - {window} > lag("time") OVER (PARTITION BY {groupby} ORDER BY "time") THEN 1 ELSE 0
        END AS opens
    FROM counted
    WHERE {met}
)"""
_OVERLAPPING = """, numbered AS (
    SELECT *, sum(opens) OVER (PARTITION BY {groupby} ORDER BY "time") AS alert_number
    FROM crossed
)"""
_SPANS = """, alerts AS (
    SELECT {groupby}, max(value_count) AS most_values, min(at) - {window} AS window_start, max(at) AS window_end
    FROM numbered GROUP BY {groupby}, alert_number
)"""
_ALERTS = """
SELECT {groupby}, most_values AS value_count,{values}
    from_unixtime(min("time")) AS first_seen, from_unixtime(max("time")) AS last_seen,
    {events} AS event_count{outcomes}{fields}
FROM alerts JOIN present USING ({groupby})
WHERE "time" BETWEEN window_start AND window_end
GROUP BY {groupby}, most_values, window_start
ORDER BY first_seen, {groupby}"""
#: How many events there are of each Region and error, and from when to when.
_OUTCOMES = """,
    array_sort(transform(
        map_entries(multimap_agg({region} || ' ' || coalesce(nullif({error}, ''), {success}), {event})),
        one -> format('%s: %d (%s to %s)', one[1], cardinality({distinct}), {first}, {last})
    )) AS {column}"""
_MOMENT = "date_format(from_unixtime({time}, 'UTC'), '%Y-%m-%dT%H:%i:%sZ')"
#: Correlation type → the stages up to the events that complete it, of the types where those are in a stage.
_CROSSING = {
    "value_sum": _PRESENT + _MEASURED + _CROSSED,
    "value_avg": _PRESENT + _MEASURED + _CROSSED,
    "temporal": _PRESENT + _MET + _CROSSED,
    "temporal_extended": _PRESENT + _MET + _CROSSED,
    "temporal_ordered": _PRESENT + _MET + _CROSSED,
}
#: Of the others, those in the spans over the threshold.
_WITHIN = """
SELECT DISTINCT {columns} FROM alerts JOIN present USING ({groupby})
WHERE "time" BETWEEN window_start + {window} AND window_end"""


class AthenaSliding(SlidingWindowBackend):
    """The method `sliding` in Trino's SQL."""

    evidence: ClassVar[str] = ",\n    array_sort(array_agg(DISTINCT {field}) FILTER (WHERE {field} <> '')) AS {field}"
    sliding: ClassVar[dict[str, str]] = {
        "value_count": _PRESENT + _COUNTED + _SPANS + _ALERTS,
        "event_count": _PRESENT + _COUNTED + _SPANS + _ALERTS,
    } | {kind: stages + _OVERLAPPING + _SPANS + _ALERTS for kind, stages in _CROSSING.items()}
    completions: ClassVar[dict[str, str]] = {
        "value_count": _PRESENT + _COUNTED + _SPANS + _WITHIN,
        "event_count": _PRESENT + _COUNTED + _SPANS + _WITHIN,
    } | {kind: stages + "\nSELECT DISTINCT {columns} FROM crossed" for kind, stages in _CROSSING.items()}

    def sliding_variables(self, correlation: Correlation) -> dict[str, str]:
        """Add what is counted, and that the group's fields and the counted field have a value.

        Where rules have to match, add the stages that tell which did.
        """
        variables = super().sliding_variables(correlation)
        field = variables["field"]
        present = " AND ".join(f"{self.column(correlation.rule, name)} <> ''" for name in correlation.keys)
        variables |= {
            "groupby": variables["groupby"] or ALL_EVENTS,
            "measured": field or '"eventID"',
            "values": f"\n    array_sort(array_agg(DISTINCT {field})) AS {field}," if field else "",
            "events": 'count(DISTINCT "eventID")' if correlation.needs_ids else "count(*)",
            "present": present or "true",
            "function": correlation.type.removeprefix("value_"),
            "reached": "measure",
            "met": f"measure {passes(correlation)}",
        }
        if correlation.over_rules:
            add = chained if correlation.type == "temporal_ordered" else seen
            stages, met = add(correlation, variables["groupby"], '"time"', str(correlation.window))
            variables |= {"stages": stages, "met": met, "reached": str(len(correlation.rules))}
        return variables | {"outcomes": self._outcomes(correlation)}

    def _outcomes(self, correlation: Correlation) -> str:
        if correlation.outcome is None:
            return ""
        region, error = (self.column(correlation.rule, name) for name in correlation.outcome)
        # An event that can be there several times is told by its ID.
        event, distinct, time = '"time"', "one[2]", "{end}(one[2])"
        if correlation.needs_ids:
            event, distinct, time = 'ROW("time", "eventID")', "array_distinct(one[2])", "{end}(one[2])[1]"
        first, last = (_MOMENT.format(time=time.format(end=end)) for end in ("array_min", "array_max"))
        return _OUTCOMES.format(
            region=region,
            error=error,
            success=literal(SUCCESS),
            event=event,
            distinct=distinct,
            first=first,
            last=last,
            column=OUTCOMES,
        )

    def column(self, rule: Rule, field: str) -> str:
        """Write the name that a field has after the first stage: CloudTrail's."""
        return quoted(cloudtrail_names(rule).get(field, field))
