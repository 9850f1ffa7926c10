"""Rules that have to match in one window, or one after the other, in SQL: a window function a rule, so linear cost.

The events are tagged with the rule that they match ("rule"); one that matches two rules is there twice. Added to each
event is when its group last matched each rule (`seen_N`), or the latest beginning of a chain of the first N rules
(`began_N`): the latest one is the one that can still be in the window. Events of the same time are peers, so that equal
times count as in order.
"""

from __future__ import annotations

from sigma.backends.keywatch._conditions import condition_over_rules
from sigma.backends.keywatch._correlation import Correlation
from sigma.backends.keywatch._sql_text import literal


def seen(correlation: Correlation, group: str, time: str, window: str) -> tuple[str, str]:
    """Return the stages that add when each rule was seen last, and the condition that is met at an event.

    :param group: the columns that tell one group from another.
    :param time: the column with the events' time.
    :param window: what is subtracted from a time to get a window back.
    """
    columns = [
        f'max(CASE WHEN "rule" = {literal(rule)} THEN {time} END) OVER (PARTITION BY {group} ORDER BY {time})'
        f" AS seen_{number}"
        for number, rule in enumerate(correlation.rules)
    ]
    stage = "counted AS (\n    SELECT *,\n        " + ",\n        ".join(columns) + "\n    FROM present\n)"
    met = [f"seen_{number} >= {time} - {window}" for number in range(len(correlation.rules))]
    if condition := condition_over_rules(correlation, met):
        return stage, condition
    if correlation.enough < len(met):
        counted = " + ".join(f"CASE WHEN {one} THEN 1 ELSE 0 END" for one in met)
        return stage, f"{counted} >= {correlation.enough}"
    return stage, " AND ".join(met)


def chained(correlation: Correlation, group: str, time: str, window: str) -> tuple[str, str]:
    """Return the stages that add the latest beginning of a chain, and the condition that is met where it ends."""
    before, begins, stages = "present", time, []
    *first, last = correlation.rules
    if not first:
        return "counted AS (\n    SELECT * FROM present\n)", f'"rule" = {literal(last)}'
    for number, rule in enumerate(first, 1):
        name = "counted" if number == len(first) else f"chain_{number}"
        stages.append(
            f'{name} AS (\n    SELECT *, max(CASE WHEN "rule" = {literal(rule)} THEN {begins} END) OVER (\n'
            f"        PARTITION BY {group} ORDER BY {time}\n    ) AS began_{number}\n    FROM {before}\n)"
        )
        before, begins = name, f"began_{number}"
    return ",\n".join(stages), f'"rule" = {literal(last)} AND {begins} >= {time} - {window}'
