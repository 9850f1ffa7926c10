"""Elasticsearch: ES|QL with sliding windows, Kibana detection rules, and Lucene for rules of a single event."""

from .esql import KeywatchESQLBackend
from .lucene import KeywatchLuceneBackend

__all__ = ["KeywatchESQLBackend", "KeywatchLuceneBackend"]
