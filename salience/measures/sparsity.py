"""Sparsity. Chalasani et al., Concise explanations of neural networks using adversarial training, ICML 2020."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from typing_extensions import Doc

from salience.case import Better, Case, MeasureResult, Need
from salience.engine import maps


@dataclass(frozen=True)
class Sparsity:
    """Say how few pixels carry the map. It says nothing about whether they are the right ones.

    gini = Σ over i = 1 … n of (2i − n − 1) a_i / (n Σ a)        a = |map| in ascending order, n pixels
    entropy = −Σ q ln q        q = |map| / Σ |map|

    "gini": 0 for a flat map, 1 − 1/n where one pixel has all; higher is sparser. "entropy": of the shares q, in nats
    (Bhatt, Weller and Moura, IJCAI 2020, call it complexity); lower is sparser. "effective-pixels": exp(entropy), the
    number of equal pixels that would have the same entropy.

    Range 0 to 1, 0 to ln n, and 1 to n. NaN for a map of zeros. Cost: no pass. Departs: nothing is added to the map,
    where the authors' code of "gini" adds 1e-7 to each pixel.

    >>> from salience.boxes import toy
    >>> case = Case(toy.load("colour"), toy.picture(), 0, toy.picture()[0])  # the red channel as a map
    >>> round(Sparsity()(case).value, 2)
    0.08
    """

    protocol: Annotated[Literal["gini", "entropy", "effective-pixels"], Doc("how sparsity is counted")] = "gini"
    needs: ClassVar[tuple[Need, ...]] = ()

    @property
    def better(self) -> Better:
        """Give the direction: a sparse map has a high Gini index and few effective pixels."""
        return "higher" if self.protocol == "gini" else "lower"

    def __call__(self, case: Case) -> MeasureResult:
        """Measure one case."""
        if self.protocol == "gini":
            return MeasureResult(float(maps.gini(case.saliency[None])))
        sizes = case.saliency.double().abs()
        shares = sizes / sizes.sum()  # a map of zeros becomes NaN
        entropy = -torch.special.xlogy(shares, shares).sum()
        return MeasureResult(float(entropy if self.protocol == "entropy" else entropy.exp()))
