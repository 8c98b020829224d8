"""The allocator's thresholds."""

import os
import platform
import subprocess
import sys

import pytest

ASK = "from salience.engine.query import allocator; print(allocator.keep_freed_memory()); allocator.release_memory()"


@pytest.mark.parametrize("wish", ["", "system"])
def test_memory_is_kept_where_there_is_glibc_unless_the_owner_of_the_process_says_no(wish: str) -> None:
    """The thresholds are the process's, so its owner has the last word; elsewhere there are none to set."""
    kept = platform.libc_ver()[0] == "glibc" and wish != "system"
    asked = [sys.executable, "-c", ASK]
    done = subprocess.run(asked, env=os.environ | {"SALIENCE_MALLOC": wish}, capture_output=True, text=True, check=True)  # noqa: S603  # our own words
    assert done.stdout.strip() == str(kept)
