"""Estimators that share the masks between them: how far their maps agree, and an error that holds for dependent masks.

The jackknife leaves each group of masks out in turn. The spread of the results is the standard error of the whole,
whatever the masks of a group have to do with each other and whatever is made of the fold afterwards (Tukey 1958).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from jaxtyping import Bool
from torch import Tensor

from salience.engine import maps
from salience.engine.estimate import moments
from salience.engine.estimate.moments import Estimator
from salience.engine.perturb.designs import BLOCK, SOBOL, Design
from salience.types import Estimate, Map, Masks, Scores

Choice = Bool[Tensor, " g"]
GROUPS, LEAST = 16, 8  # for the jackknife; with fewer than the least it is too uncertain itself


class Groups:
    """Estimators that take turns: a block of masks goes to the first, the next block to the second, and so round.

    Those of even and those of odd number are the halves that the stability compares. With two, the error is the
    estimator's own; with more, the jackknife's.
    """

    def __init__(self, make: Callable[[], Estimator], count: int = 2, block: int = BLOCK) -> None:
        self.sides = [make() for _ in range(count)]
        self.count, self.block = 0, block
        self.whole: tuple[int, Estimator] | None = None  # of all that has been seen, and how many masks these were

    def add(self, masks: Masks, scores: Scores) -> None:
        """Take in a batch; who gets a mask depends on its number alone."""
        begin = 0
        while begin < len(scores):
            end = min(len(scores), begin + self.block - self.count % self.block)
            self.sides[self.count // self.block % len(self.sides)].add(masks[begin:end], scores[begin:end])
            self.count += end - begin
            begin = end

    @property
    def filled(self) -> Choice:
        """Tell who has masks."""
        return torch.arange(len(self.sides)) * self.block < self.count

    def merged(self, chosen: Choice) -> Estimator:
        """Return the estimator that has seen what those chosen have seen; where few are not, all less these."""
        missing = self.filled & ~chosen
        if 2 * int(missing.sum()) >= int(chosen.sum()):
            first, *others = self._some(chosen)
            return first.merge(*others)
        if self.whole is None or self.whole[0] != self.count:
            first, *others = self._some(chosen | missing)
            self.whole = self.count, first.merge(*others)
        return self.whole[1].without(*self._some(missing))

    def _some(self, chosen: Choice) -> list[Estimator]:
        return [each for each, wanted in zip(self.sides, chosen.tolist(), strict=True) if wanted]

    def halves(self) -> tuple[Map, Map] | None:
        """Fold those of even and those of odd number; None while the first block fills."""
        even = torch.arange(len(self.sides)) % 2 == 0
        if self.count <= self.block:
            return None
        return self.merged(self.filled & even).map(), self.merged(self.filled & ~even).map()

    def found(self) -> Estimate:
        """Fold what has been seen. Stability compares every fourth pixel of the halves' maps, which is plenty."""
        whole, jackknifed = self.merged(self.filled | (torch.arange(len(self.sides)) == 0)), len(self.sides) > 2
        error = estimate_error(lambda chosen: self.merged(chosen).map(), self.filled) if jackknifed else whole.error()
        halves = self.halves()
        stability = None if halves is None else maps.rank_agreement(*(each[::4, ::4] for each in halves))
        return Estimate(whole.map().float(), None if error is None else error.float(), stability)


def group_estimators(
    name: moments.Name, size: tuple[int, int], keep: float, cells: int = 0, design: Design = "independent"
) -> Groups:
    """Group estimators of a name as the masks' design needs it: in halves where they have an error of their own."""
    make = partial(moments.make_estimator, name, size, keep, cells)
    if design == "independent" and name != "ridge":
        return Groups(make)
    return Groups(make, GROUPS, SOBOL if design == "sobol" else BLOCK)


def estimate_error(fold: Callable[[Choice], Map], filled: Choice) -> Map | None:
    """Return the standard error of `fold(filled)`, per pixel; None where there are fewer than `LEAST` groups."""
    left = torch.nonzero(filled)[:, 0]
    if len(left) < LEAST:
        return None
    return standard_error(torch.stack([fold(filled & (torch.arange(len(filled)) != each)) for each in left]))


def standard_error(without: Tensor) -> Tensor:
    """Return the jackknife's standard error from what is found without each of g groups: √((g − 1)/g · Σ (· − mean)²)."""
    squares = (without - without.mean(0)).square().mean(0)  # several times as quick as `var` along the first dimension
    error: Tensor = (squares * (len(without) - 1)).sqrt()
    return error
