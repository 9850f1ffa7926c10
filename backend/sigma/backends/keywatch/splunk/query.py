"""Splunk's search language. An alert's field names have no dots (userIdentity_arn)."""

from __future__ import annotations

from typing import Any, ClassVar, cast

from sigma.backends.keywatch._artefact import ArtefactBackend
from sigma.backends.keywatch._correlation import Correlation, Rule
from sigma.backends.keywatch.splunk.app import APP, MACRO, app_files, archive
from sigma.backends.keywatch.splunk.saved_search import group, plain, source, stanza, who
from sigma.backends.keywatch.splunk.sliding import SplunkSliding
from sigma.backends.splunk import SplunkBackend
from sigma.conditions import ConditionFieldEqualsValueExpression
from sigma.conversion.deferred import DeferredQueryExpression
from sigma.conversion.state import ConversionState
from sigma.correlations import SigmaCorrelationRule
from sigma.exceptions import SigmaFeatureNotSupportedByBackendError
from sigma.pipelines.keywatch._fields import cloudtrail
from sigma.processing.pipeline import ProcessingItem, ProcessingPipeline
from sigma.processing.transformations import SetStateTransformation
from sigma.types import SigmaString, SpecialChars

#: Where a conversion notes the objects whose text it needs.
_OBJECTS = "keywatch_objects"


class KeywatchSplunkBackend(ArtefactBackend, SplunkSliding, SplunkBackend):
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
        "app": (f"{APP}.tar.gz",),
    }
    import_steps: ClassVar[dict[str, str]] = {
        "savedsearches": "append it to local/savedsearches.conf of an app of yours and reload (README: Splunk)",
        "spl": "paste a file into the search bar, time range at least the window (README: Splunk)",
        "app": f"Apps > Manage Apps > Install app from file: {APP}.tar.gz; set the macro {MACRO} (README: Splunk)",
    }
    output_format_processing_pipeline: ClassVar[dict[str, ProcessingPipeline]] = {
        **{name: ProcessingPipeline() for name in formats},
        "app": ProcessingPipeline(items=[ProcessingItem(SetStateTransformation("macro", f"`{MACRO}`"))]),
    }
    correlation_methods: ClassVar[dict[str, str]] = {
        "sliding": "Exact sliding windows with streamstats",
        **SplunkBackend.correlation_methods,
    }
    # The search command takes OR before AND, and eval the other way round: nobody should have to know.
    parenthesize = True

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

    def convert_condition_field_eq_val(self, cond: ConditionFieldEqualsValueExpression, state: ConversionState) -> Any:
        """Compare a field with a value; note the objects whose text is compared."""
        if cond.field in cloudtrail()["objects"]:
            noted = cast(dict[str, Any], state.processing_state).setdefault(_OBJECTS, [])
            noted.append(cond.field)
        return super().convert_condition_field_eq_val(cond, state)

    def finish_query(
        self, rule: Rule, query: str | DeferredQueryExpression, state: ConversionState
    ) -> str | DeferredQueryExpression:
        """Put the index and the sourcetype in front, or the macro that stands for them."""
        query = super().finish_query(rule, query, state)
        if isinstance(rule, SigmaCorrelationRule):
            return query
        texts = "".join(map(_text_of, dict.fromkeys(state.processing_state.get(_OBJECTS, ()))))
        return f"{source(state.processing_state)}{texts} {'| search ' if texts else ''}{query}"

    def finalize_query_spl(self, rule: Rule, query: str, index: int, state: ConversionState) -> str:
        """Return the search; that of a single event shows its evidence. The last command gives plain names."""
        correlation = Correlation.of(rule)
        names = dict.fromkeys([*group(rule), who(rule), *rule.fields, *(correlation.evidence if correlation else ())])
        if correlation is None:
            query += "".join(f"\n{_text_of(name).strip()}" for name in names if name in cloudtrail()["objects"])
            query += f"\n| table _time, {', '.join(map(self.escape_and_quote_field, names))}"
        renames = [f"{self.escape_and_quote_field(name)} AS {plain(name)}" for name in names if "." in name]
        return f"{query}\n| rename {', '.join(renames)}" if renames else query

    finalize_query_default = finalize_query_spl

    def finalize_output_spl(self, queries: list[str]) -> str:
        """Put an empty line between searches."""
        return "\n\n".join(queries) + "\n"

    finalize_output_default = finalize_output_spl

    def finalize_query_savedsearches(self, rule: Rule, query: str, index: int, state: ConversionState) -> str:
        """Return the stanza of a saved search.

        :raises SigmaValueError: for a rule that says something that a .conf file can't hold.
        """
        return stanza(self.detection(rule, query), self.finalize_query_spl(rule, query, index, state))

    finalize_query_app = finalize_query_savedsearches

    def finalize_output_savedsearches(self, queries: list[str]) -> str:
        """Write savedsearches.conf."""
        return "\n".join(queries)

    def finalize_output_app(self, queries: list[str]) -> bytes:
        """Pack the app."""
        return archive(self._app_files(queries))

    def artefacts(self, queries: dict[str, list[Any]], output_format: str) -> dict[str, bytes]:
        """Return the files of a format; those of the app lie unpacked beside it too."""
        artefacts = super().artefacts(queries, output_format)
        if output_format == "app":
            artefacts |= self._app_files([query for of_rule in queries.values() for query in of_rule])
        return artefacts

    def _app_files(self, queries: list[str]) -> dict[str, bytes]:
        return app_files(self.finalize_output_savedsearches(queries), self.last_processing_pipeline.state["source"])


def _text_of(name: str) -> str:
    """Return the commands that make a field of the text of an object, with its quotes as they are in its texts."""
    return f' | spath path={name} output={name} | eval {name}=replace({name}, "\\\\\\"", "\\"")'
