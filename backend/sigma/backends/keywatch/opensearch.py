r"""OpenSearch: monitors of its Alerting plugin, and the bare search.

Every detection is a bucket-level monitor: a bucket for each principal, or for each event where a rule is of single
events, so an alert names one of them and stays the same alert for as long as the bucket is found. The monitor pages
through all buckets. The window is exact: a scripted metric keeps, for each Region, the times that matter, and slides a
window over them. Conditions are Query DSL, which can ignore case; a query string can't.
"""

from __future__ import annotations

import json
from typing import Any, ClassVar

from sigma.backends.keywatch._artefact import ArtefactBackend
from sigma.backends.keywatch._attack import techniques_of
from sigma.backends.keywatch._guide import guide_steps
from sigma.backends.keywatch._sliding import (
    Rule,
    SlidingWindowBackend,
    counted_field,
    evidence_fields,
    least,
    level_of,
    refuse_unslidable,
)
from sigma.conditions import ConditionAND, ConditionFieldEqualsValueExpression, ConditionNOT, ConditionOR
from sigma.conversion.state import ConversionState
from sigma.correlations import SigmaCorrelationRule, SigmaCorrelationTypeLiteral
from sigma.exceptions import SigmaFeatureNotSupportedByBackendError
from sigma.rule.attributes import SigmaLevel
from sigma.types import SigmaString, SpecialChars

Json = dict[str, Any]

_SEVERITY = {SigmaLevel.CRITICAL: "1", SigmaLevel.HIGH: "2", SigmaLevel.MEDIUM: "3", SigmaLevel.LOW: "4"}
#: CloudTrail's own time. @timestamp is the time of arrival where OpenSearch Ingestion writes it.
_TIME = "eventTime"
_EVENT = "eventID.keyword"
_KEYWORD = ".keyword"
#: Characters of a text, and of a pattern, that OpenSearch makes an automaton of: it refuses texts of more than 1000,
#: and patterns that are complex, which none of 300 is.
_LONGEST = {False: 1000, True: 300}
#: Buckets on a page, and values of an evidence field: with all fields, fewer than search.max_buckets (65,535).
_PAGE, _VALUES = 500, 10
#: Signs that mean something in Lucene's regular expressions.
_REGEX_SIGNS = frozenset('.?+*|{}[]()"\\#@&<>~^$')


def _script(text: str) -> str:
    return " ".join(text.split())


#: The largest number of distinct values in a window that ends with an event. Numbers stand in params: OpenSearch
#: compiles 75 different scripts in 5 minutes. A time whose neighbours on both sides are in one window is left out as
#: soon as it is seen: every window that holds it holds one of them.
_INIT = "state.times = new HashMap();"
_MAP = _script("""
    if (!doc.containsKey(params.time) || !doc.containsKey(params.field) || doc[params.time].size() == 0) { return; }
    long at = doc[params.time].value.toInstant().toEpochMilli();
    for (def value : doc[params.field]) {
        TreeSet times = state.times.get(value);
        if (times == null) { times = new TreeSet(); state.times.put(value, times); }
        def before = times.floor(at);
        def after = times.ceiling(at);
        if (before != null && after != null && after - before <= params.window) { continue; }
        times.add(at);
        if (before != null) {
            def first = times.lower(before);
            if (first != null && at - first <= params.window) { times.remove(before); }
        }
        if (after != null) {
            def last = times.higher(after);
            if (last != null && last - at <= params.window) { times.remove(after); }
        }
    }
""")
_COMBINE = _script("""
    Map all = new HashMap();
    for (def entry : state.times.entrySet()) { all.put(entry.getKey(), new ArrayList(entry.getValue())); }
    return all;
""")
_REDUCE = _script("""
    Map numbers = new HashMap();
    for (def part : states) {
        if (part != null) { for (def value : part.keySet()) { numbers.putIfAbsent(value, numbers.size()); } }
    }
    int n = numbers.size();
    if (n == 0) { return 0; }
    List codes = new ArrayList();
    for (def part : states) {
        if (part != null) {
            for (def entry : part.entrySet()) {
                long number = numbers.get(entry.getKey());
                for (def at : entry.getValue()) { codes.add(at * n + number); }
            }
        }
    }
    Collections.sort(codes);
    int[] counts = new int[n];
    int live = 0;
    int most = 0;
    int first = 0;
    for (def code : codes) {
        while (codes.get(first) / n < code / n - params.window) {
            int old = (int) (codes.get(first) % n);
            counts[old]--;
            if (counts[old] == 0) { live--; }
            first++;
        }
        int number = (int) (code % n);
        counts[number]++;
        if (counts[number] == 1) { live++; }
        if (live > most) { most = live; }
    }
    return most;
""")


