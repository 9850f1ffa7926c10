r"""Elasticsearch: ES|QL with sliding windows, Kibana detection rules, and Lucene for rules of a single event.

The window, in ES|QL 8.19, which has no window functions. Time is quantised to slices, a minute for windows up to an
hour; a principal keeps only if it has N Regions in the whole look-back; each of its (slice, Region) pairs is then
repeated for the W / slice + 1 windows that hold it, and Regions are counted per window. The cost is linear, nothing is
missed, and what is found beyond the exact meaning has a spread of at most W + one slice. (A join of the events of a
principal with themselves is exact, and stopped by a circuit breaker at 10,000 events: in the attack it is for.)
"""

from __future__ import annotations

import json
import re
from typing import Any, ClassVar, cast

from sigma.backends.elasticsearch.elasticsearch_esql import ESQLBackend
from sigma.backends.elasticsearch.elasticsearch_lucene import LuceneBackend
from sigma.backends.keywatch._artefact import ArtefactBackend
from sigma.backends.keywatch._attack import tactics_of, techniques_of
from sigma.backends.keywatch._guide import guide_steps
from sigma.backends.keywatch._sliding import Rule, SlidingWindowBackend, counted_field, evidence_fields, level_of
from sigma.conditions import ConditionAND, ConditionFieldEqualsValueExpression, ConditionNOT, ConditionOR
from sigma.conversion.state import ConversionState
from sigma.correlations import SigmaCorrelationRule
from sigma.exceptions import SigmaFeatureNotSupportedByBackendError
from sigma.types import SigmaString

_RISK = {"informational": 1, "low": 21, "medium": 47, "high": 73, "critical": 99}
_HOUR = 3600
#: Characters of a text, and of a pattern, that Elasticsearch makes an automaton of: it refuses texts of more than 1000,
#: and patterns that are complex, which none of 300 is. (The integration keeps keywords of up to 1024 characters.)
_LONGEST = {False: 1000, True: 300}
_OWN = ("value_count", "event_count", "first_seen", "last_seen")


