"""Which pictures a step of a training sees: computed from the seed and the step's number, never kept."""

from __future__ import annotations

from typing import NamedTuple

import torch

from salience.engine import chance


class Visit(NamedTuple):
    """A picture that a step sees."""

    place: int  # how many were seen before it: the address of its chances
    number: int  # which picture


def visits(step: int, batch: int, count: int, seed: int) -> list[Visit]:
    """Say which pictures a step sees: every epoch is an order of all of them, and the epochs follow each other."""
    places = range(step * batch, (step + 1) * batch)
    orders = {epoch: order(count, seed, epoch) for epoch in {place // count for place in places}}
    return [Visit(place, orders[place // count][place % count]) for place in places]


def order(count: int, seed: int, epoch: int) -> list[int]:
    """Shuffle the pictures of an epoch."""
    found: list[int] = torch.randperm(count, generator=chance.generator(seed, "order", epoch)).tolist()
    return found
