"""Sobol. Fel and others, Look at the Variance! Explanations with Sobol-based Sensitivity Analysis, NeurIPS 2021."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import Doc

from salience.engine import maps, seeding, validate
from salience.engine.perturb import fill, masks
from salience.engine.perturb.tiles import Tiles
from salience.engine.query import loop
from salience.engine.query.run import plan_passes
from salience.estimates import Estimate, Precision
from salience.methods._settings import Fill, Seed
from salience.types import BlackBox, Image, Map, Target

AT_ONCE = 4  # designs between two running estimates
LEAST = 2  # designs: one has no variance


@dataclass(frozen=True)
class Sobol:
    """Fade the cells of a grid at random; a cell matters by its share, interactions included, in the score's variance.

    total[i] = Σ_j (score(A_j) − score(C_ji))² / (2 N · variance)

    A_j and B_j are the two halves of a point of a scrambled Sobol sequence: how much of each cell is shown, 0…1. C_ji
    is A_j with cell i from B_j. This is Jansen's estimator; variance is that of the scores of all A and B. The indices
    are enlarged bilinearly. Cost: N · (cells² + 2) passes.

    Departs from the paper: indices have no sign, so each takes that of Σ_j (A_ji − B_ji) (score(A_j) − score(C_ji)),
    at no cost, unless `signed` is off. A blur to fade to is one blur, not a series of them. Paper and authors' code
    (Xplique) are public, and what was left open follows the code. The standard error treats designs as independent,
    which for such a sequence is too wide rather than too narrow. First-order indices, Jansen's too, are in the evidence.

    >>> from salience.boxes import toy
    >>> saliency = Sobol(designs=8)(toy.load("colour"), toy.picture(), target=0)  # a red patch on grey
    >>> bool(saliency[10, 18] > saliency[25, 5])
    True
    """

    precision: ClassVar[Precision] = "float32"  # differences of scores, squared: rounding adds up

    designs: Annotated[int | None, Doc("N, points of the sequence; none given: what the budget allows, or 32")] = None
    cells: Annotated[int, Doc("cells along each side of the grid")] = 8
    signed: Annotated[bool, Doc("cells that lower the score count below zero; off: indices as published")] = True
    fill: Fill = "mean"
    seed: Seed = 0

    def __post_init__(self) -> None:
        validate.expect_between("designs", self.designs, LEAST, None)
        validate.expect_between("cells", self.cells, 1, 64)

    def __call__(self, box: BlackBox, image: Image, target: Target) -> Map:
        """Explain one image."""
        return loop.run_to_end(self.watch(box, image, target)).saliency

    def watch(self, box: BlackBox, image: Image, target: Target) -> Iterator[Estimate]:
        """Yield the running map after every few designs; one that was cut short does not count."""
        size = (image.shape[-2], image.shape[-1])
        per_design = self.cells**2 + 2  # masks a design
        requested = None if self.designs is None else self.designs * per_design
        what = f"sobol with {self.cells} × {self.cells} cells"
        allowed = plan_passes(requested, default=32 * per_design, least=LEAST * per_design, what=what)
        lots = self.sample_lots(allowed // per_design, size)
        baseline = fill.make_fill(self.fill, box, image, self.seed)
        sums = DesignSums(self.cells)
        incomplete = torch.zeros(0, per_design - 1, dtype=torch.float64)  # rows of cells, then the score
        for lot, _, scores in loop.score_masked(box, image, target, lots, baseline, least=LEAST * per_design):
            rows = torch.cat([lot.values.flatten(1), scores.double().cpu()[:, None]], dim=1)
            incomplete = torch.cat([incomplete, rows])
            complete = len(incomplete) // per_design
            sums.add(incomplete[: complete * per_design].unflatten(0, (complete, per_design)))
            incomplete = incomplete[complete * per_design :]
            if masks.completes_lot(sums.count, complete, AT_ONCE):
                yield sums.estimate(size, signed=self.signed)
        yield sums.estimate(size, signed=self.signed)

    def sample_lots(self, designs: int, size: tuple[int, int]) -> Iterator[Tiles]:
        """Yield the masks A, B, C_1, C_2, … of a few designs at a time."""
        cells = self.cells**2
        key = seeding.generator(self.seed, "sobol", self.cells).initial_seed()
        points = torch.quasirandom.SobolEngine(2 * cells, scramble=True, seed=key)
        for begin in range(0, designs, AT_ONCE):
            sequence = points.draw(min(AT_ONCE, designs - begin), dtype=torch.float64)
            one, other = sequence[:, None, :cells], sequence[:, None, cells:]
            mixed = torch.where(torch.eye(cells, dtype=torch.bool), other, one)
            values = torch.cat([one, other, mixed], dim=1)
            yield Tiles(values.flatten(0, 1).unflatten(1, (self.cells, self.cells)), size)


class DesignSums:
    """Running sums over designs, in two halves: all products of 1, a² + b², a + b, (a − c_i)² / 2 and (b − c_i)² / 2."""

    def __init__(self, side: int) -> None:
        self.side, self.count = side, 0
        self.products = torch.zeros(2, 3 + 2 * side**2, 3 + 2 * side**2, dtype=torch.float64)
        self.covariances = torch.zeros(2, side**2, dtype=torch.float64)

    def add(self, designs: Float[Tensor, "n m w"]) -> None:
        """Add designs: a row a mask, its cells and then its score. Two by two they go to either half."""
        a, b, c = designs[:, :1, -1], designs[:, 1:2, -1], designs[:, 2:, -1]
        rows = torch.cat([torch.ones_like(a), a**2 + b**2, a + b, (a - c) ** 2 / 2, (b - c) ** 2 / 2], dim=1)
        covariances = (designs[:, 0, :-1] - designs[:, 1, :-1]) * (a - c)
        half = (self.count + torch.arange(len(rows))) // 2 % 2
        for side in (0, 1):
            self.products[side] += rows[half == side].T @ rows[half == side]
            self.covariances[side] += covariances[half == side].sum(0)
        self.count += len(rows)

    def estimate(self, size: tuple[int, int], *, signed: bool) -> Estimate:
        """Fold all designs so far."""
        total, error, first = estimate_indices(self.products.sum(0))
        signs = [each.sign() if signed else torch.ones_like(each) for each in (*self.covariances, self.covariances.sum(0))]
        halves = [estimate_indices(each)[0] * sign for each, sign in zip(self.products, signs[:2], strict=True)]
        values = total * signs[2]
        grids = [each.unflatten(0, (self.side, self.side)).float() for each in (values, error, total, first)]
        saliency, error = (maps.resize(each, size) for each in grids[:2])
        stability = maps.rank_agreement(*halves) if self.count >= 2 * LEAST else None
        return Estimate(saliency, error, stability, {"total": grids[2], "first": grids[3], "designs": self.count})


def estimate_indices(products: Float[Tensor, "w w"]) -> tuple[Tensor, Tensor, Tensor]:
    """Return the total indices, their standard errors and the first-order indices."""
    cells = (len(products) - 3) // 2
    count = products[0, 0].clamp(min=1)
    mean = products[0, 2] / (2 * count)
    variance = ((products[0, 1] - 2 * count * mean**2) / (2 * count - 1)).clamp(min=1e-12)
    total = products[0, 3 : 3 + cells] / (count * variance)
    first = 1 - products[0, 3 + cells :] / (count * variance)
    terms = torch.stack([mean**2, torch.full_like(mean, 0.5), -mean])  # times (1, a² + b², a + b): a design's own variance
    squares = products.diagonal()[3 : 3 + cells]
    squares = squares - 2 * total * (products[3 : 3 + cells, :3] @ terms) + total**2 * (terms @ products[:3, :3] @ terms)
    error = (squares.clamp(min=0) / (count * (count - 1).clamp(min=1))).sqrt() / variance
    return total, error, first
