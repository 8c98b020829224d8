"""Superpixels. Achanta and others, SLIC Superpixels Compared to State-of-the-art Superpixel Methods, PAMI 2012.

Pixels are clustered around centres that start on a grid, by colour and place; small pieces are merged with a neighbour.
The colour of a picture that has not three channels is its channels themselves, each brought to the same deviation.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from salience.engine import seeding
from salience.engine.perturb import fill
from salience.engine.validate import expect_between
from salience.types import Image

COMPACT = 10.0  # colour distance (CIELAB) that weighs as much as one step of the grid; less follows edges closer
SPREAD = 30.0  # deviation of a photograph's CIELAB colours, about: what all channels together get where there is no CIELAB
FLAT = 1e-3  # of 0…1; a channel that deviates less is not stretched further, for it would be noise
ROUNDS = 10  # of assigning and averaging
SMALLEST = 0.25  # share of a step's square below which a piece is merged

Colour = tuple[float, float, float]
Matrix = tuple[Colour, Colour, Colour]
XYZ: Matrix = ((0.412453, 0.357580, 0.180423), (0.212671, 0.715160, 0.072169), (0.019334, 0.119193, 0.950227))
WHITE: Colour = (0.95047, 1.0, 1.08883)  # D65

Numbers = np.ndarray[tuple[int, ...], np.dtype[np.float64]]
Labels = np.ndarray[tuple[int, ...], np.dtype[np.int64]]


def segment(image: Image, count: int, seed: int = 0) -> Int[Tensor, "h w"]:
    """Segment an image into about `count` connected regions that follow its edges; labels are 0…n−1 without gaps.

    A pixel joins the centre c that minimises |colour − colour_c|² + (COMPACT · |place − place_c| / step)² among the
    nine of the grid around it; centres then move to the mean of their pixels. `seed` moves the centres' start, by at
    most a quarter of a step. Departs from the paper: the nine centres stay those of the start, so that a round is one
    comparison of whole images; a piece smaller than a quarter of a step's square joins the larger neighbour most like it.

    >>> from salience.boxes import toy
    >>> segment(toy.picture(), count=16).unique().shape
    torch.Size([16])
    """
    expect_between("count", count, 1, image.shape[-2] * image.shape[-1])
    height, width = image.shape[-2:]
    features = to_colours(fill.blur(image.detach().double().cpu(), 1.0)).flatten(1).T.contiguous().numpy()
    step = (height * width / count) ** 0.5
    rows, columns = (min(length, max(1, round(length / step))) for length in (height, width))
    y, x = (each.reshape(-1) for each in np.indices((height, width)))
    points = np.concatenate([features, COMPACT / step * np.stack([y, x], axis=1)], axis=1)
    jitter = torch.rand(2, rows * columns, generator=seeding.generator(seed, "regions"), dtype=torch.float64).numpy()
    row, column = (each.reshape(-1) for each in np.indices((rows, columns)))
    start_y = (row + 0.5 + 0.5 * (jitter[0] - 0.5)) * height / rows
    start_x = (column + 0.5 + 0.5 * (jitter[1] - 0.5)) * width / columns
    centres = points[start_y.astype(np.int64) * width + start_x.astype(np.int64)]
    cells = y * rows // height * columns + x * columns // width
    start = (torch.from_numpy(each) for each in (points, centres, cells, _list_neighbours(row, column, rows, columns)))
    labels = _assign_points(*start).reshape(height, width).numpy()
    return torch.from_numpy(_merge_small(_label_pieces(labels), features, SMALLEST * step**2))


def to_colours(image: Image) -> Image:
    """Give the values whose distances say how unlike two pixels are: CIELAB of three channels, else those standardised.

    >>> to_colours(torch.rand(5, 8, 8)).std(dim=(1, 2), correction=0).square().sum().sqrt().round()
    tensor(30.)
    """
    if len(image) == 3:
        return to_lab(image)
    deviation = image.std(dim=(1, 2), correction=0, keepdim=True).clamp(min=FLAT)
    return (image - image.mean((1, 2), keepdim=True)) / deviation * (SPREAD / math.sqrt(len(image)))


def to_lab(image: Float[Tensor, "3 h w"], xyz: Matrix = XYZ, white: Colour = WHITE) -> Float[Tensor, "3 h w"]:
    """Convert sRGB in 0…1 to CIELAB, in which equal distances look about equal; linear RGB to XYZ by a matrix.

    >>> to_lab(torch.ones(3, 1, 1)).abs().flatten().round()  # white
    tensor([100., 0., 0.])
    """
    linear = torch.where(image <= 0.04045, image / 12.92, ((image.clamp(min=0) + 0.055) / 1.055) ** 2.4)
    relative = torch.einsum("ij,jhw->ihw", torch.tensor(xyz).to(image), linear) / image.new_tensor(white)[:, None, None]
    f = torch.where(relative > 0.008856, relative.clamp(min=1e-9) ** (1 / 3), 7.787 * relative + 16 / 116)
    return torch.stack([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def _assign_points(
    points: Float[Tensor, "p d"], centres: Float[Tensor, "c d"], cells: Int[Tensor, " p"], candidates: Int[Tensor, "c k"]
) -> Int[Tensor, " p"]:
    """Assign points to the best of the nine centres around their cell, round after round; return each one's centre.

    Cells are padded to the size of the largest with points of weight 0, so that a round is two products of matrices:
    |p − c|² is |p|², which is the same for all centres, and |c|² − 2 p · c.
    """
    order, sizes = cells.argsort(stable=True), cells.bincount(minlength=len(centres))
    place = torch.arange(len(cells)) - (sizes.cumsum(0) - sizes)[cells[order]]  # in its cell
    padded = points.new_zeros(len(centres), int(sizes.max()), points.shape[1] + 1)
    padded[cells[order], place] = torch.cat([points[order], torch.ones_like(points[:, :1])], dim=1)
    for _ in range(ROUNDS):
        factors = torch.cat([-2 * centres, (centres**2).sum(1, keepdim=True)], dim=1)[candidates]
        distances = factors @ padded.mT
        best = (distances == distances.amin(1, keepdim=True)).to(padded)  # several where they tie: each gets a share
        sums = best @ (padded / best.sum(1)[..., None])
        sums = torch.zeros_like(factors[:, 0]).index_add_(0, candidates.flatten(), sums.flatten(0, 1))
        centres = torch.where(sums[:, -1:] > 0, sums[:, :-1] / sums[:, -1:].clamp(min=1), centres)
    labels = torch.empty_like(cells)
    labels[order] = candidates.gather(1, distances.min(1).indices)[cells[order], place]
    return labels


def _list_neighbours(row: Labels, column: Labels, rows: int, columns: int) -> Labels:
    """List for each cell the numbers of the nine around it, itself first; at the border some come twice."""
    around = [(row + down, column + right) for down in (0, -1, 1) for right in (0, -1, 1)]
    return np.stack([np.clip(r, 0, rows - 1) * columns + np.clip(c, 0, columns - 1) for r, c in around], axis=1)


def _pair_pixels(labels: Labels) -> tuple[Labels, Labels]:
    """Pair every pixel's label with its right and its lower neighbour's."""
    ones = np.concatenate([labels[:, :-1].ravel(), labels[:-1].ravel()])
    others = np.concatenate([labels[:, 1:].ravel(), labels[1:].ravel()])
    return ones, others


def _label_pieces(labels: Labels) -> Labels:
    """Label each connected piece by itself: neighbours of one label take the lowest pixel number among them."""
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
    """Merge pieces of fewer than `least` pixels with the larger neighbour that is nearest in colour."""
    while True:
        flat = labels.ravel()
        sizes = np.bincount(flat)
        means = np.stack([np.bincount(flat, each) / sizes for each in colours.T], axis=1)
        order = np.argsort(np.argsort(sizes, kind="stable"))  # by size, equal ones by number, so that no merge is circular
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
