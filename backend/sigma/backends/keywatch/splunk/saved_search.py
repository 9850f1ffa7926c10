"""Saved searches that Splunk schedules as they are, with what Enterprise Security makes of their results.

The keys for Enterprise Security are those of contentctl's template (savedsearches_detections.j2 of splunk/contentctl,
read at commit fc00988 of 2026-05-06, version 5.6.0); docs/splunk.md says which of the keys here it does not have.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from sigma.backends.keywatch._artefact import Detection, one_line
from sigma.backends.keywatch._attack import attack_of
from sigma.backends.keywatch._correlation import Correlation, Rule
from sigma.backends.keywatch._guide import guide_steps
from sigma.backends.keywatch.splunk.outcomes import READABLE
from sigma.backends.keywatch.splunk.sliding import ALL_EVENTS
from sigma.exceptions import SigmaValueError

_LEVELS = ["informational", "low", "medium", "high", "critical"]
_HOUR, _DAY = 60, 24 * 60
#: A longer name can't be edited in Enterprise Security once it was cloned, which adds to it (constants.py there).
_LONGEST_NAME = 81
#: What is new for a principal. The time range in the search goes before the one of the drilldown.
_FIRST_SEEN = """ earliest=-30d@d latest=now
| stats count AS calls min(_time) AS first_seen max(_time) AS last_seen BY awsRegion sourceIPAddress userAgent
| sort 0 -first_seen"""
_FIRST_SEEN += READABLE
#: What a line of a .conf file can't hold.
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f\x85\u2028\u2029]")


def stanza(detection: Detection, search: str) -> str:
    """Return the stanza of a saved search.

    :param search: the finished search.
    :raises SigmaValueError: for a rule that says something that a .conf file can't hold.
    """
    rule = detection.rule
    title = one_line(rule.title)
    name = _name(title, detection.id)
    look_back = detection.look_back
    level = detection.level.name.lower()
    settings = {
        "description": detection.description,
        "search": search,
        "enableSched": "1",
        "disabled": "0",
        "cron_schedule": cron(detection.schedule.interval),
        "dispatch.earliest_time": f"-{look_back // 60}m@m",
        "dispatch.latest_time": "now",
        # Continuous scheduling: a run that the scheduler could not start in time is made up for, not skipped.
        "realtime_schedule": "0",
        "schedule_window": "auto",
        "allow_skew": "100%",
        "is_visible": "false",
        "counttype": "number of events",
        "relation": "greater than",
        "quantity": "0",
        "alert.track": "1",
        "alert.digest_mode": "0",
        "alert.severity": str(_LEVELS.index(level) + 1),
        "alert.suppress": "1",
        "alert.suppress.fields": ",".join(map(plain, group(rule))),
        "alert.suppress.period": f"{detection.suppression}s",
        "action.correlationsearch.enabled": "1",
        "action.correlationsearch.detection_type": "ebd",
        "action.correlationsearch.label": name,
        "action.correlationsearch.annotations": json.dumps(
            {"mitre_attack": [one.id for one in attack_of(rule, "Splunk").techniques]}
        ),
        "action.correlationsearch.metadata": json.dumps(_metadata(detection)),
        "action.notable": "1",
        # Whom a finding is about is said by the risk action, as contentctl has it.
        "action.notable.param._entities": '[{"risk_object_field": "N/A", "risk_object_type": "N/A", "risk_score": 0}]',
        "action.notable.param.rule_title": f"{title}: {_token(who(rule))}",
        "action.notable.param.rule_description": detection.description,
        "action.notable.param.security_domain": "threat",
        "action.notable.param.severity": level,
        "action.notable.param.nes_fields": ",".join(map(plain, group(rule))),
        "action.notable.param.next_steps": json.dumps(
            {"version": 1, "data": "\n\n".join(f"{title}\n{text}" for title, text in guide_steps([rule], _named))},
            ensure_ascii=False,
        ),
        "action.notable.param.drilldown_searches": json.dumps(list(_drilldowns(detection))),
        "action.risk": "1",
        "action.risk.param._risk": json.dumps(_risk(rule, 20 * _LEVELS.index(level))),
        "action.risk.param._risk_message": f"{title}: {_token(who(rule))}",
        "action.risk.param._risk_score": "0",
        "action.risk.param.verbose": "0",
    }
    try:
        return conf_stanza(name, settings)
    except ValueError as error:
        raise SigmaValueError(f"rule '{rule.title}': {error}", source=rule.source) from error


def cron(interval: int) -> str:
    """Return the cron line of an interval in seconds: minutes that divide the hour, hours that divide the day."""
    minutes = interval // 60
    if minutes < _HOUR:
        return f"*/{minutes} * * * *"
    return f"0 */{minutes // _HOUR} * * *" if minutes < _DAY else "0 0 * * *"


def conf_stanza(name: str, settings: dict[str, str]) -> str:
    r"""Write a stanza of a .conf file. A line of a value that is continued ends in a backslash.

    :raises ValueError: for a value that would not be read back as it is.
    """
    lines = [f"[{name.replace('[', '(').replace(']', ')')}]"]
    for key, value in {"name": name, **settings}.items():
        if value.endswith("\\") or (not value.isprintable() and _CONTROL.search(value)):
            raise ValueError(f"{key}: a control character, or a backslash at the end, has no form in a .conf file")
        if key in settings:
            lines.append(f"{key} = " + value.replace("\n", " \\\n"))
    return "\n".join(lines) + "\n"


def source(settings: Mapping[str, Any]) -> str:
    """Return the terms that find CloudTrail: index and sourcetype, or the app's macro that stands for them."""
    return str(settings.get("macro") or settings["source"])


