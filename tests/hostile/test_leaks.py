"""Many calls leave nothing behind: `python -m benchmarks.leaks` makes ten thousand of each kind, this a few."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import leaks


@pytest.mark.parametrize("name", list(leaks.make_deeds(Path())))
def test_calls_leave_no_tensor_hook_thread_or_descriptor(name: str, tmp_path: Path) -> None:
    """What is alive after the second call is alive after the sixth, and nothing else."""
    deed = leaks.make_deeds(tmp_path)[name]
    deed(leaks.toy.load("colour", size=leaks.SIDE))  # fonts and modules are opened once
    after = [{what: count[what] for what in leaks.COUNTED} for count in leaks.count_over(deed, 6)]
    assert after[1:] == after[:1] * 2
