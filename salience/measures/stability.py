"""Stability. Alvarez-Melis and Jaakkola, On the Robustness of Interpretability Methods, ICML workshop WHI 2018."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, starmap
from statistics import fmean
from typing import Annotated, ClassVar, Literal

import torch
from typing_extensions import Doc

from salience.case import Better, Case, MeasureResult, Need
from salience.engine import seeding, similarity, validate
from salience.types import Map


@dataclass(frozen=True)
class Stability:
    """Explain again, an image that looks the same or with another seed: the map should stay.

    stability = mean over samples of |S(x + η) − S(x)| / |S(x)|,    η ~ N(0, σ²)

    "noise" is this, with 5 samples, σ = 0.05 where pixels are 0…1, and the target held fixed; lower is better.
    "noise-rank" takes Spearman's ρ of S(x + η) and S(x) in place of the relative change, for methods whose scale
    follows the score; higher is better. "seeds" leaves the image as it is and takes the mean ρ over the pairs of the
    maps of 3 seeds; higher is better, and it is 1 for a method without a seed.

    Not defined where a map is constant. Range: "noise" 0 and up, the others −1 to 1.
    Cost: the method's, 5 times, or 3 times for "seeds".

    Departs from the paper: it takes the mean over random noise, not the largest ratio in a neighbourhood.
    Noisy pixels may leave 0…1.

    >>> from salience.boxes import toy
    >>> image = toy.picture()
    >>> case = Case(toy.load("colour"), image, 0, image[0], explain=lambda box, image, target, seed: image[target])
    >>> round(Stability()(case).value, 2)
    0.11
    """

    protocol: Annotated[Literal["noise", "noise-rank", "seeds"], Doc("what changes, and how the maps are compared")] = (
        "noise"
    )
    samples: Annotated[int | None, Doc("noisy images, or seeds")] = None
    sigma: Annotated[float, Doc("standard deviation of the noise")] = 0.05
    seed: Annotated[int, Doc('of the noise; the first seed for "seeds"')] = 0
    needs: ClassVar[tuple[Need, ...]] = ("method",)

    def __post_init__(self) -> None:
        validate.expect_between("samples", self.samples, 2 if self.protocol == "seeds" else 1, None)
        validate.expect_between("sigma", self.sigma, 0, None, open_ends=True)

    @property
    def better(self) -> Better:
        """A change should be small, an agreement large."""
        return "lower" if self.protocol == "noise" else "higher"

    def __call__(self, case: Case) -> MeasureResult:
        """Measure one case."""
        if self.protocol == "seeds":
            seeds = range(self.seed, self.seed + (self.samples or 3))
            maps = [case.again(case.box, case.image, case.target, seed) for seed in seeds]
            values = list(starmap(similarity.compare, combinations(maps, 2)))
        elif self.protocol == "noise-rank":
            values = [similarity.compare(case.saliency, each) for each in self._explain_noisy(case)]
        else:
            values = [similarity.relative_change(case.saliency, each) for each in self._explain_noisy(case)]
        return MeasureResult(fmean(values), {"values": values})

    def _explain_noisy(self, case: Case) -> Iterator[Map]:
        for number in range(self.samples or 5):
            noise = torch.randn(case.image.shape, generator=seeding.generator(self.seed, "stability", number))
            yield case.again(case.box, case.image + self.sigma * noise.to(case.image), case.target, None)
