"""Stability. Alvarez-Melis and Jaakkola, On the Robustness of Interpretability Methods, ICML workshop WHI 2018."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, starmap
from statistics import fmean
from typing import ClassVar, Literal

import torch

from salience.case import Better, Case, Measured, Need
from salience.engine import chance, likeness, probe
from salience.types import Map


@dataclass(frozen=True)
class Stability:
    """Ask the method again, of an image that looks the same or with another seed: the map should stay.

    stability = mean over draws of |S(x + η) − S(x)| / |S(x)|,    η ~ N(0, σ²)

    "noise" is this, with 5 draws, σ = 0.05 where pixels are 0…1, and the target held fixed; lower is better.
    "noise-rank" takes Spearman's ρ of S(x + η) and S(x) in place of the relative change, for methods whose scale
    follows the score; higher is better. "seeds" leaves the image as it is and takes the mean ρ over the pairs of the
    maps of 3 seeds; higher is better, and it is 1 for a method without a seed.

    Not defined where a map is constant. Range: "noise" 0 and up, the others −1 to 1.
    Cost: the method's, 5 times, or 3 times for "seeds".

    Departs from the paper: it takes the mean over noise that is drawn, not the largest ratio in a neighbourhood.
    Noisy pixels may leave 0…1.
    """

    protocol: Literal["noise", "noise-rank", "seeds"] = "noise"  # what changes, and how the maps are compared
    draws: int | None = None  # noisy images, or seeds
    sigma: float = 0.05  # standard deviation of the noise
    seed: int = 0  # of the noise; the first seed for "seeds"
    needs: ClassVar[tuple[Need, ...]] = ("method",)

    def __post_init__(self) -> None:
        probe.expect_between("draws", self.draws, 2 if self.protocol == "seeds" else 1, None)
        probe.expect_between("sigma", self.sigma, 0, None, open_ends=True)

    @property
    def better(self) -> Better:
        """A change should be small, an agreement large."""
        return "lower" if self.protocol == "noise" else "higher"

    def __call__(self, case: Case) -> Measured:
        """Measure one case."""
        if self.protocol == "seeds":
            seeds = range(self.seed, self.seed + (self.draws or 3))
            found = [case.again(case.box, case.image, case.target, seed) for seed in seeds]
            values = list(starmap(likeness.between, combinations(found, 2)))
        elif self.protocol == "noise-rank":
            values = [likeness.between(case.saliency, each) for each in self._noisy(case)]
        else:
            values = [likeness.change(case.saliency, each) for each in self._noisy(case)]
        return Measured(fmean(values), {"values": values})

    def _noisy(self, case: Case) -> Iterator[Map]:
        for draw in range(self.draws or 5):
            noise = torch.randn(case.image.shape, generator=chance.generator(self.seed, "stability", draw))
            yield case.again(case.box, case.image + self.sigma * noise.to(case.image), case.target, None)
