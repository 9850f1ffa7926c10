"""OpenSearch: monitors of its Alerting plugin, and the bare search."""

from .dsl import KeywatchOpenSearchBackend

__all__ = ["KeywatchOpenSearchBackend"]
