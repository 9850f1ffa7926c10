"""Splunk: exact sliding windows in SPL, saved searches with Enterprise Security's annotations, and an app of them."""

from .query import KeywatchSplunkBackend

__all__ = ["KeywatchSplunkBackend"]
