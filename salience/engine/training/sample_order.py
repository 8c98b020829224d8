"""Which pictures a step of a training sees: computed from the seed and the step's number, never kept."""

from __future__ import annotations

from typing import NamedTuple

import torch

from salience.engine import seeding


class OrderedSample(NamedTuple):
    """A picture that a step sees.

    >>> OrderedSample(position=12, picture=2)
    OrderedSample(position=12, picture=2)
    """

    position: int  # how many were seen before it: the address of its random numbers
    picture: int  # which picture


def list_samples(step: int, batch: int, count: int, seed: int) -> list[OrderedSample]:
    """Say which pictures a step sees: every epoch is an order of all of them, and the epochs follow each other.

    >>> samples = list_samples(step=1, batch=2, count=4, seed=0)
    >>> [sample.position for sample in samples]
    [2, 3]
    """
    places = range(step * batch, (step + 1) * batch)
    orders = {epoch: shuffle_epoch(count, seed, epoch) for epoch in {place // count for place in places}}
    return [OrderedSample(place, orders[place // count][place % count]) for place in places]


def shuffle_epoch(count: int, seed: int, epoch: int) -> list[int]:
    """Shuffle the pictures of an epoch.

    >>> sorted(shuffle_epoch(4, seed=0, epoch=1))
    [0, 1, 2, 3]
    """
    found: list[int] = torch.randperm(count, generator=seeding.generator(seed, "order", epoch)).tolist()
    return found
