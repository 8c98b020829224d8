"""Algebra on maps: sizes, ranks, regions."""

from __future__ import annotations

from functools import lru_cache, reduce

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from salience.types import Map, Region

FEW = 32  # cells a side, up to which two matrices are quicker


def resize(saliency: Map, size: tuple[int, int]) -> Float[Tensor, "y x"]:
    """Resample bilinearly to `size`; a map of that size is returned as it is.

    >>> resize(torch.tensor([[0.0, 1.0]]), (1, 4))
    tensor([[0.0000, 0.2500, 0.7500, 1.0000]])
    """
    if tuple(saliency.shape) == tuple(size):
        return saliency
    return functional.interpolate(saliency[None, None], size=size, mode="bilinear", align_corners=False)[0, 0]


def enlarge(small: Float[Tensor, "n y x"], size: tuple[int, int]) -> Float[Tensor, "n h w"]:
    """Resample each map bilinearly to `size`; maps of few cells by two matrices, which is quicker.

    >>> enlarge(torch.tensor([[[0.0, 1.0]]]), (1, 4))
    tensor([[[0.0000, 0.2500, 0.7500, 1.0000]]])
    """
    if max(small.shape[1:]) > FEW:
        return functional.interpolate(small[:, None], size=size, mode="bilinear", align_corners=False)[:, 0]
    rows, columns = (_make_linear_matrix(*each).to(small) for each in zip(small.shape[1:], size, strict=True))
    return rows @ small @ columns.mT


@lru_cache(maxsize=64)
def _make_linear_matrix(side: int, length: int) -> Float[Tensor, "length side"]:
    return functional.interpolate(torch.eye(side).double()[None], size=length, mode="linear", align_corners=False)[0].T


@lru_cache(maxsize=64)
def make_enlargement_matrix(side: int, length: int) -> Float[Tensor, "length side"]:
    """Build the matrix that enlarges `side` samples to `length` bilinearly.

    Samples sit at half pixels; beyond the border the grid is mirrored without repeating its last sample. Every row
    is a convex combination, so the expected mask is the keep probability everywhere.

    >>> make_enlargement_matrix(2, 4)
    tensor([[0.7500, 0.2500],
            [0.7500, 0.2500],
            [0.2500, 0.7500],
            [0.2500, 0.7500]], dtype=torch.float64)
    """
    position = (torch.arange(length, dtype=torch.float64) + 0.5) * side / length - 0.5
    low = position.floor()
    weight = position - low
    matrix = torch.zeros(length, side, dtype=torch.float64)
    for index, share in ((low, 1 - weight), (low + 1, weight)):
        inside = index.abs().long()
        inside = torch.where(inside > side - 1, 2 * (side - 1) - inside, inside).clamp(min=0)
        matrix.scatter_add_(1, inside[:, None], share[:, None])
    return matrix


def pool(large: Float[Tensor, "n h w"], size: tuple[int, int]) -> Float[Tensor, "n y x"]:
    """Average over the cells of a grid of `size`; by additions where it divides the sides, which is quicker.

    >>> pool(torch.arange(8.0).reshape(1, 2, 4), (1, 2))
    tensor([[[2.5000, 4.5000]]])
    """
    (height, width), (rows, columns) = large.shape[1:], size
    if height % rows or width % columns:
        return functional.adaptive_avg_pool2d(large[:, None], size)[:, 0]
    down, right = height // rows, width // columns
    sums = reduce(torch.add, (large[:, first::down] for first in range(down)))
    return reduce(torch.add, (sums[:, :, first::right] for first in range(right))) / (down * right)


def rank(values: Float[Tensor, ...]) -> Float[Tensor, " n"]:
    """Rank all values from 0; equal values share the mean of their ranks.

    >>> rank(torch.tensor([3.0, 1.0, 3.0]))
    tensor([1.5000, 0.0000, 1.5000], dtype=torch.float64)
    """
    _, inverse, counts = torch.unique(values.flatten(), return_inverse=True, return_counts=True)
    means: torch.Tensor = counts.cumsum(0) - (counts + 1) / 2
    return means.double()[inverse]


