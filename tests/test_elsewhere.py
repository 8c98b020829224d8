"""Everything runs on a device beside the CPU, as the images and the weights lie there: see `tests.elsewhere`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path


def test_methods_and_measures_do_elsewhere_what_they_do_here() -> None:
    """No tensor of one device meets one of another, and the figures are the same."""
    root = Path(__file__).parents[1]
    done = subprocess.run([sys.executable, "-m", "tests.elsewhere"], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    told = json.loads(done.stdout)
    assert len(told) > 80
    assert {name: problem for name, problem in told.items() if problem} == {}