class KeywatchOpenSearchBackend(ArtefactBackend, SlidingWindowBackend):
    """Query DSL, and monitors that OpenSearch's Alerting plugin imports as they are. A query is a JSON object."""

    identifier: ClassVar[str] = "keywatch_opensearch"
    name: ClassVar[str] = "OpenSearch monitors, for CloudTrail (keywatch)"
    formats: ClassVar[dict[str, str]] = {
        "monitor": "bucket-level monitors for POST _plugins/_alerting/monitors, with schedule, look-back and guide",
        "dsl": "the bare search, over the look-back that ends now",
        "default": "the same as dsl",
    }
    default_format: ClassVar[str] = "monitor"
    files: ClassVar[dict[str, tuple[str, ...]]] = {
        "monitor": ("{rule}.monitor.json",),
        "dsl": ("{rule}.dsl.json",),
    }
    import_steps: ClassVar[dict[str, str]] = {
        "monitor": "POST each file to _plugins/_alerting/monitors (docs/opensearch.md has the command)",
        "dsl": "POST a file to your index's _search, for one page of principals after the other (docs/opensearch.md)",
    }
    requires_pipeline: ClassVar[bool] = True

    correlation_methods: ClassVar[dict[str, str]] = {"sliding": "Exact sliding windows, in a scripted metric"}

    def convert_condition_or(self, cond: ConditionOR, state: ConversionState) -> Any:
        """Join alternatives."""
        return {"bool": {"should": self._each(cond, state), "minimum_should_match": 1}}

    def convert_condition_and(self, cond: ConditionAND, state: ConversionState) -> Any:
        """Join conditions."""
        return {"bool": {"filter": self._each(cond, state)}}

    def convert_condition_not(self, cond: ConditionNOT, state: ConversionState) -> Any:
        """Negate a condition."""
        return {"bool": {"must_not": self._each(cond, state)}}

    def _each(self, cond: ConditionOR | ConditionAND | ConditionNOT, state: ConversionState) -> list[Json]:
        return [self.convert_condition(arg, state) for arg in cond.args]

    def convert_condition_field_eq_val_str(
        self, cond: ConditionFieldEqualsValueExpression, state: ConversionState
    ) -> Any:
        """Compare with a text, without regard to case.

        :raises SigmaFeatureNotSupportedByBackendError: for a text that is too long, and for a pattern where there are
            only true and false.
        """
        field, value = cond.field, cond.value
        assert isinstance(value, SigmaString)
        if not field.endswith(_KEYWORD):
            return _boolean(field, value)
        # Only the case of ASCII letters is ignored.
        if not str(value).isascii() or _is_variable(value):
            return {"regexp": {field: {"value": _regex(value), "case_insensitive": True, "flags_value": 0}}}
        kind, text = (
            ("wildcard", _pattern(value)) if value.contains_special() else ("term", _limited(value, _text(value)))
        )
        return {kind: {field: {"value": text, "case_insensitive": True}}}

    def convert_condition_field_eq_val_str_case_sensitive(
        self, cond: ConditionFieldEqualsValueExpression, state: ConversionState
    ) -> Any:
        """Compare with a text, with regard to case.

        :raises SigmaFeatureNotSupportedByBackendError: for a pattern that is too long.
        """
        value = cond.value
        assert isinstance(value, SigmaString)
        if _is_variable(value):
            return {"regexp": {cond.field: {"value": _regex(value, cased=True), "flags_value": 0}}}
        if not value.contains_special():
            return {"term": {cond.field: {"value": _text(value)}}}
        return {"wildcard": {cond.field: {"value": _pattern(value)}}}

    def convert_condition_field_eq_val_num(
        self, cond: ConditionFieldEqualsValueExpression, state: ConversionState
    ) -> Any:
        """Compare with a number, which fields hold as text."""
        return {"term": {cond.field: {"value": str(cond.value)}}}

    def convert_condition_field_eq_val_bool(
        self, cond: ConditionFieldEqualsValueExpression, state: ConversionState
    ) -> Any:
        """Compare with true or false."""
        value = bool(getattr(cond.value, "boolean", False))
        return {"term": {cond.field: {"value": str(value).lower() if cond.field.endswith(_KEYWORD) else value}}}

    def convert_condition_field_eq_val_null(
        self, cond: ConditionFieldEqualsValueExpression, state: ConversionState
    ) -> Any:
        """Tell whether a field is missing."""
        return {"bool": {"must_not": [{"exists": {"field": cond.field}}]}}

    convert_condition_field_not_exists = convert_condition_field_eq_val_null

    def convert_condition_field_exists(self, cond: ConditionFieldEqualsValueExpression, state: ConversionState) -> Any:
        """Tell whether a field is there."""
        return {"exists": {"field": cond.field}}

    def convert_condition_field_eq_val_re(self, cond: Any, state: ConversionState) -> Any:
        """Refuse a regular expression.

        :raises SigmaFeatureNotSupportedByBackendError: always: OpenSearch's are anchored, and of another dialect.
        """
        raise _unsupported(cond.field, "regular expressions")

    def convert_condition_field_compare_op_val(self, cond: Any, state: ConversionState) -> Any:
        """Refuse < and >.

        :raises SigmaFeatureNotSupportedByBackendError: always: keywords are in the order of texts.
        """
        raise _unsupported(cond.field, "< and > of fields that are texts")

    def convert_condition_field_eq_field(self, cond: Any, state: ConversionState) -> Any:
        """Refuse to compare two fields.

        :raises SigmaFeatureNotSupportedByBackendError: always.
        """
        raise _unsupported(cond.field, "comparing two fields")

    def finish_query(self, rule: Rule, query: Any, state: ConversionState) -> Any:
        """Leave a condition as it is: it is no text."""
        return query

    def convert_correlation_rule_from_template(
        self, rule: SigmaCorrelationRule, correlation_type: SigmaCorrelationTypeLiteral, method: str
    ) -> list[Any]:
        """Return the condition of the events of a correlation; the rest is in the search.

        :raises SigmaFeatureNotSupportedByBackendError: for one that has no meaning as a sliding window.
        """
        refuse_unslidable(rule, correlation_type)
        queries = [query for ref in rule.referenced_rules for query in ref.rule.get_conversion_result()]
        return [{"bool": {"should": queries, "minimum_should_match": 1}} if len(queries) > 1 else queries[0]]

    def finalize_query_dsl(self, rule: Rule, query: Json, index: int, state: ConversionState) -> Json:
        """Return the search of what would be alerts now."""
        look_back = {"gte": f"now-{self.schedule.look_back(rule)}s", "lte": "now"}
        search = _search(rule, query, look_back)
        if isinstance(rule, SigmaCorrelationRule):
            script = {"source": "params.value_count >= params.least", "params": {"least": least(rule)}}
            [buckets] = search["aggregations"].values()
            buckets["aggregations"]["alerts"] = {
                "bucket_selector": {"buckets_path": {"value_count": "value_count.value"}, "script": script}
            }
        return search

    finalize_query_default = finalize_query_dsl

    def finalize_output_dsl(self, queries: list[Json]) -> str:
        """Write searches, one JSON document after the other."""
        return "\n".join(json.dumps(query, indent=2, ensure_ascii=False) for query in queries) + "\n"

    finalize_output_default = finalize_output_dsl
    finalize_output_monitor = finalize_output_dsl

    def finalize_query_monitor(self, rule: Rule, query: Json, index: int, state: ConversionState) -> Json:
        """Return a monitor as the Alerting plugin's API takes it."""
        period = {
            "gte": f"{{{{period_end}}}}||-{self.schedule.look_back(rule)}s",
            "lte": "{{period_end}}",
            "format": "epoch_millis",
        }
        settings = self.last_processing_pipeline.state
        search = _search(rule, query, period)
        path, number = ("value_count.value", least(rule)) if isinstance(rule, SigmaCorrelationRule) else ("_count", 1)
        return {
            "type": "monitor",
            "monitor_type": "bucket_level_monitor",
            "name": rule.title,
            "enabled": True,
            "schedule": {"period": {"interval": self.schedule.interval // 60, "unit": "MINUTES"}},
            "inputs": [{"search": {"indices": settings["index"].split(","), "query": search}}],
            "triggers": [
                {
                    "bucket_level_trigger": {
                        "name": rule.title,
                        "severity": _SEVERITY.get(level_of(rule), "5"),
                        "condition": {
                            "buckets_path": {"value_count": path},
                            "parent_bucket_path": next(iter(search["aggregations"])),
                            "script": {"source": f"params.value_count >= {number}", "lang": "painless"},
                            "gap_policy": "skip",
                        },
                        "actions": [_action(rule, settings["channel"])],
                    }
                }
            ],
        }


def _search(rule: Rule, condition: Json, period: Json) -> Json:
    """Return the search: a bucket for each group, with what an alert shows."""
    if isinstance(rule, SigmaCorrelationRule):
        name, group, counted = "principals", list(rule.group_by or ()), [counted_field(rule)]
        shown, most = evidence_fields(rule), {"value_count": _most_values(rule)}
    else:
        name, group, counted, shown, most = "events", [_EVENT], [], rule.fields, {}
    evidence = [field for field in dict.fromkeys([*counted, *shown]) if field not in group]
    return {
        "size": 0,
        "query": {
            "bool": {
                "filter": [{"range": {_TIME: period}}, condition],
                "must_not": [{"term": {field: {"value": ""}}} for field in [*group, *counted]],
            }
        },
        "aggregations": {
            name: {
                "composite": {
                    "size": _PAGE,
                    "sources": [{field.removesuffix(_KEYWORD): {"terms": {"field": field}}} for field in group],
                },
                "aggregations": most
                | {"first_seen": {"min": {"field": _TIME}}, "last_seen": {"max": {"field": _TIME}}}
                | {field.removesuffix(_KEYWORD): {"terms": {"field": field, "size": _VALUES}} for field in evidence},
            }
        },
    }


def _most_values(rule: SigmaCorrelationRule) -> Json:
    return {
        "scripted_metric": {
            "params": {"time": _TIME, "field": counted_field(rule), "window": rule.timespan.seconds * 1000},
            "init_script": _INIT,
            "map_script": _MAP,
            "combine_script": _COMBINE,
            "reduce_script": _REDUCE,
        }
    }


def _action(rule: Rule, channel: str) -> Json:
    """Return the notification of new alerts: who, and the triage guide.

    The plugin gives a message the monitor's name and the buckets' keys; no text of the rule itself stands in it, which
    could be taken for variables.
    """
    techniques = ", ".join(f"{name} {entry['name']}" for name, entry in techniques_of(rule).items())
    steps = guide_steps([rule], _shown, plain=lambda name: name.removesuffix(_KEYWORD))
    text = [
        "{{ctx.monitor.name}}: {{#ctx.newAlerts}}{{bucket_keys}} {{/ctx.newAlerts}}",
        f"ATT&CK: {techniques}. The values of an alert are in its bucket, under Alerts.",
        *(f"{title}\n{text}" for title, text in steps),
    ]
    return {
        "name": "notify",
        "destination_id": channel,
        "subject_template": {"source": "{{ctx.monitor.name}}", "lang": "mustache"},
        "message_template": {"source": "\n\n".join(text), "lang": "mustache"},
        "throttle_enabled": False,
        # An alert that is found again is the same alert, and says nothing new.
        "action_execution_policy": {"action_execution_scope": {"per_alert": {"actionable_alerts": ["NEW"]}}},
    }


def _shown(name: str) -> str:
    return f"`{name.removesuffix(_KEYWORD)}`"


def _boolean(field: str, value: SigmaString) -> Json:
    if value.contains_special():
        raise SigmaFeatureNotSupportedByBackendError(
            f"field '{field}' is true or false in OpenSearch, and has no pattern"
        )
    text = _text(value).lower()
    return {"term": {field: {"value": text == "true"}}} if text in ("true", "false") else {"match_none": {}}


def _unsupported(field: str, what: str) -> SigmaFeatureNotSupportedByBackendError:
    return SigmaFeatureNotSupportedByBackendError(
        f"field '{field}': OpenSearch's queries have no {what} as Sigma means it"
    )


def _text(value: SigmaString) -> str:
    return "".join(map(str, value.s))


def _pattern(value: SigmaString) -> str:
    """Return a pattern of the query `wildcard`."""
    return _limited(value, value.convert(add_escaped="\\"))


def _limited(value: SigmaString, text: str) -> str:
    """Return the text that a query has for a value, unless it is too long, escapes counted."""
    longest = _LONGEST[value.contains_special()]
    if len(text) > longest:
        raise SigmaFeatureNotSupportedByBackendError(
            f"value '{str(value)[:20]}…' has {len(text)} characters; OpenSearch compares with up to {longest}"
        )
    return text


def _is_variable(value: SigmaString) -> bool:
    """Tell whether a monitor would take a part of a value for a variable: they are filled in wherever they stand."""
    return "{{" in str(value)


def _regex(value: SigmaString, *, cased: bool = False) -> str:
    """Return a regular expression, with both cases of letters beyond ASCII unless the case matters."""
    signs: dict[Any, str] = {SpecialChars.WILDCARD_MULTI: ".*", SpecialChars.WILDCARD_SINGLE: "."}
    return _limited(
        value,
        "".join(signs.get(part) or "".join(_either_case(char, cased=cased) for char in str(part)) for part in value.s),
    )


def _either_case(char: str, *, cased: bool) -> str:
    if not cased and not char.isascii() and char.lower() != char.upper():
        return f"[{char.lower()}{char.upper()}]"
    return "\\" + char if char in _REGEX_SIGNS else char
