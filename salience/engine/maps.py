"""Algebra on maps: sizes, ranks, regions."""

from __future__ import annotations

from functools import lru_cache, reduce

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from salience.types import Map, Region

FEW = 32  # cells a side


def resize(saliency: Map, size: tuple[int, int]) -> Float[Tensor, "y x"]:
    """Resample bilinearly to `size`; a map of that size is returned as it is."""
    if tuple(saliency.shape) == tuple(size):
        return saliency
    return functional.interpolate(saliency[None, None], size=size, mode="bilinear", align_corners=False)[0, 0]


def enlarge(small: Float[Tensor, "n y x"], size: tuple[int, int]) -> Float[Tensor, "n h w"]:
    """Resample each bilinearly to `size`. Of few cells by two matrices, which is quicker."""
    if max(small.shape[1:]) > FEW:
        return functional.interpolate(small[:, None], size=size, mode="bilinear", align_corners=False)[:, 0]
    rows, columns = (_linear(*each).to(small) for each in zip(small.shape[1:], size, strict=True))
    return rows @ small @ columns.mT


@lru_cache(maxsize=64)
def _linear(side: int, length: int) -> Float[Tensor, "length side"]:
    return functional.interpolate(torch.eye(side).double()[None], size=length, mode="linear", align_corners=False)[0].T


@lru_cache(maxsize=64)
def enlargement_matrix(side: int, length: int) -> Float[Tensor, "length side"]:
    """Build the matrix that enlarges `side` samples to `length` bilinearly.

    Samples sit at half pixels; beyond the border the grid is mirrored without repeating its last sample. Every row
    is a convex combination, so the expected mask is the keep probability everywhere.
    """
    at = (torch.arange(length, dtype=torch.float64) + 0.5) * side / length - 0.5
    low = at.floor()
    weight = at - low
    matrix = torch.zeros(length, side, dtype=torch.float64)
    for index, share in ((low, 1 - weight), (low + 1, weight)):
        inside = index.abs().long()
        inside = torch.where(inside > side - 1, 2 * (side - 1) - inside, inside).clamp(min=0)
        matrix.scatter_add_(1, inside[:, None], share[:, None])
    return matrix


def pool(large: Float[Tensor, "n h w"], size: tuple[int, int]) -> Float[Tensor, "n y x"]:
    """Average over the areas of a grid of `size`; where it divides the sides by additions, which is quicker."""
    (height, width), (tall, wide) = large.shape[1:], size
    if height % tall or width % wide:
        return functional.adaptive_avg_pool2d(large[:, None], size)[:, 0]
    down, right = height // tall, width // wide
    rows = reduce(torch.add, (large[:, at::down] for at in range(down)))
    return reduce(torch.add, (rows[:, :, at::right] for at in range(right))) / (down * right)


def rank(values: Float[Tensor, ...]) -> Float[Tensor, " n"]:
    """Rank all values from 0; equal values share the mean of their ranks."""
    _, which, counts = torch.unique(values.flatten(), return_inverse=True, return_counts=True)
    mean: torch.Tensor = counts.cumsum(0) - (counts + 1) / 2
    return mean.double()[which]


def rank_agreement(one: Float[Tensor, ...], other: Float[Tensor, ...]) -> float:
    """Correlate ranks (Spearman's ρ). A constant map agrees with nothing: 0."""
    first, second = (rank(each) - (each.numel() - 1) / 2 for each in (one, other))
    scale = float(first.norm() * second.norm())
    return float(first @ second) / scale if scale > 0 else 0.0


def threshold(saliency: Map, threshold: float) -> Region:
    """Mark what lies above min + threshold · (max − min)."""
    low, high = saliency.min(), saliency.max()
    return saliency > low + threshold * (high - low)


def mark_top(saliency: Map, count: int) -> Region:
    """Mark the `count` highest pixels; among equal ones the first in reading order, so that exactly so many are marked."""
    marked = torch.zeros(saliency.numel(), dtype=torch.bool, device=saliency.device)
    marked[torch.argsort(saliency.flatten(), descending=True, stable=True)[:count]] = True
    return marked.reshape(saliency.shape)


def dilate(marked: Region, pixels: int) -> Region:
    """Let a region grow by so many pixels in every direction."""
    if pixels < 1:
        return marked
    return functional.max_pool2d(marked.float()[None, None], 2 * pixels + 1, 1, pixels)[0, 0] > 0


def intersection_over_union(one: Region, other: Region) -> float:
    """Intersection over union; two empty regions are the same."""
    union = int((one | other).sum())
    return int((one & other).sum()) / union if union else 1.0


def find_flaws(saliency: Map) -> list[str]:
    """Say in words what makes a map useless; nothing for a sound one."""
    if not bool(torch.isfinite(saliency).all()):
        return ["the map has values that are not finite"]
    if float(saliency.max() - saliency.min()) <= 1e-12 * max(1.0, float(saliency.abs().max())):
        same = float(saliency.flatten()[0])
        return [f"the map is constant ({same:g} everywhere): no pixel matters more than another"]
    return []


def gini(maps: Tensor) -> Tensor:
    """Return the Gini index of each map (n h w): 0 if it is flat, near 1 if one pixel has all, NaN if it is blank."""
    ascending = maps.double().abs().flatten(1).sort(1).values
    count = ascending.shape[1]
    weights = 2 * torch.arange(1, count + 1, device=maps.device) - count - 1
    return (ascending * weights).sum(1) / (count * ascending.sum(1))
