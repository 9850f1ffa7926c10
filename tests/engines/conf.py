"""Splunk's .conf files, read by Splunk's own parser: AppInspect's."""

from __future__ import annotations

from splunk_appinspect.configuration_file import ConfigurationFile
from splunk_appinspect.configuration_parser import configuration_lexer, parse


def read_conf(text: str) -> dict[str, dict[str, str]]:
    """Return stanza → key → value."""
    conf = parse(text, ConfigurationFile(), configuration_lexer)
    assert not list(conf.errors)
    return {
        section.name: {option.name: option.value.replace(" \n", "\n") for option in section.settings()}
        for section in conf.sections()
    }
