"""What the tests share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from engines import elastic


@pytest.fixture
def cloudtrail_samples() -> Path:
    """Return the folder of real CloudTrail records that KEYWATCH_SAMPLES names."""
    folder = os.environ.get("KEYWATCH_SAMPLES")
    if not folder:
        pytest.skip("KEYWATCH_SAMPLES names no folder of real CloudTrail records")
    return Path(folder)


@pytest.fixture(scope="session")
def elasticsearch() -> Iterator[elastic.Node]:
    """Return a real node, started once a run."""
    if missing := elastic.missing():
        reason = (
            f"no {', '.join(missing)}: a JDK 17 and Maven run the Elasticsearch tests (apt install default-jdk maven)"
        )
        if os.environ.get("KEYWATCH_NO_SKIP"):
            pytest.fail(reason)
        pytest.skip(reason)
    with elastic.running() as node:
        yield node
