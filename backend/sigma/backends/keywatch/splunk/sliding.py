r"""Exact windows in SPL. Three things about `streamstats time_window` shape the query.

- It keeps at most `max_stream_window` rows (limits.conf, 10,000) of a window, without a word when there are more. So a
  window of that many rows is asked for, for each principal (`global=f`), and the events are reduced first: of each
  principal, Region and slice of a hundredth of the window, to the first and the last. What lies between changes no
  count: a window that holds one of those events but neither the first nor the last of its slice lies inside the slice,
  and then the whole slice, with the same Regions in it, fits into a window. That is at most 202 rows a Region and
  window, so 49 Regions fit, and a threshold up to 49 is exact.
- Splunk does not say whether an event exactly W seconds back is inside. CloudTrail's times are whole seconds; on a time
  axis stretched by two, a window of 2W + 1 holds what is 2W back, and not what is 2W + 2 back, whichever it is.
- `stats` after `where` would see only the rows over the threshold, so the evidence is gathered first, and the threshold
  applied last: an alert row speaks of all matching events of the principal in the look-back.
"""

from __future__ import annotations

from math import ceil
from typing import ClassVar

from sigma.backends.keywatch._conditions import MEASURES, passes
from sigma.backends.keywatch._correlation import COMBINATION, OUTCOMES, Correlation
from sigma.backends.keywatch._sliding import SlidingWindowBackend, combination_of
from sigma.backends.keywatch.splunk.chain import branches, chained, seen
from sigma.backends.keywatch.splunk.outcomes import READABLE, told
from sigma.correlations import SigmaCorrelationRule
from sigma.exceptions import SigmaFeatureNotSupportedByBackendError
from sigma.pipelines.keywatch._fields import SPELLINGS

#: The field that groups all events, where a correlation has no group.
ALL_EVENTS = "all_events"
_SLICES = 100
_MAX_STREAM_WINDOW = 10_000
_MOST_VALUES = _MAX_STREAM_WINDOW // (2 * (_SLICES + 1))


#: An alert is a row that passes, at the time of its last event.
_ALERT = "\n| where value_count {passes}\n| eval _time=last_seen" + READABLE
#: For rules that have to match: what `splunk.chain` adds tells at which event they did.
_OVER_RULES = """{search}
| where {present}{ended}{told}
| sort 0 _time rule_number{commands}
| eval met=if({met}, {count}, 0)
| stats max(met) AS value_count dc(eventID) AS event_count min(_time) AS first_seen"""
_OVER_RULES += """ max(_time) AS last_seen values(rule) AS rule{outcomes}{fields} BY {groupby}""" + _ALERT
#: The sum or the mean of what the events in a window have: each adds its value when it comes, and takes it back half a
#: second after the window. Of the rows of one moment, the last one has them all.
_MEASURED = """{search}
| where {present}
| eval measured=tonumber('{measured}')
| where isnotnull(measured)
| stats min(_time) AS seen max(measured) AS measured{fields} BY {groupby} eventID{ended}{told}
| eval step=mvappend("1", "-1")
| mvexpand step
| eval step=tonumber(step), moment=if(step==1, seen, seen + {window} + 0.5), change=step * measured
| sort 0 moment
| streamstats sum(change) AS total sum(step) AS number BY {groupby}
| stats last(total) AS total last(number) AS number dc(eventID) AS events{outcomes}{fields} BY {groupby} moment step
| eval measure=if(step==1, {measure}, null()), events=if(step==1, events, 0)
| eval first_seen=if(step==1, moment, null()), last_seen=first_seen
| stats max(measure) AS value_count sum(events) AS event_count min(first_seen) AS first_seen"""
_MEASURED += """ max(last_seen) AS last_seen{outcomes}{fields} BY {groupby}""" + _ALERT


