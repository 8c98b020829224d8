"""Lots are passed side by side only where no pass of a network can leave anything for another."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from salience.boxes.torch import wrap
from salience.engine.query import torch_threads
from salience.engine.query.stateless import keeps_nothing
from tests.helpers import noise

seen: dict[str, Tensor] = {}
IMAGES = noise(16, 3, 8, 8, dtype=torch.float32)


class Memo:
    """Holds what a layer leaves for a later one."""

    mean: Tensor


class Keeps(nn.Module):
    """Puts something down, lets others go first, and takes it up again."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 3)

    def put(self, mean: Tensor) -> None:
        raise NotImplementedError

    def take(self) -> Tensor:
        raise NotImplementedError

    def forward(self, images: Tensor) -> Tensor:
        self.put(images.mean((2, 3)))
        time.sleep(0.001)
        return self.head(9 * self.take())


class InAnObject(Keeps):
    def __init__(self) -> None:
        super().__init__()
        self.memo = Memo()

    def put(self, mean: Tensor) -> None:
        self.memo.mean = mean

    def take(self) -> Tensor:
        return self.memo.mean


class InAGlobal(Keeps):
    def put(self, mean: Tensor) -> None:
        seen["mean"] = mean

    def take(self) -> Tensor:
        return seen["mean"]


class Deep(Keeps):
    def __init__(self) -> None:
        super().__init__()
        self.memo: dict[str, dict[str, Tensor]] = {"a": {}}

    def put(self, mean: Tensor) -> None:
        self.memo["a"]["mean"] = mean

    def take(self) -> Tensor:
        return self.memo["a"]["mean"]


def make_hooked() -> nn.Module:
    """Make a network of torch's parts with a hook that keeps what it sees."""
    kept: list[Tensor] = []
    net = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 3))
    net[0].register_forward_hook(lambda _module, _inputs, output: kept.append(output))
    return net


class Plain(nn.Module):
    """What most people write."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes, self.names = [1, 2], {"a": "b"}
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
        self.head = nn.Linear(4, 3)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(torch.flatten(nn.functional.adaptive_avg_pool2d(self.body(images), self.sizes[0]), 1))


@pytest.mark.parametrize("make", [InAnObject, InAGlobal, Deep], ids=lambda make: make.__name__)
def test_what_a_pass_keeps_is_no_other_pass_s(make: Callable[[], nn.Module], monkeypatch: pytest.MonkeyPatch) -> None:
    """Two lots at once read each other's, and the scores were wrong without a word."""
    torch.manual_seed(0)
    monkeypatch.setattr(torch_threads, "count", lambda: 2)
    box = wrap(make(), size=8, backend="exact")
    assert torch.equal(box(IMAGES), torch.cat([box(each) for each in IMAGES.split(4)]))


@pytest.mark.parametrize(
    ("make", "safe"),
    [(InAnObject, False), (InAGlobal, False), (Deep, False), (make_hooked, False), (Plain, True)],
    ids=lambda each: getattr(each, "__name__", str(each)),
)
def test_what_may_keep_something_is_told_from_what_cannot(make: Callable[[], Any], safe: bool) -> None:
    """What is not known to keep nothing is taken to keep something; what people usually write is known."""
    assert keeps_nothing(make()) is safe
