"""Masks. They are stored small (a grid of cells, four edges of a window) and rasterised batch by batch, on the device.

A *lot* is a stack of masks that can be counted, sliced and rasterised. Lots are addressed by number, so which masks
come does not depend on how they are batched.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Protocol, Self, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from salience.engine import maps, seeding
from salience.engine.perturb import designs
from salience.engine.perturb.designs import Design
from salience.errors import SettingError
from salience.types import Images, Map, Masks, Region

LOT = 256  # masks that share one address; a constant, for changing it changes every map


@runtime_checkable
class Lot(Protocol):
    """A stack of masks, small until rasterised."""

    def __len__(self) -> int: ...

    def __getitem__(self, part: slice) -> Self: ...

    def rasterise(self, like: Tensor) -> Masks:
        """Make the masks in full, with the device and type of `like`."""
        ...


class Mixed(ABC):
    """A lot whose masks show more than an image: something of their own, in place of a fill (which must be 0)."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, part: slice | list[int]) -> Self: ...

    @abstractmethod
    def rasterise(self, like: Tensor) -> Masks:
        """Make the masks in full, with the device and type of `like`."""

    @abstractmethod
    def paint(self, out: Images, scale: Tensor, shift: Tensor) -> Images:
        """Write, and return, what each mask shows besides its share of the image, times a scale and with a shift (3 1 1)."""


@dataclass(frozen=True)
class MaskStack(ABC):
    """A lot whose tensors all have a row a mask, the first field being one of them."""

    def __len__(self) -> int:
        return len(getattr(self, fields(self)[0].name))

    def __getitem__(self, part: slice | list[int] | Tensor) -> Self:
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return replace(self, **{name: value[part] for name, value in values.items() if isinstance(value, Tensor)})

    @abstractmethod
    def rasterise(self, like: Tensor) -> Masks:
        """Make the masks in full, with the device and type of `like`."""


@dataclass(frozen=True)
class FullMasks(MaskStack):
    """Masks that exist already.

    >>> len(FullMasks(torch.ones(5, 2, 2))[1:3])
    2
    """

    masks: Masks

    def rasterise(self, like: Tensor) -> Masks:
        """Return them."""
        return self.masks.to(like)


@dataclass(frozen=True)
class Grids(MaskStack):
    """RISE's masks: a coarse grid of cells, enlarged bilinearly to a canvas one cell larger than the image, cropped.

    >>> Grids(torch.eye(2)[None], torch.zeros(1, 2).long(), (4, 4)).rasterise(torch.zeros(1))
    tensor([[[0.5556, 0.6667, 0.5556, 0.4444],
             [0.6667, 1.0000, 0.6667, 0.3333],
             [0.5556, 0.6667, 0.5556, 0.4444],
             [0.4444, 0.3333, 0.4444, 0.5556]]])
    """

    cells: Float[Tensor, "n s s"]
    shifts: Int[Tensor, "n 2"]  # where the crop begins, rows and columns
    size: tuple[int, int]

    def rasterise(self, like: Tensor) -> Masks:
        """`L_h[dx:dx+H] · grid · L_w[dy:dy+W]ᵀ`: the canvas itself is never made."""
        rows, columns = make_enlargement(self.cells.shape[-1], self.shifts, self.size, like)
        return rows @ self.cells.to(like) @ columns


@dataclass(frozen=True)
class Windows(MaskStack):
    """Squares that hide: each is (top, bottom, left, right) in pixels, clipped to the image.

    >>> Windows(torch.tensor([[0, 1, 0, 2]]), (2, 3)).rasterise(torch.zeros(1))
    tensor([[[0., 0., 1.],
             [1., 1., 1.]]])
    """

    edges: Int[Tensor, "n 4"]
    size: tuple[int, int]

    def rasterise(self, like: Tensor) -> Masks:
        """0 inside the window, 1 elsewhere."""
        top, bottom, left, right = self.edges.to(like.device).T[:, :, None]
        y, x = (torch.arange(length, device=like.device) for length in self.size)
        rows, columns = (y >= top) & (y < bottom), (x >= left) & (x < right)
        hidden: Masks = rows.to(like)[:, :, None] * columns.to(like)[:, None, :]
        return hidden.neg_().add_(1)

    def accumulate(self, values: Float[Tensor, " n"]) -> Map:
        """Sum at each pixel the values of the windows that hide it."""
        corners = torch.zeros(self.size[0] + 1, self.size[1] + 1, dtype=torch.float64)
        self.add_to_corners(values, corners)
        return integrate(corners)

    def add_to_corners(self, values: Float[Tensor, " n"], corners: Float[Tensor, "y x"]) -> None:
        """Add each value, with its sign, at the four corners of its window: `integrate` makes the sums of them."""
        top, bottom, left, right = self.edges.T
        plus, minus = values.to(corners), -values.to(corners)
        for row, column, signed in ((top, left, plus), (bottom, right, plus), (top, right, minus), (bottom, left, minus)):
            corners.index_put_((row, column), signed, accumulate=True)

    def count_pixels(self, region: Region) -> Int[Tensor, " n"]:
        """Count for each window the pixels of the region that it hides."""
        table = functional.pad(region.long().cpu().cumsum(0).cumsum(1), (1, 0, 1, 0))
        top, bottom, left, right = self.edges.T
        return table[bottom, right] - table[top, right] - table[bottom, left] + table[top, left]