class KeywatchESQLBackend(ArtefactBackend, SlidingWindowBackend, ESQLBackend):
    """The stock ES|QL backend with sliding windows, Sigma's matching, and rules that Kibana imports as they are."""

    identifier: ClassVar[str] = "keywatch_elasticsearch"
    name: ClassVar[str] = "Elasticsearch ES|QL with sliding windows, for CloudTrail (keywatch)"
    formats: ClassVar[dict[str, str]] = {
        "kibana": "detection rules for Kibana's import (NDJSON), with schedule, look-back, suppression and guide",
        "esql": "the bare ES|QL query",
        "default": "the same as esql",
    }
    default_format: ClassVar[str] = "kibana"
    files: ClassVar[dict[str, tuple[str, ...]]] = {
        "kibana": ("{rule}.ndjson", "all.ndjson"),
        "esql": ("{rule}.esql",),
    }
    import_steps: ClassVar[dict[str, str]] = {
        "kibana": "Security > Rules > Detection rules (SIEM) > Import rules: all.ndjson (README: Elasticsearch)",
        "esql": "paste a file into Discover in ES|QL mode, time range at least the window (README: Elasticsearch)",
    }

    # Sigma compares without regard to case, and keywords are kept as they came.
    eq_expression = "TO_LOWER({field}) == {value}"
    wildcard_match_expression = "TO_LOWER({field}) LIKE {value}"
    startswith_expression = None
    endswith_expression = None
    contains_expression = None
    field_in_list_expression = "TO_LOWER({field}) {op} ({list})"
    or_token = "OR"
    and_token = "AND"
    not_token = "NOT"
    or_in_operator = "IN"
    eq_token = " == "
    field_null_expression = "{field} IS NULL"
    field_exists_expression = "{field} IS NOT NULL"
    field_not_exists_expression = "{field} IS NULL"
    field_equals_field_expression = "TO_LOWER({field1}) == TO_LOWER({field2})"
    #: The address is kept as it came, because it can be the name of a service.
    cidr_expression = 'CIDR_MATCH(TO_IP({field}), "{value}")'
    compare_op_expression = "TO_DOUBLE({field}) {operator} {value}"
    field_quote_pattern = re.compile(r"^@?[A-Za-z_][\w.]*$")

    correlation_methods: ClassVar[dict[str, str]] = {
        "sliding": "Sliding windows, time quantised to a minute (windows up to an hour), nothing missed",
        **ESQLBackend.correlation_methods,
    }
    value_count_correlation_query: ClassVar = {
        **ESQLBackend.default_correlation_query,
        "sliding": "{search}\n{aggregate}\n{condition}",
    }
    value_count_aggregation_expression: ClassVar = {
        **ESQLBackend.value_count_aggregation_expression,
        "sliding": """| WHERE {present}
| EVAL slice = TO_LONG(@timestamp) / {slice}
| STATS value_count = MV_COUNT(VALUES({field})), event_count = COUNT(*), first_seen = MIN(@timestamp),"""
        """ last_seen = MAX(@timestamp), slice = VALUES(CONCAT(TO_STRING(slice), " ", {field})){fields} BY {groupby}
| WHERE value_count >= {count}
| MV_EXPAND slice
| DISSECT slice "%{{slice}} %{{counted_value}}"
| EVAL step = [{steps}]
| MV_EXPAND step
| EVAL window_end = TO_LONG(slice) + step{once}
| STATS value_count = COUNT_DISTINCT(counted_value), {field} = VALUES(counted_value), event_count = MAX(event_count),"""
        """ first_seen = MIN(first_seen), last_seen = MAX(last_seen){fields} BY {groupby}, window_end
| STATS value_count = MAX(value_count), {field} = VALUES({field}), event_count = MAX(event_count),"""
        """ first_seen = MIN(first_seen), last_seen = MAX(last_seen){fields} BY {groupby}""",
    }
    value_count_condition_expression: ClassVar = {
        **ESQLBackend.value_count_condition_expression,
        "sliding": "| WHERE value_count {op} {count}",
    }
    groupby_expression_nofield: ClassVar = {**ESQLBackend.groupby_expression_nofield, "sliding": ""}
    groupby_expression: ClassVar = {**ESQLBackend.groupby_expression, "sliding": "{fields}"}
    groupby_field_expression: ClassVar = {**ESQLBackend.groupby_field_expression, "sliding": "{field}"}
    groupby_field_expression_joiner: ClassVar = {**ESQLBackend.groupby_field_expression_joiner, "sliding": ", "}
    correlation_fields_expression: ClassVar = {**ESQLBackend.correlation_fields_expression, "sliding": "{fields}"}
    correlation_fields_field_expression: ClassVar = {
        **ESQLBackend.correlation_fields_field_expression,
        "sliding": ", {field} = VALUES({field})",
    }
    correlation_fields_field_expression_joiner: ClassVar = {
        **ESQLBackend.correlation_fields_field_expression_joiner,
        "sliding": "",
    }
    referenced_rules_expression: ClassVar = {**ESQLBackend.referenced_rules_expression, "sliding": "{ruleid}"}
    referenced_rules_expression_joiner: ClassVar = {**ESQLBackend.referenced_rules_expression_joiner, "sliding": ","}

    def convert_correlation_aggregation_fields_from_template(
        self,
        correlation_rule_fields: list[str],
        referenced_rules: list[Any],
        group_by: list[str] | None,
        method: str,
    ) -> str:
        """Gather the evidence. The stock method forgets the fields of the correlation itself."""
        return super(ESQLBackend, self).convert_correlation_aggregation_fields_from_template(
            correlation_rule_fields, referenced_rules, group_by, method
        )

    def sliding_variables(self, rule: SigmaCorrelationRule) -> dict[str, str]:
        """Add the slices, the condition that all fields have a value, and the evidence that is carried once a group."""
        window = rule.timespan.seconds
        slice_seconds = grain(window)
        names = [self.escape_and_quote_field(name) for name in (*(rule.group_by or ()), counted_field(rule))]
        evidence = [self.escape_and_quote_field(name) for name in evidence_fields(rule)]
        return super().sliding_variables(rule) | {
            "slice": str(slice_seconds * 1000),
            "steps": ", ".join(str(step) for step in range(-(-window // slice_seconds) + 1)),
            "present": " AND ".join(f'{name} != ""' for name in names),
            "once": "".join(f", {name} = CASE(step == 0, {name}, NULL)" for name in evidence),
        }

    def convert_value_str(self, s: SigmaString, state: ConversionState) -> str:
        """Quote a value, in lower case: a LIKE pattern where it has wildcards.

        :raises SigmaFeatureNotSupportedByBackendError: for a value that Elasticsearch makes no query of.
        """
        return _quoted(_comparable(s).lower())

    def convert_condition_not(self, cond: ConditionNOT, state: ConversionState) -> str:
        """Negate a condition. ES|QL's third truth value has no place in Sigma: what is missing does not match."""
        return f"NOT COALESCE({self.convert_condition(cond.args[0], state)}, false)"

    def convert_condition_field_eq_val_str(
        self, cond: ConditionFieldEqualsValueExpression, state: ConversionState
    ) -> Any:
        """Compare with a text; a boolean field, with what the text says."""
        if _type(cond.field) == "boolean":
            field, value = self.escape_and_quote_field(cond.field), cast(SigmaString, cond.value)
            return f"TO_STRING({field}) LIKE {self.convert_value_str(value, state)}"
        if _is_pushed_down_wrongly(cond.value):
            field = self.escape_and_quote_field(cond.field)
            return f'CONCAT(TO_LOWER({field}), "") == {self.convert_value_str(cast(SigmaString, cond.value), state)}'
        return super().convert_condition_field_eq_val_str(cond, state)

    def decide_convert_condition_as_in_expression(
        self, cond: ConditionOR | ConditionAND, state: ConversionState
    ) -> bool:
        """Write a list as IN, but for values that must be compared one by one."""
        return super().decide_convert_condition_as_in_expression(cond, state) and not any(
            _is_pushed_down_wrongly(getattr(arg, "value", None)) for arg in cond.args
        )

    def convert_condition_field_eq_val_bool(
        self, cond: ConditionFieldEqualsValueExpression, state: ConversionState
    ) -> Any:
        """Compare with true or false, which most fields hold as text."""
        return self.convert_condition_field_eq_val_str(_with_text(cond), state)

    def convert_condition_field_eq_val_num(
        self, cond: ConditionFieldEqualsValueExpression, state: ConversionState
    ) -> Any:
        """Compare with a number, which fields hold as text."""
        return self.convert_condition_field_eq_val_str(_with_text(cond), state)

    def convert_condition_field_eq_val_re(
        self, cond: ConditionFieldEqualsValueExpression, state: ConversionState
    ) -> Any:
        """Refuse a regular expression.

        :raises SigmaFeatureNotSupportedByBackendError: always.
        """
        raise SigmaFeatureNotSupportedByBackendError(
            f"regular expression of field '{cond.field}': Elasticsearch's are anchored and of another dialect, and "
            "would match something else; use contains, startswith, endswith or wildcards"
        )

    def convert_condition_field_eq_val_str_case_sensitive(self, cond: Any, state: ConversionState) -> str:
        """Compare with regard to case.

        :raises SigmaFeatureNotSupportedByBackendError: for a value that Elasticsearch makes no query of.
        """
        operator = "LIKE" if cond.value.contains_special() else "=="
        return f"{self.escape_and_quote_field(cond.field)} {operator} {_quoted(_comparable(cond.value))}"

    def finalize_query_esql(self, rule: Rule, query: str, index: int, state: ConversionState) -> str:
        """Return the query, with its source in front."""
        query = f"FROM {state.processing_state['index']} METADATA _id, _index, _version\n| WHERE {query}"
        return query if isinstance(rule, SigmaCorrelationRule) else f"{query}\n| SORT @timestamp"

    finalize_query_default = finalize_query_esql

    def finalize_output_esql(self, queries: list[str]) -> str:
        """Put an empty line between queries."""
        return "\n\n".join(queries) + "\n"

    finalize_output_default = finalize_output_esql

    def finalize_query_kibana(self, rule: Rule, query: str, index: int, state: ConversionState) -> dict[str, Any]:
        """Return a detection rule as Kibana exports and imports it."""
        look_back = self.schedule.look_back(rule)
        level = level_of(rule).name.lower()
        correlation = isinstance(rule, SigmaCorrelationRule)
        group = list(rule.group_by or ()) if isinstance(rule, SigmaCorrelationRule) else ["event.id"]
        shown = list(dict.fromkeys([*group, *rule.fields, *(_OWN if correlation else ())]))
        return {
            "rule_id": str(rule.id),
            "name": rule.title,
            "description": " ".join((rule.description or rule.title).split()),
            "type": "esql",
            "language": "esql",
            "query": self.finalize_query_esql(rule, query, index, state),
            "enabled": True,
            "interval": f"{self.schedule.interval // 60}m",
            "from": f"now-{look_back // 60}m",
            "to": "now",
            "risk_score": _RISK[level],
            "severity": "low" if level == "informational" else level,
            "risk_score_mapping": [],
            "severity_mapping": [],
            "alert_suppression": {
                "group_by": group,
                "duration": {"value": self.schedule.suppression(rule) // 60, "unit": "m"},
                "missing_fields_strategy": "suppress",
            },
            "max_signals": 1000,
            "threat": threat(rule),
            "note": _note(rule),
            "setup": "Needs Elastic's AWS integration with CloudTrail, from a trail that covers all Regions.",
            "investigation_fields": {"field_names": shown},
            "required_fields": [{"name": name, "type": _type(name)} for name in _required(rule)],
            "related_integrations": [{"package": "aws", "integration": "cloudtrail", "version": "^2.0.0"}],
            "tags": ["Domain: Cloud", "Data Source: AWS", "Data Source: AWS CloudTrail", "Keywatch"],
            "references": list(rule.references),
            "false_positives": list(rule.falsepositives),
            "author": [rule.author] if rule.author else [],
            "license": "DRL-1.1",
            "version": 1,
            "exceptions_list": [],
            "actions": [],
            "immutable": False,
        }

    def finalize_output_kibana(self, queries: list[dict[str, Any]]) -> str:
        """Write a rule a line."""
        return "".join(json.dumps(rule, ensure_ascii=False) + "\n" for rule in queries)


class KeywatchLuceneBackend(ArtefactBackend, LuceneBackend):
    """The stock Lucene backend, for rules of a single event. Keywords match with regard to case here."""

    identifier: ClassVar[str] = "keywatch_lucene"
    name: ClassVar[str] = "Elasticsearch Lucene, single events, for CloudTrail (keywatch)"
    formats: ClassVar[dict[str, str]] = {
        "lucene": "a Lucene query, for rules of a single event",
        "default": "the same as lucene",
    }
    default_format: ClassVar[str] = "lucene"
    files: ClassVar[dict[str, tuple[str, ...]]] = {"lucene": ("{rule}.lucene",)}
    import_steps: ClassVar[dict[str, str]] = {"lucene": "paste a file into Kibana's search bar, language Lucene"}
    #: source.address is a keyword, so a network is spelt out as patterns.
    cidr_expression = None

    def convert_value_str(self, s: SigmaString, state: ConversionState) -> str:
        """Write a value.

        :raises SigmaFeatureNotSupportedByBackendError: for < and >, which a query string has no way to mean.
        """
        if any(sign in str(s) for sign in "<>"):
            raise SigmaFeatureNotSupportedByBackendError(
                f"value '{s}': Lucene can't match < or >, which begin a range; use ? instead, or format esql or kibana"
            )
        return super().convert_value_str(s, state)

    def convert_correlation_rule(self, rule: SigmaCorrelationRule, *_: Any, **__: Any) -> list[Any]:
        """Refuse a correlation.

        :raises SigmaFeatureNotSupportedByBackendError: always.
        """
        raise SigmaFeatureNotSupportedByBackendError(
            f"rule '{rule.title}': Lucene has no correlations; use format esql or kibana", source=rule.source
        )

    def finalize_query_lucene(self, rule: Rule, query: str, index: int, state: ConversionState) -> str:
        """Return the query."""
        return query

    finalize_query_default = finalize_query_lucene

    def finalize_output_lucene(self, queries: list[str]) -> str:
        """Put a query on a line."""
        return "\n".join(queries) + "\n"

    finalize_output_default = finalize_output_lucene


def grain(window: int) -> int:
    """Return the seconds that time is quantised to: a minute, a second for windows of less, more beyond an hour."""
    if window < 60:  # noqa: PLR2004
        return 1
    return 60 if window <= _HOUR else -(-window // _HOUR) * 60


def threat(rule: Rule) -> list[dict[str, Any]]:
    """Return the rule's tactics and techniques, by the names that MITRE gives them.

    :raises SigmaFeatureNotSupportedByBackendError: for a tag that `attack.yml` does not have.
    """
    techniques = techniques_of(rule)
    return [
        {
            "framework": "MITRE ATT&CK",
            "tactic": tactic | {"reference": f"https://attack.mitre.org/tactics/{tactic['id']}/"},
            "technique": [
                _technique(name, technique["name"])
                | {
                    "subtechnique": [
                        _technique(sub, techniques[sub]["name"]) for sub in techniques if sub[:6] == f"{name}."
                    ]
                }
                for name, technique in techniques.items()
                if "." not in name and tag in technique["tactics"]
            ],
        }
        for tag, tactic in tactics_of(rule).items()
    ]


def _technique(name: str, title: str) -> dict[str, Any]:
    return {"id": name, "name": title, "reference": f"https://attack.mitre.org/techniques/{name.replace('.', '/')}/"}


def _note(rule: Rule) -> str:
    """Write the investigation guide: Markdown, and buttons that open what else happened in a timeline."""
    steps = guide_steps([rule], lambda name: f"`{name}`")
    if not steps:
        return ""
    buttons = [
        "!{investigate" + json.dumps(_investigation(label, name), ensure_ascii=False) + "}"
        for label, name in (
            ("Everything this principal did", "aws.cloudtrail.user_identity.arn"),
            ("Everything done with this key", "aws.cloudtrail.user_identity.access_key_id"),
            ("Everything from this address", "source.address"),
        )
    ]
    return "\n\n".join(["## Triage", *(f"### {title}\n{text}" for title, text in steps), *buttons])


def _investigation(label: str, name: str) -> dict[str, Any]:
    provider = {
        "field": name,
        "excluded": False,
        "queryType": "phrase",
        "value": f"{{{{{name}}}}}",
        "valueType": "string",
    }
    return {"label": label, "providers": [[provider]], "relativeFrom": "now-48h/h", "relativeTo": "now"}


def _required(rule: Rule) -> list[str]:
    """Return the fields that a rule can't do without: what it groups by and counts, what it gives as evidence."""
    names = ["@timestamp", *rule.fields]
    if isinstance(rule, SigmaCorrelationRule):
        names += [*(rule.group_by or ()), counted_field(rule)]
    return sorted(set(names))


def _type(name: str) -> str:
    return {"@timestamp": "date", "aws.cloudtrail.read_only": "boolean"}.get(name, "keyword")


def _is_pushed_down_wrongly(value: Any) -> bool:
    """Tell whether `TO_LOWER(field) == value` finds nothing.

    Elasticsearch 8.19 makes a term query of it that ignores the case of ASCII letters only, and compares the rest with
    the value in lower case. CONCAT keeps it from doing so.
    """
    return isinstance(value, SigmaString) and not value.contains_special() and not str(value).isascii()


def _quoted(text: str) -> str:
    escapes: dict[str, str] = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}
    return '"' + "".join(escapes.get(char, char) for char in text) + '"'


def _comparable(value: SigmaString) -> str:
    """Return a text, or a LIKE pattern where it has wildcards, that is not too long for Elasticsearch."""
    pattern = value.contains_special()
    longest = _LONGEST[pattern]
    if len(value) > longest:
        raise SigmaFeatureNotSupportedByBackendError(
            f"value '{str(value)[:20]}…' has {len(value)} characters; Elasticsearch compares with up to {longest}"
            + (", wildcards counted" if pattern else "")
        )
    return value.convert(add_escaped="\\") if pattern else "".join(map(str, value.s))


def _with_text(cond: ConditionFieldEqualsValueExpression) -> ConditionFieldEqualsValueExpression:
    return ConditionFieldEqualsValueExpression(cond.field, SigmaString(str(cond.value).lower()))
