"""The pack's pipelines, one for each schema of CloudTrail, as sigma-cli discovers them."""

from .athena import cloudtrail_athena
from .datadog import cloudtrail_datadog
from .duckdb import cloudtrail_duckdb
from .elasticsearch import cloudtrail_elasticsearch
from .lake import cloudtrail_lake
from .lucene import cloudtrail_lucene
from .opensearch import cloudtrail_opensearch
from .securitylake import cloudtrail_securitylake
from .sentinel import cloudtrail_sentinel
from .splunk import cloudtrail_splunk

pipelines = {
    "cloudtrail_athena": cloudtrail_athena,
    "cloudtrail_datadog": cloudtrail_datadog,
    "cloudtrail_duckdb": cloudtrail_duckdb,
    "cloudtrail_elasticsearch": cloudtrail_elasticsearch,
    "cloudtrail_lake": cloudtrail_lake,
    "cloudtrail_lucene": cloudtrail_lucene,
    "cloudtrail_opensearch": cloudtrail_opensearch,
    "cloudtrail_securitylake": cloudtrail_securitylake,
    "cloudtrail_sentinel": cloudtrail_sentinel,
    "cloudtrail_splunk": cloudtrail_splunk,
    # Their names up to version 0.1.0.
    "cloudtrail_elastic": cloudtrail_elasticsearch,
    "cloudtrail_raw": cloudtrail_duckdb,
}

__all__ = [
    "cloudtrail_athena",
    "cloudtrail_datadog",
    "cloudtrail_duckdb",
    "cloudtrail_elasticsearch",
    "cloudtrail_lake",
    "cloudtrail_lucene",
    "cloudtrail_opensearch",
    "cloudtrail_securitylake",
    "cloudtrail_sentinel",
    "cloudtrail_splunk",
]
