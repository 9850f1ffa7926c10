"""What the backends of the pack share besides queries: when a detection runs, and which files a format writes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from sigma.conditions import ConditionFieldEqualsValueExpression
from sigma.conversion.base import TextQueryBackend
from sigma.conversion.state import ConversionState
from sigma.correlations import SigmaCorrelationRule, SigmaCorrelationTimespan
from sigma.exceptions import SigmaFeatureNotSupportedByBackendError
from sigma.processing.pipeline import ProcessingPipeline
from sigma.rule import SigmaRule
from sigma.types import SigmaCIDRExpression


@dataclass(frozen=True)
class Schedule:
    """How often a detection runs, and how late its events may arrive. Seconds."""

    interval: int
    ingest_delay: int

    def look_back(self, rule: SigmaRule | SigmaCorrelationRule) -> int:
        """Return the seconds that a run must look back, so that no run leaves a hole.

        An event that arrives `ingest_delay` late is first seen by a run up to `interval` after that, and the window
        that ends with it must still be seen whole.
        """
        window = rule.timespan.seconds if isinstance(rule, SigmaCorrelationRule) else 0
        return window + self.interval + self.ingest_delay

    def suppression(self, rule: SigmaRule | SigmaCorrelationRule) -> int:
        """Return the seconds for which an alert holds back others of its group: as long as its events are looked at.

        A shorter time, such as the window, would raise the same alert again. The minute more is for an event on the
        edge of two runs, which both may see.
        """
        return self.look_back(rule) + 60


class ArtefactBackend(TextQueryBackend):
    """A backend that writes files that a SIEM imports."""

    #: format → the files it is written to; {rule} stands for the name of a rule, and makes it one file a rule (or a
    #: group of them, see `grouped`); a name that ends in / is a folder that the output, an archive, is unpacked into.
    files: ClassVar[dict[str, tuple[str, ...]]]
    #: format → one line that says how to import what was written.
    import_steps: ClassVar[dict[str, str]]

    def __init__(
        self,
        processing_pipeline: ProcessingPipeline | None = None,
        collect_errors: bool = False,
        interval: str = "15m",
        ingest_delay: str = "15m",
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
        return super().convert_condition_field_eq_val_cidr(cond, state)

    def grouped(self, queries: dict[str, list[Any]]) -> dict[str, list[Any]]:
        """Put queries together that are written into one file, keyed by the name that stands for {rule} in its name.

        :param queries: name of a rule → its finished queries.
        """
        return queries