def rank_agreement(one: Float[Tensor, ...], other: Float[Tensor, ...]) -> float:
    """Correlate ranks (Spearman's ρ). A constant map agrees with nothing: 0.

    >>> round(rank_agreement(torch.tensor([1.0, 2.0, 9.0]), torch.tensor([0.1, 0.2, 0.3])), 6)
    1.0
    """
    first, second = (rank(each) - (each.numel() - 1) / 2 for each in (one, other))
    scale = float(first.norm() * second.norm())
    return float(first @ second) / scale if scale > 0 else 0.0


def stretch(values: Tensor, axes: tuple[int, ...] = ()) -> Tensor:
    """Scale values to 0…1 by their least and greatest, over these axes or over all; equal ones become 0.

    >>> stretch(torch.tensor([2.0, 3.0, 6.0]))
    tensor([0.0000, 0.2500, 1.0000])
    """
    low, high = values.amin(axes, keepdim=True), values.amax(axes, keepdim=True)  # much quicker than `aminmax`
    return (values - low) / (high - low).clamp(min=torch.finfo(values.dtype).tiny)


def threshold(saliency: Map, threshold: float) -> Region:
    """Mark what lies above min + threshold · (max − min).

    >>> threshold(torch.tensor([[0.0, 0.4, 1.0]]), 0.5)
    tensor([[False, False,  True]])
    """
    low, high = saliency.min(), saliency.max()
    return saliency > low + threshold * (high - low)


def mark_top(saliency: Map, count: int) -> Region:
    """Mark the `count` highest pixels; among equal ones the first in reading order, so that exactly so many are marked.

    >>> mark_top(torch.tensor([[0.3, 0.9, 0.3]]), 2)
    tensor([[ True,  True, False]])
    """
    marked = torch.zeros(saliency.numel(), dtype=torch.bool, device=saliency.device)
    marked[torch.argsort(saliency.flatten(), descending=True, stable=True)[:count]] = True
    return marked.reshape(saliency.shape)


def dilate(marked: Region, pixels: int) -> Region:
    """Grow a region by so many pixels in every direction.

    >>> dilate(torch.tensor([[True, False, False]]), 1)
    tensor([[ True,  True, False]])
    """
    if pixels < 1:
        return marked
    return functional.max_pool2d(marked.float()[None, None], 2 * pixels + 1, 1, pixels)[0, 0] > 0


def intersection_over_union(one: Region, other: Region) -> float:
    """Divide the intersection by the union; two empty regions are the same.

    >>> intersection_over_union(torch.tensor([[True, True, False]]), torch.tensor([[False, True, False]]))
    0.5
    """
    union = int((one | other).sum())
    return int((one & other).sum()) / union if union else 1.0


def find_flaws(saliency: Map) -> list[str]:
    """Say in words what makes a map useless; nothing for a sound one.

    >>> find_flaws(torch.zeros(2, 2))
    ['the map is constant (0 everywhere): no pixel matters more than another']
    """
    if not bool(torch.isfinite(saliency).all()):
        return ["the map has values that are not finite"]
    if float(saliency.max() - saliency.min()) <= 1e-12 * max(1.0, float(saliency.abs().max())):
        value = float(saliency.flatten()[0])
        return [f"the map is constant ({value:g} everywhere): no pixel matters more than another"]
    return []


def gini(maps: Tensor) -> Tensor:
    """Return the Gini index of each map (n h w): 0 if it is flat, near 1 if one pixel has all, NaN if it is blank.

    >>> gini(torch.tensor([[[0.0, 0.0, 0.0, 1.0]], [[1.0, 1.0, 1.0, 1.0]]]))
    tensor([0.7500, 0.0000], dtype=torch.float64)
    """
    ascending = maps.double().abs().flatten(1).sort(1).values
    count = ascending.shape[1]
    weights = 2 * torch.arange(1, count + 1, device=maps.device) - count - 1
    return (ascending * weights).sum(1) / (count * ascending.sum(1))
