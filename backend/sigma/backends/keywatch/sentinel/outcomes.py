"""How many events of an alert ended how in which Region, and from when to when, in KQL."""

from __future__ import annotations

from collections.abc import Iterable

from sigma.backends.keywatch._correlation import OUTCOMES, SUCCESS, Correlation
from sigma.backends.keywatch.sentinel.values import literal

#: How an event ended. The last of those that ended so has the text, of which the alert gathers the values. Letters
#: between the parts of a time have no place in the form that the page of format_datetime describes.
_TOLD = """
| extend ended = strcat({region}, " ", iff(isempty({error}), {success}, {error}))
| sort by {in_order}, ended asc, TimeGenerated asc
| extend ended_events = row_cumsum(iff(step == 0, 1, 0), not({same_before}))
| extend ended_first = row_window_session(TimeGenerated, 36500d, 36500d, not({same_before}))
| extend {outcomes} = iff({same_after}, "", strcat(ended, ": ", ended_events,
    " (", format_datetime(ended_first, {form}), " to ", format_datetime(TimeGenerated, {form}), ")"))"""
_FORM = literal("yyyy-MM-dd HH:mm:ss")


def told(correlation: Correlation, group: list[str]) -> str:
    """Return the commands that add to rows of events and steps how many events ended so.

    :param group: the columns that tell one group from another.
    """
    if correlation.outcome is None:
        return ""
    region, error = correlation.outcome
    return _TOLD.format(
        region=region,
        error=error,
        success=literal(SUCCESS),
        in_order=", ".join(f"{name} asc" for name in group),
        same_before=same("prev({})", [*group, "ended"]),
        same_after=same("next({})", [*group, "ended"]),
        outcomes=OUTCOMES,
        form=_FORM,
    )


def same(other: str, fields: Iterable[str]) -> str:
    """Write that another row, as the form `other` names its columns, has the same values."""
    return " and ".join(f"{other.format(name)} == {name}" for name in fields)
