"""DuckDB: what `keywatch hunt` runs."""

from .query import KeywatchDuckDBBackend, KeywatchGridBackend

__all__ = ["KeywatchDuckDBBackend", "KeywatchGridBackend"]
