"""IASSA's long-range, parameter-free attention: a map is spread over pixels whose features are alike.

An attention is made once per image and applied to a map as often as needed. Neither form ever holds the n×n matrix of
the official code (629 MB at 112×112): `official` works in rows, `intent` keeps 39 MB at 56×56.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from salience import specs
from salience.engine import maps
from salience.engine.perturb.superpixels import to_colours, to_lab
from salience.engine.query import torch_threads
from salience.errors import BoxError
from salience.types import BlackBox, GreyBox, Image, Map

ROWS = 512  # rows of the matrix at a time
# sRGB's constants to four digits: the published results were made with them, and more digits would move every map
XYZ = ((0.4124, 0.3576, 0.1805), (0.2126, 0.7152, 0.0722), (0.0193, 0.1192, 0.9505))
WHITE = (0.9505, 1.0, 1.089)


class Official:
    """As in the authors' repository: dot products, two softmaxes in a row, scatter, no rescaling.

    The second softmax is over probabilities, so what it adds to the map is constant to (e−1)/n of the map's maximum.
    """

    def __init__(self, levels: Sequence[Float[Tensor, "_ _ _"]], side: int = 112) -> None:
        self.side = side
        half = side // 2
        # Nearest-neighbour copies of coarse levels repeat, so their dot products are taken once, at half the side.
        coarse = [level for level in levels if half % level.shape[-1] == 0 == half % level.shape[-2]]
        fine = [level for level in levels if not any(level is each for each in coarse)]
        self.fine = self._stack(fine, side) if fine else torch.zeros(side**2, 1)
        shared = self._stack(coarse, half) if coarse else torch.zeros(half**2, 1)
        self.shared = shared @ shared.T
        line = torch.arange(side) // 2 if coarse else torch.zeros(side, dtype=torch.long)
        self.parent = (line[:, None] * half + line[None, :]).flatten()  # each pixel's place at half the side
        self.column = torch.cat([self._dots(start).logsumexp(1) for start in range(0, side**2, ROWS)])  # XᵀX is symmetric

    def __call__(self, saliency: Map) -> Map:
        """Return a = s · A, enlarged to the map's size: a_j = Σ_i s_i A_ij, where the rows of A sum to 1."""
        spread = self.scatter(functional.interpolate(saliency[None, None], size=(self.side, self.side))[0, 0])
        return maps.resize(spread, (saliency.shape[0], saliency.shape[1])).to(saliency)

    def scatter(self, small: Map) -> Map:
        """Return s · A at the attention's own size; the total stays the same."""
        flat = small.flatten().to(self.fine)
        spread = torch.zeros_like(flat)
        for start in range(0, self.side**2, ROWS):
            first = (self._dots(start) - self.column).exp_()  # softmax over the first index: columns sum to 1
            spread += flat[start : start + ROWS] @ first.softmax(1)
        return spread.reshape(self.side, self.side)

    def _dots(self, start: int) -> Tensor:
        rows = slice(start, start + ROWS)
        return (self.fine[rows] @ self.fine.T).add_(self.shared[self.parent[rows]][:, self.parent])

    @staticmethod
    def _stack(levels: Sequence[Tensor], side: int) -> Tensor:
        """Enlarge by nearest neighbours, the official code's default mode, and flatten to (n C)."""
        return torch.cat([functional.interpolate(each[None], size=(side, side))[0] for each in levels]).flatten(1).T


class Intent:
    """As abstract, poster and figures describe it: each pixel takes the mean of the map over pixels like it.

    weights_ij = softmax_j(−‖x_i − x_j‖² / 2T); for features of length 1 that is softmax_j(cos(i, j) / T). It is a
    mean, so constant maps stay constant and the range cannot grow; the result is stretched back to the map's range.
    """

    def __init__(self, features: Float[Tensor, "c y x"], temperature: float = 0.05) -> None:
        self.shape = (features.shape[-2], features.shape[-1])
        flat = features.flatten(1).T  # (n C)
        offset = flat.square().sum(1) / 2
        with torch_threads.use_all():
            parts = [(part @ flat.T - offset).div_(temperature).softmax(1) for part in flat.split(ROWS)]
        self.weights = torch.cat(parts)

    def average(self, saliency: Map) -> Float[Tensor, "y x"]:
        """Return a_i = Σ_j weights_ij s_j at the attention's own size."""
        small = functional.interpolate(
            saliency[None, None].float(), size=self.shape, mode="bilinear", antialias=True, align_corners=False
        )
        return (self.weights @ small.flatten().to(self.weights)).reshape(self.shape)

    def __call__(self, saliency: Map) -> Map:
        """Return the attended map, stretched to the range of `saliency`."""
        attended = maps.resize(self.average(saliency), (saliency.shape[0], saliency.shape[1])).to(saliency)
        return maps.stretch(attended) * (saliency.max() - saliency.min()) + saliency.min()


def read_levels(source: str, box: BlackBox, image: Image) -> tuple[str, list[Float[Tensor, "_ _ _"]]]:
    """Read the features, level by level, from the finest to the coarsest; return their source and them.

    `source` is "self" (the box's own layers), "lab-xy" (colour and place, no network), the spec of another box, or
    "auto": self where the box has layers, else lab-xy.
    """
    if source == "auto":
        source = "self" if isinstance(box, GreyBox) and _has_layers(box) else "lab-xy"
    if source == "lab-xy":
        return source, [make_lab_xy(image)]
    source_box = box if source == "self" else specs.open_box(source)
    if not isinstance(source_box, GreyBox):
        raise BoxError(f"expected a box with layers for features={source!r}, got {source_box.name}: use lab-xy or none")
    resized = image[None].float().to(source_box.device)
    if tuple(resized.shape[-2:]) != tuple(source_box.size):
        resized = functional.interpolate(resized, size=source_box.size, mode="bilinear", antialias=True, align_corners=False)
    return source, [each[0].float().cpu() for each in source_box.activations(resized, source_box.layers()).values()]


def _has_layers(box: GreyBox) -> bool:
    try:
        return bool(box.layers())
    except BoxError:  # a network without feature maps
        return False


def join_levels(source: str, levels: Sequence[Float[Tensor, "_ _ _"]], side: int = 56) -> Float[Tensor, "d v u"]:
    """Join all levels into one feature, so that each level counts the same: its pixels have length 1 / √levels."""
    shape = (min(side, levels[0].shape[-2]), min(side, levels[0].shape[-1])) if source == "lab-xy" else (side, side)
    options: dict[str, Any] = {"size": shape, "mode": "bilinear", "antialias": True, "align_corners": False}
    sized = [functional.interpolate(each[None], **options)[0] for each in levels]
    if source == "lab-xy":
        return sized[0]
    level = 1 / len(sized) ** 0.5
    return torch.cat([functional.normalize(each, dim=0) * level for each in sized])


def make_lab_xy(image: Image) -> Float[Tensor, "_ h w"]:
    """Stack CIELAB and place, in units that match the attention's temperature: 20 ΔE, or 15 % of the side, is 0.3.

    Of an image that has not three channels, these stand for CIELAB, each brought to the same deviation.
    """
    colours = image.float().cpu()
    lab = to_lab(colours, XYZ, WHITE) if len(colours) == 3 else to_colours(colours)
    height, width = lab.shape[-2:]
    y, x = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    return torch.cat([lab * (0.3 / 20), torch.stack([y, x]) * (0.3 / 0.15)])
