"""HSIC. Novello, Fel and Vigouroux, Making Sense of Dependence: Efficient Black-box Explanations, NeurIPS 2022."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import Doc

from salience.engine import maps, seeding, validate
from salience.engine.perturb import designs, fill, masks
from salience.engine.perturb.tiles import Tiles
from salience.engine.query import loop
from salience.engine.query.run import plan_passes
from salience.errors import SettingError
from salience.estimates import Estimate
from salience.methods._settings import Fill, Seed
from salience.types import BlackBox, Image, Map, Scores, Target

LEAST, MOST = 32, 8192  # masks: below, no half has a dependence; above, all pairs are too many
BLOCK = 256  # rows of the output kernel that exist at a time
PAIRED = 1024  # scores whose distances give the width of the output kernel

Cells = Float[Tensor, "n d"]


@dataclass(frozen=True)
class Hsic:
    """Hide random halves of a grid's cells; a cell matters as much as the score depends on whether it is shown.

    HSIC[i] = trace(K_i H L H) / (n − 1)²   with K_i = k(m_i, m_i'), L = exp(−(y − y')² / 2w²), H = 1 − 1/n

    m_i are the n values of cell i, y the scores, w the median distance of two scores. `dirac` compares binary masks,
    k = [m = m']; `sobolev` compares faded ones, k = 1 + (m − ½)(m' − ½) + B₂(|m − m'|) / 2, B₂(t) = t² − t + ⅙. Masks
    are Latin hypercubes of 256: over a lot each cell is hidden in exactly half of them.

    Departs from the paper: dependence has no sign, so each cell takes that of its covariance with the score, unless
    `signed` is off; w is the median distance, which is indifferent to a shift, where the authors' code (Xplique, public
    like the paper) takes the median score. The standard error is the first-order one; where nothing depends, the bias,
    of order 1/n, exceeds it. Cost: n passes, at most 8,192; masks are kept as grids, L in blocks of 256 rows.

    >>> from salience.boxes import toy
    >>> saliency = Hsic(masks=256)(toy.load("colour"), toy.picture(), target=0)  # a red patch on grey
    >>> bool(saliency[10, 18] > saliency[25, 5])
    True
    """

    masks: Annotated[int | None, Doc("n, how many masks; none given: what the budget allows, or 1500")] = None
    cells: Annotated[int, Doc("cells along each side of the grid")] = 7
    kernel: Annotated[Literal["dirac", "sobolev"], Doc("dirac for masks that hide or show, sobolev for masks that fade")] = (
        "dirac"
    )
    signed: Annotated[bool, Doc("cells that lower the score count below zero; off: dependence as published")] = True
    fill: Fill = "mean"
    seed: Seed = 0

    def __post_init__(self) -> None:
        validate.expect_between("masks", self.masks, LEAST, MOST)
        validate.expect_between("cells", self.cells, 1, 64)
        if self.kernel not in ("dirac", "sobolev"):
            raise SettingError(f"expected kernel dirac or sobolev, got {self.kernel!r}")

    def __call__(self, box: BlackBox, image: Image, target: Target) -> Map:
        """Explain one image."""
        return loop.run_to_end(self.watch(box, image, target)).saliency

    def watch(self, box: BlackBox, image: Image, target: Target) -> Iterator[Estimate]:
        """Yield the running map after each lot of masks."""
        size = (image.shape[-2], image.shape[-1])
        count = min(MOST, plan_passes(self.masks, default=1500, least=LEAST, what="hsic"))
        baseline = fill.make_fill(self.fill, box, image, self.seed)
        x, y = torch.zeros(0, self.cells**2, dtype=torch.float64), torch.zeros(0, dtype=torch.float64)
        for lot, _, scores in loop.score_masked(box, image, target, self.sample_lots(count, size), baseline, least=LEAST):
            x, y = torch.cat([x, lot.values.flatten(1)]), torch.cat([y, scores.double().cpu()])
            if masks.completes_lot(len(y), len(lot)):
                yield self.estimate(x, y, size)
        yield self.estimate(x, y, size)

    def sample_lots(self, count: int, size: tuple[int, int]) -> Iterator[Tiles]:
        """Yield Latin hypercubes: of each cell, every one of 256 equal steps from 0 to 1 comes once."""
        for begin in range(0, count, masks.LOT):
            generator = seeding.generator(self.seed, "hsic", self.cells, begin // masks.LOT)
            uniform = torch.rand(2, masks.LOT, self.cells**2, generator=generator, dtype=torch.float64)
            values = (uniform[0].argsort(dim=0) + uniform[1]) / masks.LOT
            values = (values >= 0.5).double() if self.kernel == "dirac" else values
            yield Tiles(values[: count - begin].unflatten(1, (self.cells, self.cells)), size)

    def estimate(self, x: Cells, y: Scores, size: tuple[int, int]) -> Estimate:
        """Fold all masks so far; they go to the halves in blocks."""
        saliency, error = (each.unflatten(0, (self.cells, self.cells)).float() for each in self.fold(x, y))
        half = torch.arange(len(y)) // designs.BLOCK % 2 == 0
        halves = [self.fold(x[side], y[side])[0] for side in (half, ~half) if int(side.sum()) > 1]
        stability = maps.rank_agreement(*halves) if len(halves) == 2 else None
        evidence = {"dependence": saliency.abs()}
        return Estimate(maps.resize(saliency, size), maps.resize(error, size), stability, evidence)

    def fold(self, x: Cells, y: Scores) -> tuple[Float[Tensor, " d"], Float[Tensor, " d"]]:
        """Return the cells' dependence, with its sign, and standard errors."""
        centred, count = x - x.mean(0), len(y)
        distances = torch.pdist(y[:PAIRED, None])
        width = float(distances.median()) or float(y.std())
        if width == 0:  # a score that never changes depends on nothing
            return torch.zeros_like(x[0]), torch.zeros_like(x[0])
        means = torch.cat([compare_by_rbf(block, y, width).mean(1) for block in y.split(BLOCK)])
        rows = []
        for begin in range(0, count, BLOCK):
            block = slice(begin, begin + BLOCK)
            output = compare_by_rbf(y[block], y, width) - means[block, None] - means + means.mean()  # rows of H L H
            if self.kernel == "dirac":  # all of it but 2 m m' is constant in m or in m', which H takes away
                rows.append(2 * centred[block] * (output @ centred))
            else:
                rows.append(torch.stack([(compare_by_sobolev(cell[block], cell) * output).sum(1) for cell in x.T], dim=1))
        each = torch.cat(rows) * count / (count - 1) ** 2  # their mean is HSIC
        sign = (centred.T @ (y - y.mean())).sign() if self.signed else 1.0
        return each.mean(0) * sign, 2 * each.std(0) / count**0.5


def compare_by_rbf(one: Float[Tensor, " a"], other: Float[Tensor, " b"], width: float) -> Float[Tensor, "a b"]:
    """Compare scores by a Gaussian kernel."""
    return (-((one[:, None] - other) ** 2) / (2 * width**2)).exp()


def compare_by_sobolev(one: Float[Tensor, " a"], other: Float[Tensor, " b"]) -> Float[Tensor, "a b"]:
    """Compare the values of a cell, 0…1, by a Sobolev kernel."""
    difference = (one[:, None] - other).abs()
    return 1 + (one[:, None] - 0.5) * (other - 0.5) + (difference**2 - difference + 1 / 6) / 2
