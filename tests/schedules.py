"""Scheduled runs of detections: the attacks that they must see, at many offsets to the schedule."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sigma.pipelines.keywatch._pack import PACK

import oracle
from events import AKIA, ASIA, HOUR, MALLORY, MINUTE, access, denied, invoked

Event = dict[str, Any]
RULES = oracle.load(PACK)


def attacks() -> dict[str, dict[str, list[Event]]]:
    """Return for each rule that counts attacks at many offsets to the schedule, by principal.

    They are the hardest to see whole, the last Region exactly the window after the others, and the easiest to see
    twice, all Regions at once.
    """
    calls = {"denied": denied, "invocation": invoked, "model_access": access}
    found: dict[str, dict[str, list[Event]]] = {}
    for name, rule in RULES.items():
        if "correlation" not in rule:
            continue
        call = next(call for word, call in calls.items() if word in name)
        key, spec = ASIA if "temporary" in name else AKIA, rule["correlation"]
        for offset in range(0, 2 * HOUR, 7 * MINUTE):
            for spread in (0, oracle.seconds(spec["timespan"])):
                arn = f"{MALLORY}-{len(found)}-{offset}-{spread}"
                moments = [0] * (spec["condition"]["gte"] - 1) + [spread]
                found.setdefault(name, {})[arn] = [
                    call(offset + second, region, arn=arn, key=key) for region, second in enumerate(moments)
                ]
    return found


def time_of(event: Event) -> float:
    return datetime.fromisoformat(event["eventTime"]).timestamp()
