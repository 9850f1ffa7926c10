"""What the tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture
def cloudtrail_samples() -> Path:
    """Return the folder of real CloudTrail records that KEYWATCH_SAMPLES names."""
    folder = os.environ.get("KEYWATCH_SAMPLES")
    if not folder:
        pytest.skip("KEYWATCH_SAMPLES names no folder of real CloudTrail records")
    return Path(folder)