def completes_lot(count: int, added: int, size: int = LOT) -> bool:
    """Say whether, of `count` masks, the `added` last ones completed a lot of `size`: time for a running estimate.

    >>> completes_lot(count=300, added=100), completes_lot(count=400, added=100)
    (True, False)
    """
    return count // size > (count - added) // size


def integrate(corners: Float[Tensor, "*n y x"]) -> Float[Tensor, "*n h w"]:
    """Turn values at the corners of windows into a sum at each pixel: two running sums.

    >>> corners = torch.tensor([[1.0, 0, -1], [0, 0, 0], [-1, 0, 1]])  # of a window of two by two, of value 1
    >>> integrate(corners)
    tensor([[1., 1.],
            [1., 1.]])
    """
    return corners.cumsum(-2).cumsum(-1)[..., :-1, :-1]


def make_enlargement(
    side: int, shifts: Int[Tensor, "n 2"], size: tuple[int, int], like: Tensor
) -> tuple[Float[Tensor, "n h s"], Float[Tensor, "n s w"]]:
    """Build the two matrices that enlarge each grid to a canvas one cell larger than the image, and crop it.

    >>> rows, columns = make_enlargement(2, torch.zeros(1, 2).long(), (4, 4), torch.zeros(1))
    >>> rows.shape, columns.shape
    (torch.Size([1, 4, 2]), torch.Size([1, 2, 4]))
    """
    down, right = (
        maps.make_enlargement_matrix(side, (side + 1) * math.ceil(length / side)).to(like)[
            shifts[:, axis, None].to(like.device) + torch.arange(length, device=like.device)
        ]
        for axis, length in enumerate(size)
    )
    return down, right.mT


def sample_grids(
    count: int, size: tuple[int, int], side: int, keep: float, seed: int, *, start: int = 0, design: Design = "independent"
) -> Iterator[Grids]:
    """Sample RISE's masks number `start` up to `count`, in lots of at most `LOT`.

    `side` is the paper's s, `keep` its p. Each mask by itself is as RISE has it, whatever the design; masks of one
    block of `BLOCK` may depend on each other (see `perturb.designs`).

    >>> [len(lot) for lot in sample_grids(600, (32, 32), side=7, keep=0.5, seed=0)]
    [256, 256, 88]
    """
    shift = torch.tensor([math.ceil(length / side) for length in size])
    for number in range(start // LOT, math.ceil(count / LOT)):
        address = ("grids", size, side, keep, design == "antithetic", number)
        cells, shifts = designs.sample_at(design, LOT, side, keep, seed, address)
        first, last = max(start - number * LOT, 0), min(count - number * LOT, LOT)
        yield Grids(cells[first:last], (shifts * shift).long()[first:last], size)


def lay_windows(size: tuple[int, int], window: int, stride: int) -> Windows:
    """Lay square windows over the image; along each axis they begin at s-W, 2s-W, … and are clipped at the borders.

    >>> lay_windows((4, 4), window=2, stride=2).edges
    tensor([[0, 2, 0, 2],
            [0, 2, 2, 4],
            [2, 4, 0, 2],
            [2, 4, 2, 4]])
    """
    if window < 1 or stride < 1 or stride > window:
        raise SettingError(f"expected 1 ≤ stride ≤ window, got stride {stride} and window {window}")
    axes = []
    for length in size:
        begin = torch.arange(stride - window, length, stride)
        axes.append(torch.stack([begin.clamp(min=0), (begin + window).clamp(max=length)], dim=1))
    rows, columns = axes
    edges = torch.cat([rows.repeat_interleave(len(columns), 0), columns.repeat(len(rows), 1)], dim=1)
    return Windows(edges, size)


def order_windows(size: tuple[int, int], window: int, stride: int) -> tuple[Windows, int]:
    """Order the windows of `lay_windows`, coarse first: the first few cover the image, every further one refines it.

    Returns the windows and how many of them make the first cover, so that occlusion can stop at any moment after it.

    >>> windows, cover = order_windows((8, 8), window=4, stride=2)
    >>> len(windows), cover
    (25, 4)
    """
    grid = lay_windows(size, window, stride)
    coarsest = 2 ** int(math.log2(window // stride))  # the first cover takes every so many-th window
    levels = []
    for length in size:
        ends = torch.arange(1, math.ceil((length + window - stride) / stride) + 1)
        level = torch.full_like(ends, 99)
        step, depth = coarsest, 0
        while step >= 1:
            chosen = (ends % step == 0) & ((ends - step) * stride < length)
            level = torch.where(chosen & (level == 99), depth, level)
            step, depth = step // 2, depth + 1
        levels.append(level)
    level = torch.maximum(levels[0][:, None], levels[1][None, :]).flatten()
    shuffled = torch.randperm(len(grid), generator=seeding.generator(0, "windows", size, window, stride))
    order = shuffled[torch.argsort(level[shuffled], stable=True)]
    return Windows(grid.edges[order], size), int((level == 0).sum())
