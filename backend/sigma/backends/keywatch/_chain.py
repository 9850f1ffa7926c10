"""Rules that have to match in one window, or one after the other, in SQL: a window function a rule, so linear cost.

The events are tagged with the rule that they match ("rule"); one that matches two rules is there twice. Added to each
event is when its group last matched each rule (`seen_N`), or the latest beginning of a chain of the first N rules
(`began_N`): the latest one is the one that can still be in the window. Events of the same time are peers, so that equal
times count as in order.
"""

from __future__ import annotations

from sigma.backends.keywatch._correlation import Correlation
from sigma.backends.keywatch._sql_text import literal
from sigma.correlations import CorrelationConditionOR, SigmaExtendedCorrelationCondition, SigmaRuleReference


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
    met = {rule: f"seen_{number} >= {time} - {window}" for number, rule in enumerate(correlation.rules)}
    condition = correlation.rule.condition
    if isinstance(condition, SigmaExtendedCorrelationCondition):
        return stage, _written(condition.parsed, met)
    if correlation.least is not None and correlation.least < len(met):
        counted = " + ".join(f"CASE WHEN {one} THEN 1 ELSE 0 END" for one in met.values())
        return stage, f"{counted} >= {correlation.least}"
    return stage, " AND ".join(met.values())


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


def _written(node: object, met: dict[str, str]) -> str:
    if isinstance(node, SigmaRuleReference):
        rule = getattr(node, "rule", None)
        return met[str(rule.name or rule.id) if rule else node.reference]
    joiner = " OR " if isinstance(node, CorrelationConditionOR) else " AND "
    return "(" + joiner.join(_written(arg, met) for arg in getattr(node, "args", ())) + ")"
