"""One seed gives one map, bit for bit: for any batch, any number of threads, in any process, in backend exact on a CPU."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from threading import get_ident

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import salience
from benchmarks import equality
from salience import registry
from salience.boxes.torch import wrap
from salience.engine.query import lots
from salience.types import BlackBox

QUICK = ("rise", "lime", "smooth-grad", "grad-cam", "recipro-cam")  # one of a kind; the rest are slow
METHODS = [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in registry.list_names("methods")]
BOX, make_transformer = equality.small(), cache(equality.small_transformer)
PICTURE = equality.picture(96)


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """Give torch one thread again."""
    yield
    torch.set_num_threads(1)


def explain(method: str, batch: int | None = None, threads: int = 1, box: BlackBox | None = None) -> Tensor:
    """Explain the picture in one way."""
    torch.set_num_threads(threads)
    few = equality.FEW.get(method, {}) | equality.TINY.get(method, {})
    few |= {"explainer": equality.make_explainer(BOX)} if method == "p-tame" else {}
    chosen = box or (make_transformer() if method in equality.ATTENTION else BOX)
    return salience.explain(chosen, PICTURE, method, target=7, batch=batch, **few).saliency


@pytest.mark.parametrize("method", METHODS)
def test_any_batch_and_number_of_threads_give_the_same_map(method: str) -> None:
    """Passes and sums are made in lots of a fixed size, each on one thread."""
    one = explain(method)
    assert torch.equal(one, explain(method, batch=5, threads=2))
    assert torch.equal(one, explain(method, batch=16, threads=3))


def test_another_process_gives_the_same_map(tmp_path: Path) -> None:
    """Nothing hangs on what a process did before."""
    some = ["rise", "smooth-grad"]
    file = tmp_path / "maps.npz"
    task = [sys.executable, "-m", "benchmarks.equality", "--boxes", "small", "--way", "batch 5", "--out", str(file)]
    folder = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    subprocess.run([*task, "--methods", ",".join(some)], check=True, cwd=folder, env=environment)  # noqa: S603  # our own
    found = np.load(file)
    assert [name for name in some if not np.array_equal(found[name], explain(name).numpy())] == []


class Remembering(nn.Module):
    """A network whose layers pass something on behind the back of its inputs and outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.skipped = equality.Small().eval(), torch.empty(0)

    def forward(self, images: Tensor) -> Tensor:
        """Keep a tensor, compute for a while, and add it."""
        self.skipped = images.mean((1, 2, 3))
        return self.net(images) + self.skipped[:, None] * torch.arange(100)


@pytest.mark.parametrize("method", ["smooth-grad", "layer-cam", pytest.param("rise", marks=pytest.mark.slow)])
def test_a_network_that_keeps_something_of_a_pass_gets_one_lot_after_the_other(method: str) -> None:
    """Another lot's thread would overwrite what a later layer reads."""
    torch.manual_seed(0)
    box = wrap(Remembering().eval(), size=96, backend="exact")
    assert torch.equal(explain(method, box=box), explain(method, batch=16, threads=3, box=box))


def test_helpers_compute_on_one_thread_with_the_callers_modes() -> None:
    """The number of threads, and whether gradients are kept, are set for each thread by itself."""
    torch.set_num_threads(3)

    def look(_: int) -> tuple[int, int, bool]:
        torch.ones(300, 300) @ torch.ones(300, 300)  # long enough for all to get a part
        return get_ident(), torch.get_num_threads(), torch.is_grad_enabled()

    with torch.no_grad():
        seen = lots.run_lots(nn.Identity(), look, range(200))
    assert {each[1:] for each in seen} == {(1, False)}
    assert torch.get_num_threads() == 3


def test_an_error_in_a_lot_reaches_the_caller() -> None:
    """Whichever thread had it."""
    torch.set_num_threads(2)

    def fail(part: int) -> int:
        if part == 5:
            raise ValueError("tired")
        return part

    with pytest.raises(ValueError, match="tired"):
        lots.run_lots(nn.Identity(), fail, range(8))
