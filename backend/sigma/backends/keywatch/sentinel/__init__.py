"""Microsoft Sentinel: analytics rules over the table AWSCloudTrail, and the bare KQL."""

from .kql import KeywatchSentinelBackend

__all__ = ["KeywatchSentinelBackend"]
