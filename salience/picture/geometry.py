"""Which part of a photograph a box saw, and the way back from a map to the photograph."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from salience.types import Map


@dataclass(frozen=True)
class Geometry:
    """Which rectangle of the photograph the box saw.

    `seen` is (top, bottom, left, right) in pixels of the photograph; it reaches outside where the image was padded.

    >>> geometry = Geometry((4, 6), (2, 2), (0, 4, 1, 5))
    >>> geometry.restore(torch.ones(2, 2))[0]
    tensor([nan, 1., 1., 1., 1., nan])
    """

    photograph: tuple[int, int]  # height, width
    size: tuple[int, int]  # height, width of the box's input
    seen: tuple[float, float, float, float]

    @property
    def share_seen(self) -> float:
        """Say how much of the photograph lies within what the box saw, 0…1.

        >>> Geometry((4, 6), (2, 2), (0, 4, 1, 5)).share_seen
        0.6666666666666666
        """
        return self._shared / (self.photograph[0] * self.photograph[1])

    @property
    def share_of_border(self) -> float:
        """Say how much of the image shows no photograph, 0…1.

        >>> Geometry((4, 6), (8, 8), (-1, 5, 0, 6)).share_of_border
        0.33333333333333337
        """
        top, bottom, left, right = self.seen
        return 1 - self._shared / ((bottom - top) * (right - left))

    @property
    def inside(self) -> tuple[slice, slice]:
        """The rows and columns of the image that show the photograph.

        >>> Geometry((4, 6), (6, 6), (-1, 5, 0, 6)).inside
        (slice(1, 5, None), slice(0, 6, None))
        """
        return self._find_inside(0), self._find_inside(1)

    @property
    def _shared(self) -> float:
        """The area of the photograph that the box saw, in its pixels."""
        top, bottom, left, right = self.seen
        height, width = self.photograph
        return max(0.0, min(bottom, height) - max(top, 0)) * max(0.0, min(right, width) - max(left, 0))

    def _find_inside(self, axis: int) -> slice:
        begin, end = self.seen[2 * axis], self.seen[2 * axis + 1]
        scale = self.size[axis] / (end - begin)
        full = self.photograph[axis]
        first, last = round(max(0.0, -begin) * scale), round((min(end, full) - begin) * scale)
        return slice(first, max(first + 1, last))

    def restore(self, saliency: Map) -> Float[Tensor, "y x"]:
        """Put a map onto the photograph; NaN outside what the box saw."""
        top, bottom, left, right = self.seen
        height, width = self.photograph
        rows = (torch.arange(height) + 0.5 - top) / (bottom - top) * 2 - 1
        columns = (torch.arange(width) + 0.5 - left) / (right - left) * 2 - 1
        grid = torch.stack(torch.meshgrid(rows, columns, indexing="ij"), dim=-1).flip(-1)
        whole = functional.grid_sample(
            saliency.float()[None, None], grid[None].float(), padding_mode="border", align_corners=False
        )[0, 0]
        outside = (rows.abs() > 1)[:, None] | (columns.abs() > 1)[None, :]
        return whole.masked_fill(outside, float("nan"))

    def project(self, values: Float[Tensor, "y x"], *, nearest: bool = True) -> Map:
        """Bring an array at the photograph's size (a truth mask, say) to the box's input, 0 outside."""
        top, bottom, left, right = self.seen
        height, width = self.photograph
        at_rows = (top + (torch.arange(self.size[0]) + 0.5) * (bottom - top) / self.size[0]) / height * 2 - 1
        at_columns = (left + (torch.arange(self.size[1]) + 0.5) * (right - left) / self.size[1]) / width * 2 - 1
        grid = torch.stack(torch.meshgrid(at_rows, at_columns, indexing="ij"), dim=-1).flip(-1)
        mode = "nearest" if nearest else "bilinear"
        return functional.grid_sample(values.float()[None, None], grid[None].float(), mode=mode, align_corners=False)[0, 0]
