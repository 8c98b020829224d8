"""DE-CAM's encodings: vectors of the unit cube to masks, masks to the numbers of the regression, and these to maps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, get_args, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from salience.engine import maps
from salience.engine.estimate.linear_surrogate import RegionMasks, Segmentation
from salience.engine.perturb.masks import Lot, MaskStack
from salience.errors import SettingError
from salience.methods._de_cam import evolution
from salience.types import Image, Masks

Name = Literal["grid", "regions", "blobs"]
BLOBS = 4  # blobs where their number is not given


@runtime_checkable
class Encoding(Protocol):
    """Turns vectors into masks, and rows of numbers into maps."""

    dimensions: int  # numbers in a vector
    numbers: int  # numbers in a row

    def make_masks(self, population: evolution.Population) -> Lot:
        """Turn vectors into masks, small until rasterised."""
        ...

    def make_rows(self, population: evolution.Population) -> Float[Tensor, "n 1 r"]:
        """Describe by a few numbers what each mask keeps; the map is regressed on them."""
        ...

    def paint(self, values: Float[Tensor, "g r"]) -> Float[Tensor, "g h w"]:
        """Enlarge rows of those numbers to maps."""
        ...


@dataclass(frozen=True)
class SmoothGrids(MaskStack):
    """Grids of opacities, enlarged bilinearly; what lies beyond the outer cells' centres is as they are."""

    cells: Float[Tensor, "n s s"]
    size: tuple[int, int]

    def rasterise(self, like: Tensor) -> Masks:
        """Interpolate the grids."""
        return maps.enlarge(self.cells.to(like), self.size)


@dataclass(frozen=True)
class BlobMasks(MaskStack):
    """Gaussian blobs, each (y, x, width, opacity) in 0…1: m = 1 − Π_k (1 − a_k exp(−r_k² / 2σ_k²)).

    σ is 0.05 to 0.3 of the image's height.
    """

    blobs: Float[Tensor, "n k 4"]
    size: tuple[int, int]

    def rasterise(self, like: Tensor) -> Masks:
        """Multiply blob by blob; a Gaussian is the product of its rows and columns."""
        height, width = self.size
        y, x = (torch.arange(length, device=like.device) for length in self.size)
        hidden = like.new_ones(len(self), height, width)
        for blob in self.blobs.to(like).unbind(1):
            down, right, spread, opacity = blob.T[:, :, None]
            scale = -0.5 / ((0.05 + 0.25 * spread) * height) ** 2
            rows, columns = torch.exp(scale * (y - down * height) ** 2), torch.exp(scale * (x - right * width) ** 2)
            hidden = hidden * (1 - (opacity * rows)[:, :, None] * columns[:, None, :])
        return 1 - hidden


class GridEncoding:
    """Opacities of a grid's cells."""

    def __init__(self, size: tuple[int, int], side: int) -> None:
        self.size, self.side = size, side
        self.dimensions = self.numbers = side**2

    def make_masks(self, population: evolution.Population) -> Lot:
        """Lay the cells out on the grid."""
        return SmoothGrids(population.unflatten(1, (self.side, self.side)), self.size)

    def make_rows(self, population: evolution.Population) -> Float[Tensor, "n 1 r"]:
        """Return the cells themselves."""
        return population[:, None]

    def paint(self, values: Float[Tensor, "g r"]) -> Float[Tensor, "g h w"]:
        """Enlarge as the masks are."""
        return maps.enlarge(values.unflatten(1, (self.side, self.side)), self.size)


class RegionEncoding:
    """A number for each superpixel, which is shown from one half on: evolution moves in between."""

    def __init__(self, image: Image, count: int, seed: int) -> None:
        self.segmentation = Segmentation(image, count, seed)
        self.dimensions = self.numbers = self.segmentation.count

    def make_masks(self, population: evolution.Population) -> Lot:
        """Show or hide each region."""
        return RegionMasks(population >= 0.5, self.segmentation)

    def make_rows(self, population: evolution.Population) -> Float[Tensor, "n 1 r"]:
        """Return which regions are shown."""
        return (population >= 0.5).double()[:, None]

    def paint(self, values: Float[Tensor, "g r"]) -> Float[Tensor, "g h w"]:
        """Set every pixel to the number of its region."""
        return values[:, self.segmentation.labels]


class BlobEncoding:
    """A few blobs; what the masks keep is averaged on a grid."""

    def __init__(self, size: tuple[int, int], count: int) -> None:
        self.size, self.dimensions, self.grid = size, 4 * count, GridEncoding(size, 14)
        self.numbers = self.grid.numbers

    def make_masks(self, population: evolution.Population) -> Lot:
        """Make a blob of four numbers."""
        return BlobMasks(population.unflatten(1, (-1, 4)), self.size)

    def make_rows(self, population: evolution.Population) -> Float[Tensor, "n 1 r"]:
        """Average over each cell."""
        masks = self.make_masks(population).rasterise(population.float())
        return functional.adaptive_avg_pool2d(masks, self.grid.side).flatten(1)[:, None].double()

    def paint(self, values: Float[Tensor, "g r"]) -> Float[Tensor, "g h w"]:
        """Enlarge the grid."""
        return self.grid.paint(values)


def make_encoding(name: Name, image: Image, cells: int | None, default_cells: int, seed: int) -> Encoding:
    """Make the encoding of that name; without a number of cells, with `usual` along a side, or four blobs."""
    size = (image.shape[-2], image.shape[-1])
    if name == "grid":
        return GridEncoding(size, cells or default_cells)
    if name == "regions":
        return RegionEncoding(image, min(cells or default_cells, *size) ** 2, seed)
    if name == "blobs":
        return BlobEncoding(size, cells or BLOBS)
    raise SettingError(f"expected an encoding, one of {', '.join(get_args(Name))}, got {name!r}: choose one of these")
