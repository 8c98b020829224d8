"""Fill holes smoothly: every removed pixel becomes the weighted mean of its neighbours, all of them at once.

The equations of Rong, Leemann, Borisov, Kasneci and Kasneci, A Consistent and Efficient Evaluation Strategy for
Attribution Methods, ICML 2022. Multiplied by the weight that a pixel has within the image, each row reads
Σ_j w_ij (x_i − x_j) = 0, which is symmetric and positive definite as soon as one pixel is known. So conjugate
gradients solve it, and one multigrid cycle goes before each step: about eight steps, however large the hole.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from salience.types import Image, Images, Region

Planes = Float[Tensor, "c 1 _ _"]

_LINE = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 4
ENLARGE = torch.outer(_LINE, _LINE)[None, None]  # bilinear, twice as large
CLOSE = 1e-5  # in 0…1: far below the noise that ROAD adds
STEPS, ROUNDS = 100, 5  # bounds that are not met: ten steps and two rounds are many


@torch.no_grad()
def impute_linear(image: Image, removed: Bool[Tensor, "n h w"], empty: tuple[float, ...]) -> Images:
    """Fill each set of removed pixels from those that are left; `empty` is the colour where none is left.

    Works on the CPU, where float32 is float32, one set after the other, which stays in its cache.
    """
    source = image.cpu()
    return torch.stack([_fill(source, each, source.new_tensor(empty)) for each in removed.cpu()]).to(image)


def _fill(image: Image, removed: Region, empty: Float[Tensor, " c"]) -> Image:
    if bool(removed.all()):
        return empty[:, None, None].expand_as(image)
    grid = _Grid(removed.float())
    known = image[:, ~removed].double().mean(1)[:, None, None]
    solution = torch.where(removed, known, image)[:, None]
    for _ in range(ROUNDS):
        correction = _solve(grid, -grid.apply(solution).float())  # of the residual in double precision
        solution = solution + correction
        if float(correction.abs().max()) < CLOSE:
            break
    return solution[:, 0].to(image)


def _solve(grid: _Grid, residual: Planes) -> Planes:
    """Solve by conjugate gradients in single precision."""
    solution = step = torch.zeros_like(residual)
    previous = 1.0
    for _ in range(STEPS):
        direction = grid.cycle(residual)
        if float(direction.abs().max()) < CLOSE / 10:  # a cycle nearly solves, so this is nearly the error
            break
        current = float((residual * direction).sum())
        step = direction + current / previous * step
        product = grid.apply(step)
        length = current / float((step * product).sum())
        solution, residual, previous = solution + length * step, residual - length * product, current
    return solution


class _Grid:
    """The equations on a grid, and on a coarser one, where four unknown pixels make one."""

    def __init__(self, unknown: Float[Tensor, "h w"]) -> None:
        self.unknown = unknown[None, None]
        self.sums = _sum_neighbours(torch.ones_like(self.unknown))
        self.diagonal = self.sums - 4
        self.odd = (0, unknown.shape[1] % 2, 0, unknown.shape[0] % 2)
        self.coarse: _Grid | None = None
        unknown_blocks = 1 - functional.max_pool2d(1 - self.unknown, 2) if min(unknown.shape) >= 4 else torch.zeros(1)
        if bool(unknown_blocks.any()):
            self.coarse = _Grid(unknown_blocks[0, 0])
            odd, ones = (self.odd[3], self.odd[1]), torch.ones_like(unknown_blocks)
            self.share = self.unknown / functional.conv_transpose2d(ones, ENLARGE, None, 2, 1, odd)

    def apply(self, values: Planes) -> Planes:
        """Compute the difference of each unknown pixel from the weighted mean of its neighbours, in twelfths."""
        return (self.sums * values).sub_(_sum_neighbours(values)).mul_(self.unknown)

    def cycle(self, residual: Planes) -> Planes:
        """Solve roughly: smooth, correct on the coarser grid, smooth."""
        values = residual / self.diagonal
        if self.coarse is None:
            for _ in range(8):
                values = self._smooth(values, residual)
            return values
        restricted = functional.conv2d((residual - self.apply(values)).mul_(self.share), ENLARGE, stride=2, padding=1)
        coarse = self.coarse.cycle(restricted * self.coarse.unknown)
        correction = functional.interpolate(coarse, scale_factor=2, mode="bilinear")
        if any(self.odd):
            correction = functional.pad(correction, self.odd, mode="replicate")
        return self._smooth(torch.addcmul(values, correction, self.unknown), residual)

    def _smooth(self, values: Planes, residual: Planes) -> Planes:
        return (residual - self.apply(values)).div_(self.diagonal).add_(values)


def _sum_neighbours(values: Planes) -> Planes:
    """Sum over each pixel's 3×3 neighbours with the weights 1 2 1, 2 4 2, 1 2 1: exact where the values are few-digit."""
    padded = functional.pad(values, (1, 1, 1, 1))
    rows = torch.add(padded[..., :-2], padded[..., 2:]).add_(padded[..., 1:-1], alpha=2)
    return torch.add(rows[..., :-2, :], rows[..., 2:, :]).add_(rows[..., 1:-1, :], alpha=2)
