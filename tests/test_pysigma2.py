"""The pack under pySigma 2: the same bytes for every target, and what it has mended. So the move is a change of a pin.

The stock backends for Splunk and Elasticsearch ask for pySigma below 2, but run with it. `make .venv/.installed-dev`
installs it beside the one that is pinned.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from conftest import absent

TESTS = Path(__file__).parent
PYSIGMA2 = Path(sys.prefix) / "pysigma2"
#: Runs tests, after a look at which pySigma they get.
_RUN = """
import sys
from importlib.metadata import version
from pathlib import Path
import pytest
import sigma.collection
assert version("pysigma").startswith("2."), version("pysigma")
assert Path(sigma.collection.__file__).is_relative_to(sys.argv[1]), sigma.collection.__file__
sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", "-p", "no:xdist", *sys.argv[2:]]))
"""


def test_the_pack_converts_and_the_defects_are_those_that_the_page_lists() -> None:
    """Without what needs a node, what is about Python's sets, and the stock conversions, of which there are many."""
    if not PYSIGMA2.is_dir():
        absent("no pySigma 2, which make .venv/.installed-dev puts beside the one that is pinned")
    choice = ["test_golden.py", "test_stock.py", "-k", "not straddles and not same_bytes and not stock_backends"]
    environment = os.environ | {"PYTHONPATH": str(PYSIGMA2)}
    done = subprocess.run(
        [sys.executable, "-c", _RUN, str(PYSIGMA2), *choice],
        cwd=TESTS,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
