"""The targets: one line each."""

from __future__ import annotations

from dataclasses import dataclass
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from sigma.backends.keywatch._artefact import ArtefactBackend
    from sigma.processing.pipeline import ProcessingPipeline


@dataclass(frozen=True)
class Target:
    """A SIEM: its pipeline and its backends, by name, so that only the one that is used is imported."""

    name: str

    pipeline_name: str
    backend_names: tuple[str, ...]

    @property
    def pipeline(self) -> Callable[..., ProcessingPipeline]:
        """The function that builds the pipeline; its parameters are the target's settings."""
        build: Callable[..., ProcessingPipeline] = resolve_name(f"sigma.pipelines.keywatch.{self.pipeline_name}")
        return build

    @property
    def formats(self) -> dict[str, type[ArtefactBackend]]:
        """Format → the backend that writes it. The first is the default."""
        backends: list[Any] = [resolve_name(f"sigma.backends.keywatch.{name}") for name in self.backend_names]
        return {name: backend for backend in backends for name in backend.files}


TARGETS = {
    target.name: target
    for target in (
        Target("splunk", "splunk:cloudtrail_splunk", ("splunk:KeywatchSplunkBackend",)),
        Target(
            "elasticsearch",
            "elastic:cloudtrail_elastic",
            ("elasticsearch:KeywatchESQLBackend", "elasticsearch:KeywatchLuceneBackend"),
        ),
        Target("opensearch", "opensearch:cloudtrail_opensearch", ("opensearch:KeywatchOpenSearchBackend",)),
        Target("sentinel", "sentinel:cloudtrail_sentinel", ("sentinel:KeywatchSentinelBackend",)),
        Target("athena", "athena:cloudtrail_athena", ("athena:KeywatchAthenaBackend", "athena:KeywatchLakeBackend")),
        Target("datadog", "datadog:cloudtrail_datadog", ("datadog:KeywatchDatadogBackend",)),
        Target("duckdb", "raw:cloudtrail_raw", ("duckdb:KeywatchDuckDBBackend",)),
    )
}
