"""Athena; and CloudTrail Lake and Security Lake, which are queried with the same SQL over other schemas."""

from .lake import KeywatchLakeBackend
from .query import KeywatchAthenaBackend
from .securitylake import KeywatchSecurityLakeBackend

__all__ = ["KeywatchAthenaBackend", "KeywatchLakeBackend", "KeywatchSecurityLakeBackend"]
