r"""Splunk: exact sliding windows in SPL, saved searches with Enterprise Security's annotations, and an app of them.

The window, in SPL. Three things about `streamstats time_window` shape the query:

- It keeps at most `max_stream_window` rows (limits.conf, 10,000) of a window, without a word when there are more. So a
  window of that many rows is asked for, for each principal (`global=f`), and the events are reduced first: of each
  principal, Region and slice of a hundredth of the window, to the first and the last. What lies between changes no
  count: a window that holds one of those events but neither the first nor the last of its slice lies inside the slice,
  and then the whole slice, with the same Regions in it, fits into a window. That is at most 202 rows a Region and
  window, so 49 Regions fit, and a threshold up to 49 is exact.
- Splunk does not say whether an event exactly W seconds back is inside. CloudTrail's times are whole seconds; on a time
  axis stretched by two, a window of 2W + 1 holds what is 2W back, and not what is 2W + 2 back, whichever it is.
- `stats` after `where` would see only the rows over the threshold, so the evidence is gathered first, and the threshold
  applied last: an alert row speaks of all matching events of the principal in the look-back.

An alert's field names have no dots (userIdentity_arn): the tokens of alert actions and the list of fields that throttle
an alert are documented for plain names only.
"""

from __future__ import annotations

import gzip
import io
import json
import re
import tarfile
from collections.abc import Iterable
from typing import ClassVar

from sigma.backends.keywatch._artefact import ArtefactBackend
from sigma.backends.keywatch._guide import guide_steps
from sigma.backends.keywatch._sliding import Rule, SlidingWindowBackend, counted_field, evidence_fields, least, level_of
from sigma.backends.splunk import SplunkBackend
from sigma.conversion.deferred import DeferredQueryExpression
from sigma.conversion.state import ConversionState
from sigma.correlations import SigmaCorrelationRule
from sigma.exceptions import SigmaFeatureNotSupportedByBackendError, SigmaValueError
from sigma.processing.pipeline import ProcessingItem, ProcessingPipeline
from sigma.processing.transformations import SetStateTransformation
from sigma.types import SigmaString, SpecialChars

_SLICES = 100
_MAX_STREAM_WINDOW = 10_000
_MOST_VALUES = _MAX_STREAM_WINDOW // (2 * (_SLICES + 1))
_APP = "keywatch"
_MACRO = "keywatch_cloudtrail"
_LEVELS = ["informational", "low", "medium", "high", "critical"]


