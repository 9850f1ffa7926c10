"""Monitors of OpenSearch's Alerting plugin, and the search in them.

Every detection is a bucket-level monitor with a bucket for each principal, so an alert names one and stays the same
alert for as long as the bucket is found. A bucket for each event, where a rule is of single events, would soon be more
than the 50 alerts above which the plugin sends its notification on every run (AlertingSettings.kt and AlertingUtils.kt
of opensearch-project/alerting, read at commit 7a08cdf of 2026-08-20). The monitor pages through all buckets.
"""

from __future__ import annotations

from sigma.backends.keywatch._artefact import Detection
from sigma.backends.keywatch._attack import attack_of
from sigma.backends.keywatch._conditions import asked, passes
from sigma.backends.keywatch._correlation import OUTCOMES, SUCCESS, Correlation
from sigma.backends.keywatch._guide import guide_steps
from sigma.backends.keywatch.opensearch.sliding import EVENT, KEYWORD, METRICS, Json
from sigma.rule.attributes import SigmaLevel

_SEVERITY = {SigmaLevel.CRITICAL: "1", SigmaLevel.HIGH: "2", SigmaLevel.MEDIUM: "3", SigmaLevel.LOW: "4"}
#: CloudTrail's own time. @timestamp is the time of arrival where OpenSearch Ingestion writes it.
_TIME = "eventTime"
#: Principals on a page, values of an evidence field, and buckets of all that: OpenSearch gives 65,535 at most.
_PAGE, _VALUES, _MOST_BUCKETS = 500, 10, 60_000
#: How many Regions of a principal are shown, and how many ways in which the calls of each ended.
_REGIONS, _ENDS = 34, 4
#: What names the principal of a single event: the first of these that it has. The plugin fails on an empty key.
_WHO = ["userIdentity.arn.keyword", "sourceIPAddress.keyword", EVENT]
_SEEN: Json = {"first_seen": {"min": {"field": _TIME}}, "last_seen": {"max": {"field": _TIME}}}
_FIRST = (
    "for (def field : params.fields) { if (doc.containsKey(field) && doc[field].size() > 0 && doc[field].value != '') "
    "{ return doc[field].value; } } return 'unknown';"
)


