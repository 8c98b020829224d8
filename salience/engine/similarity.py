"""The similarity of two maps. Structural similarity: Wang, Bovik, Sheikh and Simoncelli, Image Quality Assessment, 2004."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from salience.engine import maps
from salience.errors import SettingError
from salience.types import Map

Kind = Literal["spearman", "ssim", "top-k"]
SHARE = 0.1  # of the pixels that "top-k" compares


def compare(one: Map, other: Float[Tensor, "y x"], kind: Kind = "spearman") -> float:
    """Compare two maps; 1 for a map with itself, NaN where one is constant or not finite.

    "spearman" correlates ranks; "ssim" is the structural similarity of the maps scaled to 0…1; "top-k" is the
    intersection over union of their highest tenths.

    >>> round(compare(torch.arange(9.0).reshape(3, 3), torch.arange(9.0).reshape(3, 3) ** 2), 6)
    1.0
    """
    if kind not in get_args(Kind):
        raise SettingError(f"expected a similarity, one of {', '.join(get_args(Kind))}, got {kind!r}")
    if one.shape != other.shape:
        shapes = f"{tuple(one.shape)} and {tuple(other.shape)}"
        raise SettingError(f"expected two maps of one size, got {shapes}: resize one with maps.resize")
    if maps.find_flaws(one) or maps.find_flaws(other):
        return float("nan")
    first, second = one.detach().double().cpu(), other.detach().double().cpu()
    if kind == "ssim":
        return ssim(first, second)
    if kind == "spearman":
        return maps.rank_agreement(first, second)
    return maps.intersection_over_union(*(maps.mark_top(each, round(SHARE * each.numel())) for each in (first, second)))


def relative_change(before: Map, after: Map, *, relative: bool = True) -> float:
    """Return ‖after − before‖₂, relative to ‖before‖₂; NaN where that is 0.

    >>> relative_change(torch.ones(2, 2), 1.5 * torch.ones(2, 2))
    0.5
    """
    first, second = before.detach().double().cpu(), after.detach().double().cpu()
    change, size = float((second - first).norm()), float(first.norm()) if relative else 1.0
    return change / size if size > 0 else float("nan")


def ssim(one: Map, other: Map) -> float:
    """Return the mean structural similarity; NaN for maps that are smaller than its 11×11 Gaussian (σ = 1.5).

    Both maps are scaled to 0…1; the constants are (0.01)² and (0.03)²; only places where the whole window lies inside
    the map count.

    >>> round(ssim(torch.arange(256.0).reshape(16, 16), torch.arange(256.0).reshape(16, 16).T), 2)
    0.16
    """
    if min(one.shape) < 11:
        return float("nan")
    x, y = maps.stretch(one), maps.stretch(other)
    mx, my, mxx, myy, mxy = _smooth(torch.stack([x, y, x * x, y * y, x * y]))
    vx, vy, vxy = mxx - mx * mx, myy - my * my, mxy - mx * my
    c1, c2 = 0.01**2, 0.03**2
    values = (2 * mx * my + c1) * (2 * vxy + c2) / ((mx * mx + my * my + c1) * (vx + vy + c2))
    return float(values.mean())


def _smooth(values: Float[Tensor, "n h w"]) -> Float[Tensor, "n y x"]:
    kernel = torch.softmax(-(torch.arange(-5, 6).to(values) ** 2) / (2 * 1.5**2), dim=0)
    rows = functional.conv2d(values[:, None], kernel[None, None, :, None])
    return functional.conv2d(rows, kernel[None, None, None])[:, 0]
