"""What the backends of the pack share besides queries: when a detection runs, and which files a format writes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import msgspec
from sigma.backends.keywatch._correlation import Correlation, Rule, id_of, level_of
from sigma.backends.keywatch._repairs import instead
from sigma.conditions import ConditionFieldEqualsValueExpression, ConditionOR
from sigma.conversion.base import TextQueryBackend
from sigma.conversion.state import ConversionState
from sigma.correlations import SigmaCorrelationTimespan
from sigma.exceptions import SigmaFeatureNotSupportedByBackendError
from sigma.pipelines.keywatch._pack import defaults
from sigma.processing.pipeline import ProcessingPipeline
from sigma.rule.attributes import SigmaLevel
from sigma.types import SigmaCIDRExpression, SigmaString

_SCHEDULE = defaults("schedule")


@dataclass(frozen=True)
class Schedule:
    """How often a detection runs, and how late its events may arrive. Seconds."""

    interval: int
    ingest_delay: int


@dataclass(frozen=True)
class Detection:
    """A converted rule, and what an artefact says of it besides its query."""

    rule: Rule
    query: Any
    schedule: Schedule
    #: What the pipeline says of the target: the index and the like.
    settings: Mapping[str, Any]

    @property
    def correlation(self) -> Correlation | None:
        """The view of a correlation; None for a rule of single events."""
        return Correlation.of(self.rule)

    @property
    def id(self) -> str:
        """The rule's id, or one made of its title."""
        return id_of(self.rule)

    @property
    def level(self) -> SigmaLevel:
        """The rule's level; medium for one that does not say."""
        return level_of(self.rule)

    @property
    def description(self) -> str:
        """The rule's description, or its title, in one line."""
        return one_line(self.rule.description or self.rule.title)

    @property
    def look_back(self) -> int:
        """The seconds that a run must look back, so that no run leaves a hole.

        An event that arrives `ingest_delay` late is first seen by a run up to `interval` after that, and the window
        that ends with it must still be seen whole.
        """
        reach = self.correlation.reach if self.correlation else 0
        return reach + self.schedule.interval + self.schedule.ingest_delay

    @property
    def suppression(self) -> int:
        """The seconds for which an alert holds back others of its group: as long as its events are looked at.

        A shorter time, such as the window, would raise the same alert again. The minute more is for an event on the
        edge of two runs, which both may see.
        """
        return self.look_back + 60


def json_text(document: Any, indent: int = 2) -> str:
    """Write a JSON document as the standard library does, in a tenth of its time; in one line if the indent is 0."""
    return msgspec.json.format(msgspec.json.encode(document), indent=indent).decode() + "\n"


def one_line(text: str) -> str:
    """Return a text with a space in place of each line break."""
    return " ".join(text.split())


class ArtefactBackend(TextQueryBackend):
    """A backend that writes files that a SIEM imports."""

    #: format → the files it is written to; {rule} stands for the name of a rule, and makes it one file a rule.
    files: ClassVar[dict[str, tuple[str, ...]]]
    #: format → one line that says how to import what was written.
    import_steps: ClassVar[dict[str, str]]

    def __init__(
        self,
        processing_pipeline: ProcessingPipeline | None = None,
        collect_errors: bool = False,
        interval: str = _SCHEDULE["interval"],
        ingest_delay: str = _SCHEDULE["ingest_delay"],
        **kwargs: Any,
    ) -> None:
        """Set up the backend.

        :param interval: time between two runs, as a Sigma timespan.
        :param ingest_delay: how late events may arrive; CloudTrail delivers within about 15 minutes.
        :raises sigma.exceptions.SigmaTimespanError: if one of them is no timespan.
        """
        super().__init__(processing_pipeline, collect_errors, **kwargs)
        self.schedule = Schedule(
            SigmaCorrelationTimespan(interval).seconds, SigmaCorrelationTimespan(ingest_delay).seconds
        )

    def detection(self, rule: Rule, query: Any) -> Detection:
        """Return what an artefact is made of."""
        return Detection(rule, query, self.schedule, self.last_processing_pipeline.state)

    def convert_condition_field_eq_val_cidr(
        self, cond: ConditionFieldEqualsValueExpression, state: ConversionState
    ) -> Any:
        """Spell an IPv4 network out as patterns, where the target has no expression for it.

        :raises SigmaFeatureNotSupportedByBackendError: there for IPv6, whose addresses have several spellings, and for
            all addresses, which are not told from names by a pattern.
        """
        if self.cidr_expression is None and isinstance(cond.value, SigmaCIDRExpression):
            network = cond.value.network
            if network.version == 6 or network.prefixlen == 0:  # noqa: PLR2004
                raise SigmaFeatureNotSupportedByBackendError(
                    f"field '{cond.field}': {self.name} matches networks by patterns, and has none for "
                    + ("IPv6 networks; match the beginnings of addresses" if network.prefixlen else "all addresses")
                )
            patterns = ConditionOR([instead(cond, cond.field, SigmaString(text)) for text in cond.value.expand()])
            if len(patterns.args) > 1 and not self.decide_convert_condition_as_in_expression(patterns, state):
                return self.convert_condition_group(patterns, state)  # pySigma, 2.0.1 too, leaves the brackets out
        return super().convert_condition_field_eq_val_cidr(cond, state)

    def artefacts(self, queries: dict[str, list[Any]], output_format: str) -> dict[str, bytes]:
        """Return the files that a format makes of converted rules: path → content.

        :param queries: name of a rule → its finished queries.
        """
        everything = [query for of_rule in queries.values() for query in of_rule]
        contents: dict[str, Any] = {}
        for path in self.files[output_format]:
            if "{rule}" in path:
                for name, of_rule in queries.items():
                    contents[path.format(rule=name)] = self.finalize(of_rule, output_format)
            else:
                contents[path] = self.finalize(everything, output_format)
        return {path: text.encode() if isinstance(text, str) else text for path, text in contents.items()}
