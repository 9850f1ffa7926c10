"""Rules that have to match in one window, or one after the other, in SPL.

Each rule is a branch of `multisearch`, so an event that matches two rules is there twice, with the number of the rule.
`streamstats` without a window keeps one value a group and has no limit of rows: when a rule was seen last (`seen_N`),
or the latest beginning of a chain of the first N rules (`began_N`). Rows of the same time are in the order of the
rules, so that equal times count as in order, and the last of them has seen them all.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from sigma.backends.keywatch._conditions import condition_over_rules
from sigma.backends.keywatch._correlation import Correlation


def branches(queries: Sequence[tuple[str, str, Mapping[str, str]]]) -> str:
    """Return the search of several rules.

    :param queries: for each rule its name, its search, and alias → field.
    """
    written = []
    for number, (name, query, aliases) in enumerate(queries):
        text = json.dumps(name.replace("`", "'"), ensure_ascii=False)  # a backtick would call a macro
        made = [f"rule={text}", f"rule_number={number}"]
        made += [f"{alias}='{field}'" for alias, field in aliases.items()]
        written.append(f"{query} | eval {', '.join(made)}")
    if len(written) == 1:  # multisearch wants two
        return written[0]
    return "| multisearch\n" + "\n".join(f"[ search {one} ]" for one in written)


def seen(correlation: Correlation, group: str) -> tuple[str, str]:
    """Return the commands that add when each rule was seen last, and the condition that is met at an event."""
    numbers = range(len(correlation.rules))
    times = ", ".join(f"at_{number}=if(rule_number=={number}, _time, null())" for number in numbers)
    last = " ".join(f"max(at_{number}) AS seen_{number}" for number in numbers)
    met = [f"coalesce(seen_{number}, 0) >= _time - {correlation.window}" for number in numbers]
    counted = " + ".join(f"if({one}, 1, 0)" for one in met)
    return (
        f"\n| eval {times}\n| streamstats {last} BY {group}",
        condition_over_rules(correlation, met) or f"{counted} >= {correlation.enough}",
    )


def chained(correlation: Correlation, group: str) -> tuple[str, str]:
    """Return the commands that add the latest beginning of a chain, and the condition that is met where it ends."""
    commands, begins = "", "_time"
    *first, last = range(len(correlation.rules))
    for number in first:
        commands += f"\n| eval at_{number}=if(rule_number=={number}, {begins}, null())"
        commands += f"\n| streamstats max(at_{number}) AS began_{number} BY {group}"
        begins = f"began_{number}"
    return commands, f"rule_number=={last} AND coalesce({begins}, 0) >= _time - {correlation.window}"
