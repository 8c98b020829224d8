"""Regions. Achanta and others, SLIC Superpixels Compared to State-of-the-art Superpixel Methods, PAMI 2012.

Pixels are gathered round centres that start on a grid, by colour and place; what is left in bits joins a neighbour.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from salience.engine import seeding
from salience.engine.perturb import fill
from salience.engine.validate import expect_between
from salience.types import Image

COMPACT = 10.0  # colour distance (CIELAB) that weighs as much as one step of the grid; less follows edges closer
ROUNDS = 10  # of assigning and averaging
SMALLEST = 0.25  # share of a step's square below which a piece joins a neighbour

Numbers = np.ndarray[tuple[int, ...], np.dtype[np.float64]]
Labels = np.ndarray[tuple[int, ...], np.dtype[np.int64]]


def segment(image: Image, count: int, seed: int = 0) -> Int[Tensor, "h w"]:
    """Cut an image into about `count` connected regions that follow its edges; labels are 0…n−1 without gaps.

    A pixel joins the centre c that minimises |colour − colour_c|² + (COMPACT · |place − place_c| / step)² among the
    nine of the grid around it; centres then move to the mean of their pixels. `seed` moves the centres' start, by at
    most a quarter of a step. Departs from the paper: the nine centres stay those of the start, so that a round is one
    comparison of whole images; a piece smaller than a quarter of a step's square joins the larger neighbour most like it.
    """
    expect_between("count", count, 1, image.shape[-2] * image.shape[-1])
    height, width = image.shape[-2:]
    features = to_lab(fill.blur(image.detach().double().cpu(), 1.0)).permute(1, 2, 0).reshape(-1, 3).numpy()
    step = (height * width / count) ** 0.5
    rows, columns = (min(length, max(1, round(length / step))) for length in (height, width))
    y, x = (each.reshape(-1) for each in np.indices((height, width)))
    points = np.concatenate([features, COMPACT / step * np.stack([y, x], axis=1)], axis=1)
    moved = torch.rand(2, rows * columns, generator=seeding.generator(seed, "regions"), dtype=torch.float64).numpy()
    row, column = (each.reshape(-1) for each in np.indices((rows, columns)))
    start_y = (row + 0.5 + 0.5 * (moved[0] - 0.5)) * height / rows
    start_x = (column + 0.5 + 0.5 * (moved[1] - 0.5)) * width / columns
    centres = points[start_y.astype(np.int64) * width + start_x.astype(np.int64)]
    home = y * rows // height * columns + x * columns // width
    start = (torch.from_numpy(each) for each in (points, centres, home, _neighbours(row, column, rows, columns)))
    labels = _assign_points(*start).reshape(height, width).numpy()
    return torch.from_numpy(_merge_small(_connect(labels), features, SMALLEST * step**2))


def to_lab(image: Float[Tensor, "3 h w"]) -> Float[Tensor, "3 h w"]:
    """Turn sRGB in 0…1 into CIELAB, in which equal distances look about equal (white D65)."""
    linear = torch.where(image <= 0.04045, image / 12.92, ((image.clamp(min=0) + 0.055) / 1.055) ** 2.4)
    to_xyz = torch.tensor([[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]])
    xyz = torch.einsum("ij,jhw->ihw", to_xyz.to(image), linear) / image.new_tensor([0.95047, 1, 1.08883])[:, None, None]
    f = torch.where(xyz > 0.008856, xyz.clamp(min=1e-9) ** (1 / 3), 7.787 * xyz + 16 / 116)
    return torch.stack([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def _assign_points(
    points: Float[Tensor, "p d"], centres: Float[Tensor, "c d"], home: Int[Tensor, " p"], near: Int[Tensor, "c k"]
) -> Int[Tensor, " p"]:
    """Let points join the best of the nine centres near their home cell, round after round; return each one's centre.

    Cells are filled up to the fullest with points that weigh nothing, so that a round is two products of matrices:
    |p − c|² is |p|², which is the same for all centres, and |c|² − 2 p · c.
    """
    order, sizes = home.argsort(stable=True), home.bincount(minlength=len(centres))
    place = torch.arange(len(home)) - (sizes.cumsum(0) - sizes)[home[order]]  # in its cell
    filled = points.new_zeros(len(centres), int(sizes.max()), points.shape[1] + 1)
    filled[home[order], place] = torch.cat([points[order], torch.ones_like(points[:, :1])], dim=1)
    for _ in range(ROUNDS):
        asked = torch.cat([-2 * centres, (centres**2).sum(1, keepdim=True)], dim=1)[near]
        distances = asked @ filled.mT
        best = (distances == distances.amin(1, keepdim=True)).to(filled)  # several where they tie: each has a part then
        sums = best @ (filled / best.sum(1)[..., None])
        sums = torch.zeros_like(asked[:, 0]).index_add_(0, near.flatten(), sums.flatten(0, 1))
        centres = torch.where(sums[:, -1:] > 0, sums[:, :-1] / sums[:, -1:].clamp(min=1), centres)
    labels = torch.empty_like(home)
    labels[order] = near.gather(1, distances.min(1).indices)[home[order], place]
    return labels


def _neighbours(row: Labels, column: Labels, rows: int, columns: int) -> Labels:
    """Give each cell the numbers of the nine around it, itself first; at the border some come twice."""
    around = [(row + down, column + right) for down in (0, -1, 1) for right in (0, -1, 1)]
    return np.stack([np.clip(r, 0, rows - 1) * columns + np.clip(c, 0, columns - 1) for r, c in around], axis=1)


def _pair_pixels(labels: Labels) -> tuple[Labels, Labels]:
    """Pair every pixel's label with its right and its lower neighbour's."""
    ones = np.concatenate([labels[:, :-1].ravel(), labels[:-1].ravel()])
    others = np.concatenate([labels[:, 1:].ravel(), labels[1:].ravel()])
    return ones, others


def _connect(labels: Labels) -> Labels:
    """Give each connected piece its own label: neighbours of one label take the lowest pixel number among them."""
    numbers = np.arange(labels.size).reshape(labels.shape)
    one, other = _pair_pixels(labels)
    a, b = (each[one == other] for each in _pair_pixels(numbers))
    root = numbers.ravel()
    while (root[a] != root[b]).any():
        low, high = np.minimum(root[a], root[b]), np.maximum(root[a], root[b])
        np.minimum.at(root, high, low)
        while (root[root] != root).any():
            root = root[root]
    return np.unique(root, return_inverse=True)[1].reshape(labels.shape)


def _merge_small(labels: Labels, colours: Numbers, least: float) -> Labels:
    """Let pieces of fewer than `least` pixels join, of their larger neighbours, the one most like them in colour."""
    while True:
        flat = labels.ravel()
        sizes = np.bincount(flat)
        means = np.stack([np.bincount(flat, each) / sizes for each in colours.T], axis=1)
        order = np.argsort(np.argsort(sizes, kind="stable"))  # by size, equal ones by number: nobody joins in a circle
        one, other = _pair_pixels(labels)
        one, other = np.concatenate([one, other]), np.concatenate([other, one])
        chosen = (sizes[one] < least) & (order[one] < order[other])
        if not chosen.any():
            return labels
        one, other = one[chosen], other[chosen]
        best = np.lexsort((other, ((means[one] - means[other]) ** 2).sum(1), one))
        first = best[np.unique(one[best], return_index=True)[1]]
        parent = np.arange(len(sizes))
        parent[one[first]] = other[first]
        while (parent[parent] != parent).any():
            parent = parent[parent]
        labels = np.unique(parent[labels], return_inverse=True)[1].reshape(labels.shape)
