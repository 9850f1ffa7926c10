"""The pack's pipelines, one for each schema of CloudTrail, as sigma-cli discovers them."""

from .athena import cloudtrail_athena
from .datadog import cloudtrail_datadog
from .elastic import cloudtrail_elastic
from .opensearch import cloudtrail_opensearch
from .raw import cloudtrail_raw
from .sentinel import cloudtrail_sentinel
from .splunk import cloudtrail_splunk

pipelines = {
    "cloudtrail_athena": cloudtrail_athena,
    "cloudtrail_datadog": cloudtrail_datadog,
    "cloudtrail_elastic": cloudtrail_elastic,
    "cloudtrail_opensearch": cloudtrail_opensearch,
    "cloudtrail_raw": cloudtrail_raw,
    "cloudtrail_sentinel": cloudtrail_sentinel,
    "cloudtrail_splunk": cloudtrail_splunk,
}

__all__ = [
    "cloudtrail_athena",
    "cloudtrail_datadog",
    "cloudtrail_elastic",
    "cloudtrail_opensearch",
    "cloudtrail_raw",
    "cloudtrail_sentinel",
    "cloudtrail_splunk",
]