class SplunkSliding(SlidingWindowBackend):
    """The method `sliding` in SPL."""

    group_joiner: ClassVar[str] = " "
    evidence: ClassVar[str] = " values({field}) AS {field}"
    outcomes: ClassVar[str] = evidence.format(field=OUTCOMES)
    aliased: ClassVar[bool] = True
    ungrouped: ClassVar[bool] = True
    combined: ClassVar[bool] = True
    why_no_inner: ClassVar[str] = "a branch of multisearch can't count, and a subsearch drops what is over its limits"
    sliding: ClassVar[dict[str, str]] = {
        "value_sum": _MEASURED,
        "value_avg": _MEASURED,
        "temporal": _OVER_RULES,
        "temporal_extended": _OVER_RULES,
        "temporal_ordered": _OVER_RULES,
        "value_count": """{search}
| where {present}
| eval slice=floor(_time/{slice}){ended}
| stats count AS event_count min(_time) AS first_seen max(_time) AS last_seen{fields} BY"""
        """ {groupby} {field} slice{merged}
| eval seen=mvdedup(mvappend(first_seen, last_seen))
| mvexpand seen
| eval seen=tonumber(seen), event_count=if(seen==first_seen, event_count, 0), _time=2*seen - 1700000000
| sort 0 _time
| streamstats window={rows} time_window={stretched}s global=f dc({field}) AS value_count BY {groupby}
| stats max(value_count) AS value_count sum(event_count) AS event_count min(first_seen) AS first_seen"""
        """ max(last_seen) AS last_seen values({field}) AS {field}{outcomes}{fields} BY {groupby}""" + _ALERT,
        # An event is one row, and the last N of them are enough to tell whether N lie in a window.
        "event_count": """{search}
| where {present}
| stats min(_time) AS seen{fields} BY {groupby} eventID{ended}{told}
| eval first_seen=seen, last_seen=seen, _time=2*seen - 1700000000
| sort 0 _time
| streamstats window={count} time_window={stretched}s global=f count AS value_count BY {groupby}
| stats max(value_count) AS value_count count AS event_count min(first_seen) AS first_seen"""
        """ max(last_seen) AS last_seen{outcomes}{fields} BY {groupby}""" + _ALERT,
    }

    def sliding_search(self, correlation: Correlation) -> str:
        """Write the search of the events; where they are one group, with a field that says so.

        What they are grouped by, or what is counted, can have several spellings: it gets the first.
        """
        search = super().sliding_search(correlation)
        if not correlation.group:
            search += f'\n| eval {ALL_EVENTS}="all events"'
        spellings = correlation.rule.custom_attributes.get(SPELLINGS, {})
        for number, field in enumerate(filter(spellings.get, correlation.keys)):
            spelt = ", ".join(f"'{one}'" for one in spellings[field])
            search += f"\n| eval spelt_{number}=coalesce({spelt})\n| rename spelt_{number} AS {field}"
        if correlation.parts:
            pieces = combination_of([f"'{part}'" for part in correlation.parts], "len({part})")
            search += f"\n| eval {COMBINATION}={'.'.join(pieces)}"
        return search

    def search_of_each(self, correlation: Correlation) -> str:
        """Write the search of several rules, each as a branch."""
        return branches(self.searches(correlation.rule))

    def sliding_variables(self, correlation: Correlation) -> dict[str, str]:
        """Add the length of a slice, the window on the stretched axis, and that all fields have a value.

        Where rules have to match, add the commands that tell which did.
        """
        variables = super().sliding_variables(correlation)
        keys = correlation.keys if correlation.group else (ALL_EVENTS, *correlation.keys)
        if not correlation.group:
            variables["groupby"] = ALL_EVENTS
        if correlation.over_rules:
            add = chained if correlation.type == "temporal_ordered" else seen
            variables["commands"], variables["met"] = add(correlation, variables["groupby"])
        variables |= told(correlation, variables)
        return variables | {
            "measured": correlation.counted or "",
            "measure": "total" if correlation.type == "value_sum" else "total / number",
            "passes": passes(correlation),
            "count": str(correlation.enough),
            "rows": str(_MAX_STREAM_WINDOW),
            "slice": str(ceil(correlation.window / _SLICES)),
            "stretched": str(2 * correlation.window + 1),
            "present": " AND ".join(f"'{name}'!=\"\"" for name in keys),
        }

    def slidable(self, rule: SigmaCorrelationRule, correlation_type: str) -> Correlation:
        """Return the view of a correlation that streamstats can count.

        :raises SigmaFeatureNotSupportedByBackendError: for a threshold that `max_stream_window` does not let through,
            and for what has no meaning as a sliding window.
        """
        correlation = super().slidable(rule, correlation_type)
        most, what = (
            (_MAX_STREAM_WINDOW, "events") if correlation_type == "event_count" else (_MOST_VALUES, "distinct values")
        )
        if correlation.type not in MEASURES and correlation.least is not None and correlation.least > most:
            raise SigmaFeatureNotSupportedByBackendError(
                f"rule '{rule.title}': Splunk's streamstats can count up to {most} {what} in a window",
                source=rule.source,
            )
        return correlation