def group(rule: Rule) -> list[str]:
    """Return the fields that tell one alert from another."""
    correlation = Correlation.of(rule)
    return ["eventID"] if correlation is None else list(correlation.group) or [ALL_EVENTS]


def plain(field: str) -> str:
    """Return the name that a field has in an alert.

    The tokens of alert actions, and the list of fields that throttle an alert, are documented for names without dots.
    """
    return field.replace(".", "_")


def who(rule: Rule) -> str:
    """Return the field that names the principal."""
    correlation = Correlation.of(rule)
    return correlation.group[0] if correlation and correlation.group else "userIdentity.arn"


def _token(field: str) -> str:
    return f"${plain(field)}$"


def _named(field: str) -> str:
    """Return the name of an alert's field: tokens are documented for titles and descriptions, not for next steps."""
    return f"`{plain(field)}`"


def _name(title: str, identifier: str) -> str:
    """Return the name of a saved search: one that is too long is cut between words, and has a part of the ID."""
    name = f"Keywatch - {title}"
    if len(name) <= _LONGEST_NAME:
        return name
    end = f" ... ({identifier[:8]})"
    return name[: _LONGEST_NAME - len(end) + 1].rpartition(" ")[0] + end


def _metadata(detection: Detection) -> dict[str, str | float]:
    date = detection.rule.modified or detection.rule.date
    published = {"publish_time": datetime(date.year, date.month, date.day, tzinfo=UTC).timestamp()} if date else {}
    return {"detection_id": detection.id, "deprecated": "0", "detection_version": "1", **published}


def _risk(rule: Rule, score: int) -> list[dict[str, str | int]]:
    objects: list[dict[str, str | int]] = [
        {"risk_object_field": plain(who(rule)), "risk_object_type": "user", "risk_score": score}
    ]
    if "sourceIPAddress" in rule.fields:
        objects.append({"threat_object_field": "sourceIPAddress", "threat_object_type": "ip_address"})
    return objects


def _drilldowns(detection: Detection) -> Iterable[dict[str, str]]:
    rule = detection.rule
    for name, field, more in (
        ("Everything this principal did", "userIdentity.arn", ""),
        ("Everything from this address", "sourceIPAddress", ""),
        ("Where this principal was seen first in 30 days", "userIdentity.arn", _FIRST_SEEN),
    ):
        if field in (*group(rule), *rule.fields):
            yield {
                "name": name,
                "search": f'{source(detection.settings)} {field}="{_token(field)}"{more}',
                "earliest_offset": "$info_min_time$",
                "latest_offset": "$info_max_time$",
            }
