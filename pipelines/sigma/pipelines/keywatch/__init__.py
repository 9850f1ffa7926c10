"""The pack's pipelines, one for each schema of CloudTrail, as sigma-cli discovers them."""

from .elastic import cloudtrail_elastic
from .raw import cloudtrail_raw
from .splunk import cloudtrail_splunk

pipelines = {
    "cloudtrail_elastic": cloudtrail_elastic,
    "cloudtrail_raw": cloudtrail_raw,
    "cloudtrail_splunk": cloudtrail_splunk,
}

__all__ = ["cloudtrail_elastic", "cloudtrail_raw", "cloudtrail_splunk"]
