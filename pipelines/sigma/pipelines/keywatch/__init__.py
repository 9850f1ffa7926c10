"""The pack's pipelines, one for each schema of CloudTrail, as sigma-cli discovers them."""

from .raw import cloudtrail_raw
from .splunk import cloudtrail_splunk

pipelines = {"cloudtrail_raw": cloudtrail_raw, "cloudtrail_splunk": cloudtrail_splunk}

__all__ = ["cloudtrail_raw", "cloudtrail_splunk"]
