"""Threads that share a box: each gets the map that it gets alone, and the network is afterwards as it was."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor

import salience
from salience import registry
from salience.boxes.torch import TorchBox, wrap
from tests.boxes.test_torch import network
from tests.helpers import noise
from tests.test_every_method import ATTENTION, roster

SOME = ("rise", "sise", "grad-cam", "layer-cam", "ablation-cam", "smooth-grad")
PICTURES = noise(4, 3, 32, 32, dtype=torch.float32)


def make_box(*, training: bool) -> TorchBox:
    """Make a box of a network with a batch norm and a dropout."""
    return wrap(network().train(training), size=32, backend="exact")


def explain(box: TorchBox, method: Any, number: int) -> Tensor:
    """Explain one of the pictures, in batches of one size."""
    budget = None if isinstance(method, str) and method != "rise" else 256
    return salience.explain(box, PICTURES[number % 4], method, batch=16, budget=budget).saliency


def compare(box: TorchBox, method: Any, threads: int) -> list[bool]:
    """Explain the pictures one after the other, then in threads that start together; say which maps are the same."""
    alone = [explain(box, method, number) for number in range(4)]
    together = threading.Barrier(threads)

    def work(number: int) -> Tensor:
        together.wait()
        return explain(box, method, number)

    with ThreadPoolExecutor(threads) as pool:
        return [torch.equal(found, alone[number % 4]) for number, found in enumerate(pool.map(work, range(threads)))]


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", SOME)
def test_threads_that_share_a_box_get_the_maps_that_each_gets_alone(name: str, training: bool) -> None:
    """Bit for bit; modes and hooks are of the module, and another thread's pass would see them."""
    box = make_box(training=training)
    before = deepcopy(box.module.state_dict())
    assert compare(box, name, 4) == [True] * 4
    assert all(torch.equal(value, before[key]) for key, value in box.module.state_dict().items())
    assert box.module.training is training
    assert not any(each._forward_hooks or each._forward_pre_hooks for each in box.module.modules())


@pytest.mark.slow
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("method", roster())
def test_eight_threads_get_the_maps_that_each_gets_alone(method: Any, training: bool) -> None:
    """Every method."""
    assert registry.find_name(method) not in ATTENTION
    assert compare(make_box(training=training), method, 8) == [True] * 8
