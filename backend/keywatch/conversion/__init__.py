"""From rules, settings and filters to the artefacts that a SIEM imports."""
