"""DE-CAM's encodings: how a vector of the unit cube becomes a mask, what of the mask is regressed on, and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, get_args, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from salience.engine import maps
from salience.engine.estimate.linear_surrogate import RegionMasks, Segmentation
from salience.engine.perturb import masks
from salience.errors import SettingError
from salience.methods._de_cam import evolution
from salience.types import Image, Masks

Name = Literal["grid", "regions", "blobs"]
BLOBS = 4  # blobs where their number is not given


@runtime_checkable
class Encoding(Protocol):
    """Between vectors and masks."""

    dimensions: int  # numbers in a vector
    numbers: int  # numbers in a row

    def lot(self, population: evolution.Population) -> masks.Lot:
        """Turn vectors into masks, small until drawn."""
        ...

    def rows(self, population: evolution.Population) -> Float[Tensor, "n 1 r"]:
        """Say in a few numbers what each mask keeps; the map is a number for each of them."""
        ...

    def paint(self, values: Float[Tensor, "g r"]) -> Float[Tensor, "g h w"]:
        """Enlarge rows of those numbers to maps."""
        ...


@dataclass(frozen=True)
class Smooth:
    """Grids of opacities, enlarged bilinearly; what lies beyond the outer cells' centres is as they are."""

    cells: Float[Tensor, "n s s"]
    size: tuple[int, int]

    def __len__(self) -> int:
        return len(self.cells)

    def __getitem__(self, part: slice) -> Smooth:
        return Smooth(self.cells[part], self.size)

    def rasterise(self, like: Tensor) -> Masks:
        """Interpolate."""
        return maps.enlarge(self.cells.to(like), self.size)


@dataclass(frozen=True)
class Blobs:
    """Gaussian blobs, each (y, x, width, opacity) in 0…1: m = 1 − Π_k (1 − a_k exp(−r_k² / 2σ_k²)).

    σ is 0.05 to 0.3 of the image's height.
    """

    blobs: Float[Tensor, "n k 4"]
    size: tuple[int, int]

    def __len__(self) -> int:
        return len(self.blobs)

    def __getitem__(self, part: slice) -> Blobs:
        return Blobs(self.blobs[part], self.size)

    def rasterise(self, like: Tensor) -> Masks:
        """Fold blob by blob: rows and columns of a Gaussian are made apart."""
        height, width = self.size
        y, x = (torch.arange(length, device=like.device) for length in self.size)
        hidden = like.new_ones(len(self), height, width)
        for blob in self.blobs.to(like).unbind(1):
            down, right, dimensions, opacity = blob.T[:, :, None]
            scale = -0.5 / ((0.05 + 0.25 * dimensions) * height) ** 2
            rows, columns = torch.exp(scale * (y - down * height) ** 2), torch.exp(scale * (x - right * width) ** 2)
            hidden = hidden * (1 - (opacity * rows)[:, :, None] * columns[:, None, :])
        return 1 - hidden


class OnGrid:
    """Opacities of a grid's cells."""

    def __init__(self, size: tuple[int, int], side: int) -> None:
        self.size, self.side = size, side
        self.dimensions = self.numbers = side**2

    def lot(self, population: evolution.Population) -> masks.Lot:
        """Lay them out."""
        return Smooth(population.unflatten(1, (self.side, self.side)), self.size)

    def rows(self, population: evolution.Population) -> Float[Tensor, "n 1 r"]:
        """Give the cells themselves."""
        return population[:, None]

    def paint(self, values: Float[Tensor, "g r"]) -> Float[Tensor, "g h w"]:
        """Enlarge as the masks are."""
        return maps.enlarge(values.unflatten(1, (self.side, self.side)), self.size)


class OnRegions:
    """A number for each superpixel, which is shown from one half on: evolution moves in between."""

    def __init__(self, image: Image, count: int, seed: int) -> None:
        self.cut = Segmentation(image, count, seed)
        self.dimensions = self.numbers = self.cut.count

    def lot(self, population: evolution.Population) -> masks.Lot:
        """Show or hide each."""
        return RegionMasks(population >= 0.5, self.cut)

    def rows(self, population: evolution.Population) -> Float[Tensor, "n 1 r"]:
        """Say which are shown."""
        return (population >= 0.5).double()[:, None]

    def paint(self, values: Float[Tensor, "g r"]) -> Float[Tensor, "g h w"]:
        """Give every pixel its region's number."""
        return values[:, self.cut.labels]


class OfBlobs:
    """A few blobs; what the masks keep is read off them on a grid."""

    def __init__(self, size: tuple[int, int], count: int) -> None:
        self.size, self.dimensions, self.grid = size, 4 * count, OnGrid(size, 14)
        self.numbers = self.grid.numbers

    def lot(self, population: evolution.Population) -> masks.Lot:
        """Four numbers a blob."""
        return Blobs(population.unflatten(1, (-1, 4)), self.size)

    def rows(self, population: evolution.Population) -> Float[Tensor, "n 1 r"]:
        """Average over each cell."""
        drawn = self.lot(population).rasterise(population.float())
        return functional.adaptive_avg_pool2d(drawn, self.grid.side).flatten(1)[:, None].double()

    def paint(self, values: Float[Tensor, "g r"]) -> Float[Tensor, "g h w"]:
        """Enlarge the grid."""
        return self.grid.paint(values)


def make_encoding(name: Name, image: Image, cells: int | None, usual: int, seed: int) -> Encoding:
    """Make the encoding of that name; without a number of cells, with `usual` along a side, or four blobs."""
    size = (image.shape[-2], image.shape[-1])
    if name == "grid":
        return OnGrid(size, cells or usual)
    if name == "regions":
        return OnRegions(image, min(cells or usual, *size) ** 2, seed)
    if name == "blobs":
        return OfBlobs(size, cells or BLOBS)
    raise SettingError(f"expected an encoding, one of {', '.join(get_args(Name))}, got {name!r}: choose one of these")
