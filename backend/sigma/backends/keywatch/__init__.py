"""The pack's backends, as sigma-cli discovers them: it looks into this module's namespace."""

from .athena import KeywatchAthenaBackend, KeywatchLakeBackend, KeywatchSecurityLakeBackend
from .datadog import KeywatchDatadogBackend
from .duckdb import KeywatchDuckDBBackend
from .elasticsearch import KeywatchESQLBackend, KeywatchLuceneBackend
from .opensearch import KeywatchOpenSearchBackend
from .sentinel import KeywatchSentinelBackend
from .splunk import KeywatchSplunkBackend

__all__ = [
    "KeywatchAthenaBackend",
    "KeywatchDatadogBackend",
    "KeywatchDuckDBBackend",
    "KeywatchESQLBackend",
    "KeywatchLakeBackend",
    "KeywatchLuceneBackend",
    "KeywatchOpenSearchBackend",
    "KeywatchSecurityLakeBackend",
    "KeywatchSentinelBackend",
    "KeywatchSplunkBackend",
]
