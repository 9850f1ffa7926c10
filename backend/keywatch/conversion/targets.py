"""The targets: one line each."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from sigma.backends.keywatch._artefact import ArtefactBackend
    from sigma.processing.pipeline import ProcessingPipeline


@dataclass(frozen=True)
class Target:
    """A SIEM: its backends, each with the name of its pipeline.

    They are names, so that a command that converts nothing imports no backend. Importing one imports all: sigma-cli
    looks for them in the namespace of their package.
    """

    name: str
    backends: dict[str, str]
    #: The format that shows a query most plainly; none is the first.
    plain: str | None = None

    @property
    def formats(self) -> dict[str, type[ArtefactBackend]]:
        """Format → the backend that writes it. The first is the default."""
        return {output_format: backend for backend, _ in self._resolved() for output_format in backend.files}

    @property
    def settings(self) -> list[str]:
        """The names of the target's settings: the parameters of its pipelines."""
        return list(
            dict.fromkeys(name for _, build in self._resolved() for name in inspect.signature(build).parameters)
        )

    def pipeline(self, output_format: str, settings: dict[str, Any]) -> ProcessingPipeline:
        """Build the pipeline of a format.

        :param settings: the target's settings, of which it takes those that it knows.
        """
        [build] = (build for backend, build in self._resolved() if output_format in backend.files)
        known = inspect.signature(build).parameters
        return build(**{name: value for name, value in settings.items() if name in known})

    def _resolved(self) -> list[tuple[type[ArtefactBackend], Callable[..., ProcessingPipeline]]]:
        return [
            (resolve_name(f"sigma.backends.keywatch.{backend}"), resolve_name(f"sigma.pipelines.keywatch:{pipeline}"))
            for backend, pipeline in self.backends.items()
        ]


TARGETS = {
    target.name: target
    for target in (
        Target("splunk", {"KeywatchSplunkBackend": "cloudtrail_splunk"}, "spl"),
        Target(
            "elasticsearch",
            {
                "KeywatchESQLBackend": "cloudtrail_elasticsearch",
                "KeywatchLuceneBackend": "cloudtrail_lucene",
            },
            "esql",
        ),
        Target("opensearch", {"KeywatchOpenSearchBackend": "cloudtrail_opensearch"}, "dsl"),
        Target("sentinel", {"KeywatchSentinelBackend": "cloudtrail_sentinel"}, "kql"),
        Target("athena", {"KeywatchAthenaBackend": "cloudtrail_athena", "KeywatchLakeBackend": "cloudtrail_lake"}),
        Target("securitylake", {"KeywatchSecurityLakeBackend": "cloudtrail_securitylake"}),
        Target("datadog", {"KeywatchDatadogBackend": "cloudtrail_datadog"}),
        Target("duckdb", {"KeywatchDuckDBBackend": "cloudtrail_duckdb"}),
    )
}
