"""Datadog Cloud SIEM: log search, and detection rules for its API and for Terraform."""

from .query import KeywatchDatadogBackend

__all__ = ["KeywatchDatadogBackend"]
