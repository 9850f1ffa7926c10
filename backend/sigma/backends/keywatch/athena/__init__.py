"""Athena, and CloudTrail Lake, which is queried with the same SQL over another schema."""

from .lake import KeywatchLakeBackend
from .query import KeywatchAthenaBackend

__all__ = ["KeywatchAthenaBackend", "KeywatchLakeBackend"]
