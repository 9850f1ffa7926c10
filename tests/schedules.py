"""Scheduled runs of detections: the attacks that they must see, at many offsets to the schedule."""

from __future__ import annotations

from functools import cache

from sigma.pipelines.keywatch._pack import PACK

import oracle
from engines import Event, time_of
from events import (
    ACCESS_REGIONS_LONG,
    ACCESS_REGIONS_TEMPORARY,
    AKIA,
    ASIA,
    DENIED,
    INVOCATION_LONG,
    MALLORY,
    MINUTE,
    START,
    access,
    denied,
    invoked,
)

#: How often detections run if nobody says otherwise, in seconds.
INTERVAL = 15 * MINUTE
RULES = oracle.load(PACK)
#: One rule for each kind of call and each window, with the call and the key; no other rule that counts is looked at.
PLANTED = {
    DENIED: (denied, AKIA),
    INVOCATION_LONG: (invoked, AKIA),
    ACCESS_REGIONS_LONG: (access, AKIA),
    ACCESS_REGIONS_TEMPORARY: (access, ASIA),
}


@cache
def attacks() -> dict[str, dict[str, list[Event]]]:
    """Return for each rule of `PLANTED` attacks at each minute between two runs, by principal.

    They are the hardest to see whole, the last Region exactly the window after the others, and the easiest to see
    twice, all Regions at once.
    """
    found: dict[str, dict[str, list[Event]]] = {}
    for name, (call, key) in PLANTED.items():
        spec = RULES[name]["correlation"]
        for offset in range(0, INTERVAL, MINUTE):
            for spread in (0, oracle.seconds(spec["timespan"])):
                arn = f"{MALLORY}-{len(found)}-{offset}-{spread}"
                moments = [0] * (spec["condition"]["gte"] - 1) + [spread]
                found.setdefault(name, {})[arn] = [
                    call(offset + second, region, arn=arn, key=key) for region, second in enumerate(moments)
                ]
    return found


def planted() -> list[Event]:
    """Return the events of all attacks, as they happen."""
    return sorted((event for users in attacks().values() for attack in users.values() for event in attack), key=time_of)


def watched() -> set[str]:
    """Return the rules of `PLANTED`, and those of single events that match some of these."""
    events = planted()
    single = (name for name, rule in RULES.items() if "detection" in rule)
    return {*PLANTED, *(name for name in single if any(oracle.matches(RULES[name], event) for event in events))}


def runs(delay: int, look_back: int) -> range:
    """Return when the detections run, in seconds from the first event on, until nothing is looked at any more.

    :param delay: how long events take to arrive, in seconds.
    :param look_back: of the detection that looks back furthest, in seconds.
    """
    last = time_of(planted()[-1]) - START.timestamp()
    return range(0, int(last) + delay + look_back + INTERVAL, INTERVAL)
