"""The pack's backends, as sigma-cli discovers them."""

from .duckdb import KeywatchDuckDBBackend

__all__ = ["KeywatchDuckDBBackend"]
