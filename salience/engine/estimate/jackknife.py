"""Groups of estimators, each with its share of the masks: stability, and an error that holds for dependent masks.

The jackknife leaves each group of masks out in turn. The spread of the results is the standard error of the whole,
however the masks of a group depend on each other and whatever is computed from the fold afterwards (Tukey 1958).
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
from salience.estimates import Estimate
from salience.types import Map, Masks, Scores

Choice = Bool[Tensor, " g"]
GROUPS, LEAST = 16, 8  # for the jackknife; with fewer than the least it is too uncertain itself


class Groups:
    """Estimators that take turns: a block of masks goes to the first, the next block to the second, and so on.

    Groups of even and of odd number are the halves that the stability compares. With two groups, the error is the
    estimator's own; with more, the jackknife's.

    >>> groups = Groups(lambda: moments.make_estimator("mean", (1, 2), 0.5, 0), block=1)
    >>> groups.add(torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]]), torch.tensor([0.9, 0.3]))
    >>> groups.estimate().saliency
    tensor([[0.9000, 0.3000]])
    """

    def __init__(self, make: Callable[[], Estimator], count: int = 2, block: int = BLOCK) -> None:
        self.estimators = [make() for _ in range(count)]
        self.count, self.block = 0, block
        self.whole: tuple[int, Estimator] | None = None  # of all masks so far, and their number

    def add(self, masks: Masks, scores: Scores) -> None:
        """Add a batch; which group gets a mask depends on its number alone."""
        start = 0
        while start < len(scores):
            end = min(len(scores), start + self.block - self.count % self.block)
            self.estimators[self.count // self.block % len(self.estimators)].add(masks[start:end], scores[start:end])
            self.count += end - start
            start = end

    @property
    def filled(self) -> Choice:
        """Say which groups have masks."""
        return torch.arange(len(self.estimators)) * self.block < self.count

    def merge_groups(self, chosen: Choice) -> Estimator:
        """Merge the groups chosen; where few are left out, take these from the merger of all."""
        missing = self.filled & ~chosen
        if 2 * int(missing.sum()) >= int(chosen.sum()):
            first, *others = self._select(chosen)
            return first.merge(*others)
        if self.whole is None or self.whole[0] != self.count:
            first, *others = self._select(chosen | missing)
            self.whole = self.count, first.merge(*others)
        return self.whole[1].without(*self._select(missing))

    def _select(self, chosen: Choice) -> list[Estimator]:
        return [each for each, wanted in zip(self.estimators, chosen.tolist(), strict=True) if wanted]

    def fold_halves(self) -> tuple[Map, Map] | None:
        """Fold the groups of even and of odd number; None while the first block fills."""
        even = torch.arange(len(self.estimators)) % 2 == 0
        if self.count <= self.block:
            return None
        return self.merge_groups(self.filled & even).map(), self.merge_groups(self.filled & ~even).map()

    def estimate(self) -> Estimate:
        """Fold all masks so far. Stability compares every fourth pixel of the halves' maps, which is plenty."""
        whole = self.merge_groups(self.filled | (torch.arange(len(self.estimators)) == 0))
        if len(self.estimators) > 2:
            error = estimate_error(lambda chosen: self.merge_groups(chosen).map(), self.filled)
        else:
            error = whole.error()
        halves = self.fold_halves()
        stability = None if halves is None else maps.rank_agreement(*(each[::4, ::4] for each in halves))
        return Estimate(whole.map().float(), None if error is None else error.float(), stability)


def group_estimators(
    name: moments.Name, size: tuple[int, int], keep: float, cells: int = 0, design: Design = "independent"
) -> Groups:
    """Group estimators of a name as the masks' design needs it: in halves where they have an error of their own.

    >>> len(group_estimators("centred", (4, 4), keep=0.5, design="sobol").estimators)
    16
    """
    make = partial(moments.make_estimator, name, size, keep, cells)
    if design == "independent" and name != "ridge":
        return Groups(make)
    return Groups(make, GROUPS, SOBOL if design == "sobol" else BLOCK)


def estimate_error(fold: Callable[[Choice], Map], filled: Choice) -> Map | None:
    """Return the standard error of `fold(filled)`, per pixel; None where there are fewer than `LEAST` groups.

    >>> estimate_error(lambda chosen: torch.arange(8.0)[chosen].mean().reshape(1, 1), torch.ones(8).bool())
    tensor([[0.8660]])
    """
    left = torch.nonzero(filled)[:, 0]
    if len(left) < LEAST:
        return None
    return standard_error(torch.stack([fold(filled & (torch.arange(len(filled)) != each)) for each in left]))


def standard_error(without: Tensor) -> Tensor:
    """Return the jackknife's standard error from the results without each of g groups: √((g − 1)/g · Σ (· − mean)²).

    >>> standard_error(torch.tensor([[1.0], [2.0], [3.0]]))
    tensor([1.1547])
    """
    squares = (without - without.mean(0)).square().mean(0)  # several times as quick as `var` along the first dimension
    error: Tensor = (squares * (len(without) - 1)).sqrt()
    return error