class KeywatchSplunkBackend(ArtefactBackend, SlidingWindowBackend, SplunkBackend):
    """The stock Splunk backend with exact windows, and saved searches that can be scheduled as they are."""

    identifier: ClassVar[str] = "keywatch_splunk"
    name: ClassVar[str] = "Splunk with exact sliding windows, for CloudTrail (keywatch)"
    formats: ClassVar[dict[str, str]] = {
        "savedsearches": "savedsearches.conf: schedule, look-back, suppression, Enterprise Security annotations",
        "spl": "the bare search",
        "app": "a Splunk app of the saved searches, index and sourcetype in a macro",
        "default": "the same as spl",
    }
    default_format: ClassVar[str] = "savedsearches"
    files: ClassVar[dict[str, tuple[str, ...]]] = {
        "savedsearches": ("savedsearches.conf",),
        "spl": ("{rule}.spl",),
        "app": (f"{_APP}.tar.gz", f"{_APP}/"),
    }
    import_steps: ClassVar[dict[str, str]] = {
        "savedsearches": "append it to local/savedsearches.conf of an app of yours and reload (README: Splunk)",
        "spl": "paste a file into the search bar, time range at least the window (README: Splunk)",
        "app": f"Apps > Manage Apps > Install app from file: {_APP}.tar.gz; set the macro {_MACRO} (README: Splunk)",
    }
    output_format_processing_pipeline: ClassVar[dict[str, ProcessingPipeline]] = {
        **{name: ProcessingPipeline() for name in formats},
        "app": ProcessingPipeline(items=[ProcessingItem(SetStateTransformation("macro", f"`{_MACRO}`"))]),
    }

    correlation_methods: ClassVar[dict[str, str]] = {
        "sliding": "Exact sliding windows with streamstats",
        **SplunkBackend.correlation_methods,
    }
    # The search command takes OR before AND, and eval the other way round: nobody should have to know.
    parenthesize = True

    value_count_correlation_query: ClassVar = {
        **SplunkBackend.default_correlation_query,
        "sliding": "{search}\n{aggregate}\n{condition}",
    }
    value_count_aggregation_expression: ClassVar = {
        **SplunkBackend.value_count_aggregation_expression,
        "sliding": """| where {present}
| eval slice=floor(_time/{slice})
| stats count AS event_count min(_time) AS first_seen max(_time) AS last_seen{fields} BY {groupby} {field} slice
| eval seen=mvdedup(mvappend(first_seen, last_seen))
| mvexpand seen
| eval seen=tonumber(seen), event_count=if(seen==first_seen, event_count, 0), _time=2*seen - 1700000000
| sort 0 _time
| streamstats window={rows} time_window={stretched}s global=f dc({field}) AS value_count BY {groupby}
| stats max(value_count) AS value_count sum(event_count) AS event_count min(first_seen) AS first_seen"""
        """ max(last_seen) AS last_seen values({field}) AS {field}{fields} BY {groupby}""",
    }
    value_count_condition_expression: ClassVar = {
        **SplunkBackend.value_count_condition_expression,
        "sliding": "| where value_count {op} {count}\n| eval _time=last_seen\n"
        '| convert timeformat="%Y-%m-%dT%H:%M:%S%z" ctime(first_seen) ctime(last_seen)',
    }
    groupby_expression: ClassVar = {**SplunkBackend.groupby_expression, "sliding": "{fields}"}
    groupby_field_expression: ClassVar = {**SplunkBackend.groupby_field_expression, "sliding": "{field}"}
    groupby_field_expression_joiner: ClassVar = {**SplunkBackend.groupby_field_expression_joiner, "sliding": " "}
    correlation_fields_expression: ClassVar = {"stats": "", "sliding": "{fields}"}
    correlation_fields_field_expression: ClassVar = {"stats": "", "sliding": " values({field}) AS {field}"}
    correlation_fields_field_expression_joiner: ClassVar = {"stats": "", "sliding": ""}

    def sliding_variables(self, rule: SigmaCorrelationRule) -> dict[str, str]:
        """Add the length of a slice, the window on the stretched axis, and the condition that all fields have a value.

        :raises SigmaFeatureNotSupportedByBackendError: for a threshold that `max_stream_window` does not let through.
        """
        if least(rule) > _MOST_VALUES:
            raise SigmaFeatureNotSupportedByBackendError(
                f"rule '{rule.title}': Splunk's streamstats can count up to {_MOST_VALUES} distinct values in a window",
                source=rule.source,
            )
        names = [*(rule.group_by or ()), counted_field(rule)]
        return super().sliding_variables(rule) | {
            "rows": str(_MAX_STREAM_WINDOW),
            "slice": str(-(-rule.timespan.seconds // _SLICES)),
            "stretched": str(2 * rule.timespan.seconds + 1),
            "present": " AND ".join(f"'{name}'!=\"\"" for name in names),
        }

    def convert_value_str(self, s: SigmaString, state: ConversionState) -> str:
        """Quote a value.

        :raises SigmaFeatureNotSupportedByBackendError: for what the search command can't say: it has no wildcard for a
            single character, no way to mean a literal asterisk, and a backtick would call a macro.
        """
        text = "".join(part for part in s.s if isinstance(part, str))
        for found, sign in (
            (SpecialChars.WILDCARD_SINGLE in s.s, "the wildcard ? (any one character)"),
            ("*" in text, "a literal *"),
            ("`" in text, "a backtick"),
        ):
            if found:
                raise SigmaFeatureNotSupportedByBackendError(
                    f"value '{s}': Splunk's search command can't match {sign}; leave it out of the value"
                )
        return super().convert_value_str(s, state)

    def finish_query(
        self, rule: Rule, query: str | DeferredQueryExpression, state: ConversionState
    ) -> str | DeferredQueryExpression:
        """Put the index and the sourcetype in front, or the macro that stands for them."""
        query = super().finish_query(rule, query, state)
        if isinstance(rule, SigmaCorrelationRule):
            return query
        return f"{_source(state)} {query}"

    def finalize_query_spl(self, rule: Rule, query: str, index: int, state: ConversionState) -> str:
        """Return the search; that of a single event shows its evidence. The last command gives plain names."""
        names = [*_group(rule), *rule.fields]
        if isinstance(rule, SigmaCorrelationRule):
            names += evidence_fields(rule)
        else:
            columns = ", ".join(self.escape_and_quote_field(name) for name in dict.fromkeys(names))
            query += f"\n| table _time, {columns}"
        renames = [
            f"{self.escape_and_quote_field(name)} AS {_plain(name)}" for name in dict.fromkeys(names) if "." in name
        ]
        return f"{query}\n| rename {', '.join(renames)}" if renames else query

    finalize_query_default = finalize_query_spl

    def finalize_output_spl(self, queries: list[str]) -> str:
        """Put an empty line between searches."""
        return "\n\n".join(queries) + "\n"

    finalize_output_default = finalize_output_spl

    def finalize_query_savedsearches(self, rule: Rule, query: str, index: int, state: ConversionState) -> str:
        """Return the stanza of a saved search.

        The keys of `action.correlationsearch`, `action.notable` and `action.risk` are those that splunk/contentctl
        writes for Enterprise Security.
        :raises SigmaValueError: for a rule that says something that a .conf file can't hold.
        """
        title = _one_line(rule.title)
        name = f"Keywatch - {title}"
        look_back = self.schedule.look_back(rule)
        level = level_of(rule).name.lower()
        fields = list(dict.fromkeys([*_group(rule), *rule.fields]))
        settings = {
            "description": _one_line(rule.description or title),
            "search": self.finalize_query_spl(rule, query, index, state),
            "enableSched": "1",
            "disabled": "0",
            "cron_schedule": cron(self.schedule.interval),
            "dispatch.earliest_time": f"-{look_back // 60}m@m",
            "dispatch.latest_time": "now",
            # Continuous scheduling: a run that the scheduler could not start in time is made up for, not skipped.
            "realtime_schedule": "0",
            "counttype": "number of events",
            "relation": "greater than",
            "quantity": "0",
            "alert.track": "1",
            "alert.digest_mode": "0",
            "alert.severity": str(_LEVELS.index(level) + 1),
            "alert.suppress": "1",
            "alert.suppress.fields": ",".join(map(_plain, _group(rule))),
            "alert.suppress.period": f"{self.schedule.suppression(rule)}s",
            "action.correlationsearch.enabled": "1",
            "action.correlationsearch.label": name,
            "action.correlationsearch.annotations": json.dumps({"mitre_attack": _techniques(rule)}),
            "action.notable": "1",
            "action.notable.param.rule_title": f"{title}: {_token(_who(rule))}",
            "action.notable.param.rule_description": _one_line(rule.description or title),
            "action.notable.param.security_domain": "threat",
            "action.notable.param.severity": level,
            "action.notable.param.nes_fields": ",".join(map(_plain, fields)),
            "action.notable.param.next_steps": json.dumps(
                {"version": 1, "data": "\n\n".join(f"{title}\n{text}" for title, text in guide_steps([rule], _token))},
                ensure_ascii=False,
            ),
            "action.notable.param.drilldown_searches": json.dumps(list(_drilldowns(rule, state))),
            "action.risk": "1",
            "action.risk.param._risk": json.dumps(_risk(rule, 20 * _LEVELS.index(level))),
            "action.risk.param._risk_message": f"{title}: {_token(_who(rule))}",
            "action.risk.param._risk_score": "0",
            "action.risk.param.verbose": "0",
        }
        try:
            return conf_stanza(name, settings)
        except ValueError as error:
            raise SigmaValueError(f"rule '{rule.title}': {error}", source=rule.source) from error

    finalize_query_app = finalize_query_savedsearches

    def finalize_output_savedsearches(self, queries: list[str]) -> str:
        """Write savedsearches.conf."""
        return "\n".join(queries)

    def finalize_output_app(self, queries: list[str]) -> bytes:
        """Pack the app, the same bytes for the same searches."""
        source = self.last_processing_pipeline.state["source"]
        return _archive(
            {
                "default/app.conf": "\n".join(
                    [
                        conf_stanza("install", {"is_configured": "0", "state": "enabled", "build": "1"}),
                        conf_stanza("package", {"id": _APP, "check_for_updates": "0"}),
                        conf_stanza("id", {"name": _APP, "version": _VERSION}),
                        conf_stanza("ui", {"is_visible": "0", "label": "Keywatch"}),
                        conf_stanza(
                            "launcher", {"author": "Keywatch", "description": _DESCRIPTION, "version": _VERSION}
                        ),
                    ]
                ),
                "default/macros.conf": conf_stanza(_MACRO, {"definition": source, "iseval": "0"}),
                "default/savedsearches.conf": self.finalize_output_savedsearches(queries),
                "metadata/default.meta": "[]\naccess = read : [ * ], write : [ admin, sc_admin ]\nexport = system\n",
                "README.txt": _README,
                "app.manifest": json.dumps(_MANIFEST, indent=2) + "\n",
            }
        )


def cron(interval: int) -> str:
    """Return the cron line of an interval in seconds: minutes that divide the hour, hours that divide the day."""
    minutes = interval // 60
    if minutes < 60:  # noqa: PLR2004
        return f"*/{minutes} * * * *"
    hours = minutes // 60
    return f"0 */{hours} * * *" if hours < 24 else "0 0 * * *"  # noqa: PLR2004


def conf_stanza(name: str, settings: dict[str, str]) -> str:
    r"""Write a stanza of a .conf file. A line of a value that is continued ends in a backslash.

    :raises ValueError: for a value that would not be read back as it is.
    """
    lines = [f"[{name.replace('[', '(').replace(']', ')')}]"]
    for key, value in {"name": name, **settings}.items():
        if value.endswith("\\") or re.search(r"[\x00-\x09\x0b-\x1f\x7f\x85\u2028\u2029]", value):
            raise ValueError(f"{key}: a control character, or a backslash at the end, can't be said in a .conf file")
        if key in settings:
            lines.append(f"{key} = " + " \\\n".join(value.split("\n")))
    return "\n".join(lines) + "\n"


_README = f"""Keywatch: detections of stolen AWS keys and abused Bedrock models in CloudTrail.

Set the macro {_MACRO} (Settings > Advanced search > Search macros) to the index and sourcetype of your CloudTrail.
The saved searches are enabled and run on their schedule. With Enterprise Security they raise notables and risk;
without it, triggered alerts.
"""

_VERSION = "0.1.0"
_DESCRIPTION = "Detections of stolen AWS keys and abused Bedrock models in CloudTrail"
_MANIFEST = {
    "schemaVersion": "2.0.0",
    "info": {
        "title": "Keywatch",
        "id": {"group": None, "name": _APP, "version": _VERSION},
        "author": [{"name": "Keywatch", "email": None, "company": None}],
        "description": _DESCRIPTION,
    },
    "supportedDeployments": ["_standalone", "_distributed", "_search_head_clustering"],
    "targetWorkloads": ["_search_heads"],
}


def _archive(files: dict[str, str]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        folders = sorted({f"{_APP}/{name.rpartition('/')[0]}".rstrip("/") for name in files} | {_APP})
        for folder in folders:
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(entry)
        for name, text in sorted(files.items()):
            content = text.encode()
            entry = tarfile.TarInfo(f"{_APP}/{name}")
            entry.size, entry.mode = len(content), 0o644
            archive.addfile(entry, io.BytesIO(content))
    return gzip.compress(buffer.getvalue(), mtime=0)


def _source(state: ConversionState) -> str:
    """Return the terms that find CloudTrail: index and sourcetype, or the app's macro that stands for them."""
    return str(state.processing_state.get("macro") or state.processing_state["source"])


def _group(rule: Rule) -> list[str]:
    """Return the fields that tell one alert from another."""
    return list(rule.group_by or ()) if isinstance(rule, SigmaCorrelationRule) else ["eventID"]


def _who(rule: Rule) -> str:
    """Return the field that names the principal."""
    return _group(rule)[0] if isinstance(rule, SigmaCorrelationRule) else "userIdentity.arn"


def _plain(field: str) -> str:
    """Return the name that a field has in an alert."""
    return field.replace(".", "_")


def _token(field: str) -> str:
    return f"${_plain(field)}$"


def _risk(rule: Rule, score: int) -> list[dict[str, str | int]]:
    objects: list[dict[str, str | int]] = [
        {"risk_object_field": _plain(_who(rule)), "risk_object_type": "user", "risk_score": score}
    ]
    if "sourceIPAddress" in rule.fields:
        objects.append({"threat_object_field": "sourceIPAddress", "threat_object_type": "ip_address"})
    return objects


def _techniques(rule: Rule) -> list[str]:
    return [
        tag.name.upper() for tag in rule.tags if tag.namespace == "attack" and re.fullmatch(r"t\d+(\.\d+)?", tag.name)
    ]


def _drilldowns(rule: Rule, state: ConversionState) -> Iterable[dict[str, str]]:
    for name, field in (
        ("Everything this principal did", "userIdentity.arn"),
        ("Everything from this address", "sourceIPAddress"),
    ):
        if field in (*_group(rule), *rule.fields):
            yield {
                "name": name,
                "search": f'{_source(state)} {field}="{_token(field)}"',
                "earliest_offset": "$info_min_time$",
                "latest_offset": "$info_max_time$",
            }


def _one_line(text: str) -> str:
    return " ".join(text.split())
