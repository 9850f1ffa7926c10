"""How many events of an alert ended how in which Region, and from when to when, in SPL.

`eventstats` adds that to the rows, of which the alert then gathers the distinct texts. It takes all rows to one place,
so rows are counted that `stats` has reduced already, where there are such.
"""

from __future__ import annotations

from sigma.backends.keywatch._correlation import OUTCOMES, SUCCESS, Correlation

#: How an event ended. A field that Splunk extracts twice has its value twice.
_ENDED = """
| eval {outcomes}=coalesce(mvindex('{region}', 0), "-") . " " . coalesce(mvindex('{error}', 0), "{success}")"""
#: How a time is written, with its offset.
_FORM = '"%Y-%m-%dT%H:%M:%S%z"'
_TIME = f"strftime({{time}}, {_FORM})"
#: Makes texts of the first and the last time of a row.
READABLE = f"\n| convert timeformat={_FORM} ctime(first_seen) ctime(last_seen)"
_TOLD = """
| eventstats {number} AS ended_events min({first}) AS ended_first max({last}) AS ended_last BY {groupby} {outcomes}
| eval {outcomes}={outcomes} . ": " . ended_events . " (" . {from_time} . " to " . {to_time} . ")\""""
#: Rows of a slice that differ only in how they ended become one again: the window counts rows.
_MERGED = """ {outcomes}{told}
| stats sum(event_count) AS event_count min(first_seen) AS first_seen max(last_seen) AS last_seen"""
_MERGED += """ values({outcomes}) AS {outcomes}{fields} BY {groupby} {field} slice"""
#: Correlation type → what says how many events there are in rows, and between which times a row is.
_ROWS = {
    "value_count": ("sum(event_count)", "first_seen", "last_seen"),
    "event_count": ("count", "seen", "seen"),
    "value_sum": ("count", "seen", "seen"),
    "value_avg": ("count", "seen", "seen"),
    "temporal": ("dc(eventID)", "_time", "_time"),
    "temporal_ordered": ("dc(eventID)", "_time", "_time"),
}


def told(correlation: Correlation, variables: dict[str, str]) -> dict[str, str]:
    """Return the commands that add to rows how events ended, and how many did so.

    :param variables: those of the template that the correlation has.
    """
    if correlation.outcome is None:
        return {"ended": "", "told": "", "merged": ""}
    region, error = correlation.outcome
    number, first, last = _ROWS[correlation.type]
    made = variables | {"outcomes": OUTCOMES, "number": number, "first": first, "last": last}
    made |= {"from_time": _TIME.format(time="ended_first"), "to_time": _TIME.format(time="ended_last")}
    ended = _ENDED.format(**made, region=region, error=error, success=SUCCESS)
    made["told"] = _TOLD.format(**made)
    return {"ended": ended, "told": made["told"], "merged": _MERGED.format(**made)}
