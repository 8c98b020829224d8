"""The allocator's thresholds."""

import os
import subprocess
import sys

import pytest

ASK = "from salience.engine import memory; print(memory.keep()); memory.release()"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere there is no glibc whose thresholds could be set")
@pytest.mark.parametrize(("wish", "kept"), [("", "True"), ("system", "False")])
def test_memory_is_kept_unless_the_owner_of_the_process_says_no(wish: str, kept: str) -> None:
    """The thresholds are the process's, so its owner has the last word."""
    asked = [sys.executable, "-c", ASK]
    done = subprocess.run(asked, env=os.environ | {"SALIENCE_MALLOC": wish}, capture_output=True, text=True, check=True)  # noqa: S603  # our own words
    assert done.stdout.strip() == kept
