"""The pack's backends, as sigma-cli discovers them."""

from .duckdb import KeywatchDuckDBBackend
from .elasticsearch import KeywatchESQLBackend, KeywatchLuceneBackend
from .splunk import KeywatchSplunkBackend

__all__ = ["KeywatchDuckDBBackend", "KeywatchESQLBackend", "KeywatchLuceneBackend", "KeywatchSplunkBackend"]
