"""With SALIENCE_SHAPES=1 every shape annotation of the package is checked at each call: it takes three times as long.

`make test-all` does so, and the build for the core.
"""

from __future__ import annotations

import gc
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from jaxtyping import install_import_hook

from tests import checker

if os.environ.get("SALIENCE_SHAPES"):
    install_import_hook("salience", f"{checker.__name__}.checked")  # before the package is imported for the first time

os.environ["SALIENCE_CACHE"] = ""  # no test reads what another process kept, nor leaves anything behind

if TYPE_CHECKING:
    from salience.boxes.torch import TorchBox


SLOW = Path(__file__).with_name("slow.txt").read_text(encoding="utf-8").split("\n")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as slow what `slow.txt` names: a file's test, or one case of it."""
    named = {line for line in SLOW if line and not line.startswith("#")}
    for item in items:
        case = item.nodeid.removeprefix("tests/")
        if case in named or case.partition("[")[0] in named:
            item.add_marker(pytest.mark.slow)


def pytest_collection_finish() -> None:
    """Spare whoever collects garbage in a test what was imported, which stays."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Tiny tensors are quicker on one thread, and workers then do not fight for cores."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def data() -> Path:
    """Return the folder with trained weights and photographs; a test that needs it is skipped without it."""
    from benchmarks.data import find_folder

    found = find_folder()
    if found is None:
        pytest.skip("needs the data folder: set SALIENCE_DATA")
    return found


@pytest.fixture
def colour() -> TorchBox:
    """Return the box that finds red, green or blue."""
    from salience.boxes import toy

    return toy.load("colour")
