"""From CloudTrail records to alerts: finding and reading them, the rules over them, thresholds, the report."""