def monitor(detection: Detection) -> Json:
    """Return a monitor as the Alerting plugin's API takes it."""
    title = detection.rule.title
    correlation = detection.correlation
    period = {
        "gte": f"{{{{period_end}}}}||-{detection.look_back}s",
        "lte": "{{period_end}}",
        "format": "epoch_millis",
    }
    search = _search(detection, period)
    path, passed = ("_count", ">= 1") if correlation is None else ("value_count.value", passes(correlation))
    return {
        "type": "monitor",
        "monitor_type": "bucket_level_monitor",
        "name": title,
        "enabled": True,
        "schedule": {"period": {"interval": detection.schedule.interval // 60, "unit": "MINUTES"}},
        "inputs": [{"search": {"indices": detection.settings["index"].split(","), "query": search}}],
        "triggers": [
            {
                "bucket_level_trigger": {
                    "name": title,
                    "severity": _SEVERITY.get(detection.level, "5"),
                    "condition": {
                        "buckets_path": {"value_count": path},
                        "parent_bucket_path": "principals",
                        "script": {"source": f"params.value_count {passed}", "lang": "painless"},
                        "gap_policy": "skip",
                    },
                    "actions": [_action(detection)],
                }
            }
        ],
    }


def bare_search(detection: Detection) -> Json:
    """Return the search of what would be alerts now."""
    search = _search(detection, {"gte": f"now-{detection.look_back}s", "lte": "now"})
    if detection.correlation is not None:
        more, number = asked(detection.correlation)
        script = {"source": f"params.value_count {more} params.least", "params": {"least": number}}
        search["aggregations"]["principals"]["aggregations"]["alerts"] = {
            "bucket_selector": {"buckets_path": {"value_count": "value_count.value"}, "script": script}
        }
    return search


def _search(detection: Detection, period: Json) -> Json:
    """Return the search: a bucket for each group, with what an alert shows."""
    correlation = detection.correlation
    most: Json = {}
    if correlation is None:
        who = {"terms": {"script": {"source": _FIRST, "lang": "painless", "params": {"fields": _WHO}}}}
        sources, keys, evidence = [{"principal": who}], [], [EVENT, *detection.rule.fields]
        most = {"event_count": {"cardinality": {"field": EVENT}}}
    else:
        sources = [{field.removesuffix(KEYWORD): {"terms": {"field": field}}} for field in correlation.group]
        if not sources:
            sources = [{"all_events": {"terms": {"script": {"source": "'all events'", "lang": "painless"}}}}]
        keys = [field for field in correlation.keys if field.endswith(KEYWORD)]
        evidence = [field for field in (*correlation.keys, *correlation.evidence) if field not in correlation.group]
        most = {"value_count": METRICS[correlation.type](correlation, _TIME)} | _outcomes(correlation)
    evidence = list(dict.fromkeys(evidence))
    buckets = 1 + len(evidence) * _VALUES + (_REGIONS * (1 + _ENDS) if OUTCOMES in most else 0)
    # What a filter finds has no score.
    asked: Json = {"filter": [{"range": {_TIME: period}}]}
    if correlation is not None and correlation.over_rules:
        asked["must"] = [detection.query]
    else:
        asked["filter"].append(detection.query)
    if keys:
        asked["must_not"] = [{"term": {field: {"value": ""}}} for field in keys]
    return {
        "size": 0,
        "query": {"bool": asked},
        "aggregations": {
            "principals": {
                "composite": {
                    "size": min(_PAGE, _MOST_BUCKETS // buckets),
                    "sources": sources,
                },
                "aggregations": most
                | _SEEN
                | {field.removesuffix(KEYWORD): {"terms": {"field": field, "size": _VALUES}} for field in evidence},
            }
        },
    }


def _outcomes(correlation: Correlation) -> Json:
    """Return the aggregation that says how many events of each Region ended how, and from when to when."""
    if correlation.outcome is None:
        return {}
    region, error = correlation.outcome
    ended = {"terms": {"field": error, "missing": SUCCESS, "size": _ENDS}, "aggregations": _SEEN}
    return {OUTCOMES: {"terms": {"field": region, "size": _REGIONS}, "aggregations": {"ended": ended}}}


def _action(detection: Detection) -> Json:
    """Return the notification of new alerts: who, and the triage guide.

    The plugin gives a message the monitor's name and the buckets' keys; no text of the rule itself stands in it, which
    could be taken for variables.
    """
    rule = detection.rule
    attack = attack_of(rule, "OpenSearch")
    named = ", ".join(f"{one.id} {one.name}".rstrip() for one in attack.techniques or attack.tactics)
    steps = guide_steps([rule], _shown, plain=lambda name: name.removesuffix(KEYWORD))
    text = [
        "{{ctx.monitor.name}}: {{#ctx.newAlerts}}{{bucket_keys}} {{/ctx.newAlerts}}"
        "{{^ctx.newAlerts}}no new alert. OpenSearch sends this on every run while more than 50 alerts of this monitor "
        "are active or end.{{/ctx.newAlerts}}",
        (f"ATT&CK: {named}. " if named else "") + "The values of an alert are in its bucket, under Alerts.",
        *(f"{title}\n{text}" for title, text in steps),
    ]
    return {
        "name": "notify",
        "destination_id": detection.settings["channel"],
        "subject_template": {"source": "{{ctx.monitor.name}}", "lang": "mustache"},
        "message_template": {"source": "\n\n".join(text), "lang": "mustache"},
        "throttle_enabled": False,
        # An alert that is found again is the same alert, and says nothing new.
        "action_execution_policy": {"action_execution_scope": {"per_alert": {"actionable_alerts": ["NEW"]}}},
    }


def _shown(name: str) -> str:
    return f"`{name.removesuffix(KEYWORD)}`"
