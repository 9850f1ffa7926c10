"""Splunk's search language. An alert's field names have no dots (userIdentity_arn)."""

from __future__ import annotations

import re
from typing import Any, ClassVar, cast

from sigma.backends.keywatch._artefact import ArtefactBackend
from sigma.backends.keywatch._correlation import Correlation, Rule
from sigma.backends.keywatch.splunk.app import APP, MACRO, app_files, archive
from sigma.backends.keywatch.splunk.computed import comparing, matching, referring
from sigma.backends.keywatch.splunk.saved_search import group, plain, source, stanza, who
from sigma.backends.keywatch.splunk.sliding import SplunkSliding
from sigma.backends.splunk import SplunkBackend
from sigma.conditions import ConditionAND, ConditionFieldEqualsValueExpression, ConditionNOT, ConditionOR
from sigma.conversion.deferred import DeferredQueryExpression
from sigma.conversion.state import ConversionState
from sigma.correlations import SigmaCorrelationRule
from sigma.pipelines.keywatch._fields import cloudtrail
from sigma.processing.pipeline import ProcessingItem, ProcessingPipeline
from sigma.processing.transformations import SetStateTransformation
from sigma.types import (
    SigmaCasedString,
    SigmaCompareExpression,
    SigmaFieldReference,
    SigmaRegularExpression,
    SigmaString,
    SigmaType,
    SpecialChars,
)

#: A text that the search command takes for a network, and compares with the addresses in it.
_NETWORK = re.compile(r"[0-9a-f.:]+/[0-9]+", re.IGNORECASE)
#: Where a conversion notes the objects whose texts it needs, and the tests, by their names.
_OBJECTS, _TESTS = "keywatch_objects", "keywatch_tests"
#: Where it notes that it writes what goes in front of them: a search that finds no less.
_EARLY = "keywatch_early"


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
        "savedsearches": "append it to local/savedsearches.conf of an app of yours and reload",
        "spl": "paste a file into the search bar, time range at least the window",
        "app": f"Apps > Manage Apps > Install app from file: {APP}.tar.gz; set the macro {MACRO}",
    }
    output_format_processing_pipeline: ClassVar[dict[str, ProcessingPipeline]] = {
        **{name: ProcessingPipeline() for name in formats},
        "app": ProcessingPipeline(items=[ProcessingItem(SetStateTransformation("macro", f"`{MACRO}`"))]),
    }
    correlation_methods: ClassVar[dict[str, str]] = {
        "sliding": "Exact sliding windows with streamstats",
        **SplunkBackend.correlation_methods,
    }
    #: What the macro of the app stands for, noted with each detection that is made: the last rule may be refused.
    _source: str = ""
    # The search command takes OR before AND, and eval the other way round: nobody should have to know.
    parenthesize = True

    def convert_condition_field_eq_val(self, cond: ConditionFieldEqualsValueExpression, state: ConversionState) -> Any:
        """Compare a field with a value, after what that needs is made: the text of an object, or a test."""
        value = cond.value
        objects, tests = _noted(state)
        is_object = cond.field in cloudtrail()["objects"]
        if is_object:
            objects[cond.field] = None
        if test := _test(cond.field, value):
            name = tests.setdefault(test, f"test_{len(tests) + 1}")
            return "*" if _EARLY in state.processing_state else f'{name}="true"'
        if is_object and _EARLY in state.processing_state:
            return "*"
        return super().convert_condition_field_eq_val(cond, state)

    def convert_condition_not(self, cond: ConditionNOT, state: ConversionState) -> Any:
        """Negate a condition; in front of what it needs nothing is left out by it."""
        asked = ConversionState(processing_state={_EARLY: True})
        negated = super().convert_condition_not(cond, state if _EARLY not in state.processing_state else asked)
        return "*" if _EARLY in state.processing_state and any(_noted(asked)) else negated

    def decide_convert_condition_as_in_expression(
        self, cond: ConditionOR | ConditionAND, state: ConversionState
    ) -> bool:
        """Write a list as IN, but for values that must be compared one by one."""
        return super().decide_convert_condition_as_in_expression(cond, state) and not any(
            arg.field in cloudtrail()["objects"] or _test(arg.field, arg.value)
            for arg in cast(list[ConditionFieldEqualsValueExpression], cond.args)
        )

    def finish_query(
        self, rule: Rule, query: str | DeferredQueryExpression, state: ConversionState
    ) -> str | DeferredQueryExpression:
        """Put the index and the sourcetype in front, or the macro that stands for them; and what the search needs."""
        query = super().finish_query(rule, query, state)
        if isinstance(rule, SigmaCorrelationRule):
            return query
        objects, tests = _noted(state)
        first = source(state.processing_state)
        if not objects and not tests:
            return f"{first} {query}"
        [condition] = rule.detection.parsed_condition
        early = self.convert_condition(condition.parsed, ConversionState(processing_state={_EARLY: True}))
        made = "".join(map(_text_of, objects))
        made += "".join(f'\n| eval {name}=if({test}, "true", "false")' for test, name in tests.items())
        return f"{first} {early}{made}\n| search {query}"

    def finalize_query_spl(self, rule: Rule, query: str, index: int, state: ConversionState) -> str:
        """Return the search; that of a single event shows its evidence. The last command gives plain names."""
        correlation = Correlation.of(rule)
        shown = dict.fromkeys([*group(rule), who(rule), *rule.fields, *(correlation.evidence if correlation else ())])
        names = {name: self.escape_and_quote_field(name) for name in shown}
        if correlation is None:
            query += "".join(_text_of(name) for name in names if name in cloudtrail()["objects"])
            query += f"\n| table _time, {', '.join(names.values())}"
        renames = [f"{written} AS {plain(name)}" for name, written in names.items() if "." in name]
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
        detection = self.detection(rule, query)
        self._source = detection.settings["source"]
        return stanza(detection, self.finalize_query_spl(rule, query, index, state))

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
        return app_files(self.finalize_output_savedsearches(queries), self._source)


def _noted(state: ConversionState) -> tuple[dict[str, None], dict[str, str]]:
    noted = cast(dict[str, Any], state.processing_state)
    return noted.setdefault(_OBJECTS, {}), noted.setdefault(_TESTS, {})


def _test(field: str, value: SigmaType) -> str | None:
    """Return the expression of a condition that the search command can't say; None for one that it can."""
    if isinstance(value, SigmaRegularExpression | SigmaCasedString):
        return matching(field, value)
    if isinstance(value, SigmaString):
        text = "".join(part for part in value.s if isinstance(part, str))
        unsaid = SpecialChars.WILDCARD_SINGLE in value.s or "*" in text or "`" in text or _NETWORK.fullmatch(text)
        return matching(field, value) if unsaid else None
    if isinstance(value, SigmaCompareExpression):
        return comparing(field, KeywatchSplunkBackend.compare_operators[value.op], value.number)
    return referring(field, value) if isinstance(value, SigmaFieldReference) else None


def _text_of(name: str) -> str:
    """Return the commands that make a field of the text of an object, with its quotes as they are in its texts."""
    return f'\n| spath path={name} output={name} | eval {name}=replace({name}, "\\\\\\\\\\"", "\\"")'
