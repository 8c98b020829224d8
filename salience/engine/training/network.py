"""A network that turns features into a map a class, in one pass."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from salience.engine import seeding

Maps = Float[Tensor, "n k y x"]


class Branch(nn.Module):
    """What is done to the features of one layer: ReLU(BN(1×1 convolution) + the features).

    >>> Branch(8)(torch.rand(1, 8, 7, 7)).shape
    torch.Size([1, 8, 7, 7])
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mix = nn.Conv2d(channels, channels, 1)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, features: Float[Tensor, "n c y x"]) -> Float[Tensor, "n c y x"]:
        """Mix."""
        mixed: Tensor = self.norm(self.mix(features)) + features
        return mixed.relu()


class Attention(nn.Module):
    """A branch a layer, and a fuser that weighs all of their channels, a row a class.

    Concatenate, enlarge and weigh is what is meant. A weighted sum and a bilinear enlargement may change places, so each
    branch is weighed at its own size and what is enlarged are the few maps of the classes asked for.

    >>> Attention((8, 16), 10)([torch.rand(1, 8, 14, 14), torch.rand(1, 16, 7, 7)], torch.tensor([3, 5])).shape
    torch.Size([1, 2, 14, 14])
    """

    def __init__(self, channels: Sequence[int], classes: int, *, bias: bool = False) -> None:
        super().__init__()
        self.channels = tuple(channels)
        self.branches = nn.ModuleList(Branch(each) for each in channels)
        self.fuser = nn.Conv2d(sum(channels), classes, 1, bias=bias)

    def forward(self, features: Sequence[Tensor], rows: Int[Tensor, " k"]) -> Maps:
        """Return the raw maps of some classes, at the size of the first layer."""
        parts = self.fuser.weight[rows].split(self.channels, dim=1)
        size = features[0].shape[-2:]
        total: Tensor | None = None
        for branch, part, each in zip(self.branches, parts, features, strict=True):
            small = functional.conv2d(branch(each), part)
            if small.shape[-2:] != size:
                small = functional.interpolate(small, size=size, mode="bilinear", align_corners=False)
            total = small if total is None else total + small
        assert total is not None  # noqa: S101  # a source has at least one layer
        return total if self.fuser.bias is None else total + self.fuser.bias[rows, None, None]


def make_network(channels: Sequence[int], classes: int, *, bias: bool = False, seed: int = 0) -> Attention:
    """Make the network with PyTorch's own first weights, by seed.

    >>> one, other = make_network((8,), 10, seed=1), make_network((8,), 10, seed=1)
    >>> torch.equal(one.fuser.weight, other.fuser.weight)
    True
    """
    with preserve_random_state():
        torch.manual_seed(seeding.generator(seed, "attention").initial_seed())
        return Attention(channels, classes, bias=bias)


@contextmanager
def preserve_random_state() -> Iterator[None]:
    """Leave the process's random state as it is.

    >>> state = torch.get_rng_state()
    >>> with preserve_random_state():
    ...     noise = torch.rand(3)
    >>> torch.equal(torch.get_rng_state(), state)
    True
    """
    with torch.random.fork_rng(devices=[]):
        yield
