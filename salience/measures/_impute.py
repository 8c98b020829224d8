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
def impute_linear(image: Image, removed: Bool[Tensor, "n h w"], empty: tuple[float, float, float]) -> Images:
    """Fill each set of removed pixels from those that are left; `empty` is the colour where none is left.

    Works on the CPU, where float32 is float32, one set after the other, which stays in its cache.
    """
    ready = image.cpu()
    return torch.stack([_fill(ready, each, ready.new_tensor(empty)) for each in removed.cpu()]).to(image)


def _fill(image: Image, removed: Region, empty: Float[Tensor, " 3"]) -> Image:
    if bool(removed.all()):
        return empty[:, None, None].expand_as(image)
    grid = _Grid(removed.float())
    known = image[:, ~removed].double().mean(1)[:, None, None]
    found = torch.where(removed, known, image)[:, None]
    for _ in range(ROUNDS):
        more = _correction(grid, -grid.strain(found).float())  # what is left to do, told in double precision
        found = found + more
        if float(more.abs().max()) < CLOSE:
            break
    return found[:, 0].to(image)


def _correction(grid: _Grid, left: Planes) -> Planes:
    """Solve by conjugate gradients in single precision."""
    found = step = torch.zeros_like(left)
    before = 1.0
    for _ in range(STEPS):
        wanted = grid.cycle(left)
        if float(wanted.abs().max()) < CLOSE / 10:  # a cycle nearly solves, so this is nearly the error
            break
        now = float((left * wanted).sum())
        step = wanted + now / before * step
        pull = grid.strain(step)
        length = now / float((step * pull).sum())
        found, left, before = found + length * step, left - length * pull, now
    return found


class _Grid:
    """The equations on a grid, and on a coarser one, where four unknown pixels make a coarse one."""

    def __init__(self, unknown: Float[Tensor, "h w"]) -> None:
        self.unknown = unknown[None, None]
        self.sums = _sum_neighbours(torch.ones_like(self.unknown))
        self.own = self.sums - 4
        self.odd = (0, unknown.shape[1] % 2, 0, unknown.shape[0] % 2)
        self.coarse: _Grid | None = None
        inner = 1 - functional.max_pool2d(1 - self.unknown, 2) if min(unknown.shape) >= 4 else torch.zeros(1)
        if bool(inner.any()):
            self.coarse = _Grid(inner[0, 0])
            odd, ones = (self.odd[3], self.odd[1]), torch.ones_like(inner)
            self.share = self.unknown / functional.conv_transpose2d(ones, ENLARGE, None, 2, 1, odd)

    def strain(self, values: Planes) -> Planes:
        """Say how far each unknown pixel is from the weighted mean of its neighbours, in twelfths."""
        return (self.sums * values).sub_(_sum_neighbours(values)).mul_(self.unknown)

    def cycle(self, left: Planes) -> Planes:
        """Solve roughly: smooth, correct on the coarser grid, smooth."""
        values = left / self.own
        if self.coarse is None:
            for _ in range(8):
                values = self._smooth(values, left)
            return values
        less = functional.conv2d((left - self.strain(values)).mul_(self.share), ENLARGE, stride=2, padding=1)
        more = functional.interpolate(self.coarse.cycle(less * self.coarse.unknown), scale_factor=2, mode="bilinear")
        if any(self.odd):
            more = functional.pad(more, self.odd, mode="replicate")
        return self._smooth(torch.addcmul(values, more, self.unknown), left)

    def _smooth(self, values: Planes, left: Planes) -> Planes:
        return (left - self.strain(values)).div_(self.own).add_(values)


def _sum_neighbours(values: Planes) -> Planes:
    """Sum over each pixel's 3×3 neighbours with the weights 1 2 1, 2 4 2, 1 2 1: exact where the values are few-digit."""
    wide = functional.pad(values, (1, 1, 1, 1))
    rows = torch.add(wide[..., :-2], wide[..., 2:]).add_(wide[..., 1:-1], alpha=2)
    return torch.add(rows[..., :-2, :], rows[..., 2:, :]).add_(rows[..., 1:-1, :], alpha=2)
