"""Colours over a photograph: the only place where a map is normalised."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from PIL import Image as pil

from salience.engine import maps
from salience.errors import SettingError, UnknownName
from salience.explanation import Explanation
from salience.picture import Geometry

Scale = Literal["auto", "minmax", "p99", "signed"]
Pixels = Float[ndarray, "y x 3"]
Values = Float[ndarray, "..."]
DIVERGING = frozenset(
    {"PiYG", "PRGn", "BrBG", "PuOr", "RdGy", "RdBu", "RdYlBu", "RdYlGn", "Spectral", "coolwarm", "bwr", "seismic"}
    | {"berlin", "managua", "vanimo"}
)
TOWERING = 2  # pixel gradients have 2.5 to 7, all other maps of ours at most 1.3
GREY = np.array([0.299, 0.587, 0.114], np.float32)  # how bright the eye finds red, green and blue (ITU-R BT.601)


@dataclass(frozen=True)
class Style:
    """How a map is shown.

    >>> Style(scale="signed").span(np.array([-1.0, 3.0]))
    (-3.0, 3.0)
    >>> Style().of(np.linspace(0, 1, 100)).scale
    'minmax'
    """

    alpha: float = 0.75  # how much the strongest colour hides of the photograph, 0…1; the weakest hides nothing
    colours: str | None = None  # a colour map of matplotlib; none given: turbo, or RdBu_r where the scale is signed
    scale: Scale = "auto"  # the colours' ends: minmax, p99 (percentiles 1 and 99), signed (±max |s|) or auto

    def __post_init__(self) -> None:
        if not 0 <= self.alpha <= 1:
            raise SettingError(f"expected 0 ≤ alpha ≤ 1, got {self.alpha:g}")
        if self.scale not in get_args(Scale):
            raise UnknownName.of("scale", str(self.scale), get_args(Scale))
        if self.colours is not None:
            from matplotlib import colormaps

            if self.colours not in colormaps:
                raise UnknownName.of("colour map", self.colours, colormaps, "see matplotlib's list of colour maps")

    def of(self, values: Values) -> Style:
        """Settle `auto`: p99 where few pixels tower over the rest, as in gradients, signed where they do on both sides."""
        if self.scale != "auto":
            return self
        low, high = np.percentile(values, (1, 99))
        if np.abs(values).max() <= TOWERING * np.percentile(np.abs(values), 99):
            return replace(self, scale="minmax")
        both = low < -high / 2 and self.colours is None
        return replace(self, scale="p99", colours="RdBu_r" if both else self.colours)

    @property
    def signed(self) -> bool:
        """Whether the colours are symmetric around 0: asked for, or diverging colours chosen."""
        return self.scale == "signed" or (self.colours or "").removesuffix("_r") in DIVERGING

    def span(self, values: Values) -> tuple[float, float]:
        """Return the raw values at the two ends of the colours."""
        low, high = np.percentile(values, (1, 99)) if self.scale == "p99" else (values.min(), values.max())
        if self.scale == "p99" and high <= low:  # all but a few pixels are the same
            low, high = values.min(), values.max()
        if self.signed:
            most = max(abs(float(low)), abs(float(high)))
            return -most, most
        return float(low), float(high)

    def tint(self, position: Values) -> tuple[Any, Any]:
        """Return colour and opacity at positions 0…1 of the scale: the less a pixel matters, the more photograph."""
        from matplotlib import colormaps

        colour = colormaps[self.colours or ("RdBu_r" if self.signed else "turbo")](position)[..., :3]
        weight = np.abs(2 * position - 1) if self.signed else position
        return colour, (self.alpha * weight**1.2)[..., None]


def is_blank(explanation: Explanation) -> str | None:
    """Say why there is nothing to draw; None where there is something.

    >>> from salience import explain
    >>> red = torch.eye(32) * torch.tensor([1.0, 0.0, 0.0])[:, None, None]
    >>> why = explain("toy:colour", red, "occlusion", window=16, stride=16)
    >>> is_blank(why) is None
    True
    """
    return "; ".join(maps.find_flaws(explanation.saliency)) or None


def read_photograph(explanation: Explanation, size: tuple[int, int] | None = None) -> Pixels:
    """Return the photograph's pixels in 0…1, at its own height and width or at another; grey where it was left out.

    >>> from salience import explain
    >>> red = torch.eye(32) * torch.tensor([1.0, 0.0, 0.0])[:, None, None]
    >>> why = explain("toy:colour", red, "occlusion", window=16, stride=16)
    >>> read_photograph(why, (16, 16)).shape
    (16, 16, 3)
    """
    if not explanation.has_photograph:
        return np.full((*(size or explanation.geometry.photograph), 3), 0.5, np.float32)
    pixels = explanation.picture.pixels
    if size is not None and size != (pixels.height, pixels.width):
        pixels = pixels.resize(size[::-1], pil.Resampling.LANCZOS)
    shown: Pixels = np.asarray(pixels, dtype=np.float32) / 255
    return shown


def geometry_at(explanation: Explanation, size: tuple[int, int]) -> Geometry:
    """Return the way from the map to the photograph at another height and width: large ones need not be drawn whole.

    >>> from salience import explain
    >>> red = torch.eye(32) * torch.tensor([1.0, 0.0, 0.0])[:, None, None]
    >>> why = explain("toy:colour", red, "occlusion", window=16, stride=16)
    >>> geometry_at(why, (16, 16)).photograph
    (16, 16)
    """
    whole = explanation.geometry
    y, x = (wanted / full for wanted, full in zip(size, whole.photograph, strict=True))
    top, bottom, left, right = whole.seen
    return Geometry(size, whole.size, (top * y, bottom * y, left * x, right * x))


def overlay_map(explanation: Explanation, style: Style, size: tuple[int, int] | None = None) -> Pixels:
    """Lay the map over the photograph, at its size; dim what the box did not see, and outline what it saw.

    >>> from salience import explain
    >>> red = torch.eye(32) * torch.tensor([1.0, 0.0, 0.0])[:, None, None]
    >>> why = explain("toy:colour", red, "occlusion", window=16, stride=16)
    >>> overlay_map(why, Style()).shape
    (32, 32, 3)
    """
    under = read_photograph(explanation, size)
    place = geometry_at(explanation, size or explanation.geometry.photograph)
    raw = place.restore(explanation.saliency).numpy()
    unseen = np.isnan(place.restore(torch.zeros_like(explanation.saliency)).numpy())
    if is_blank(explanation) is None:
        values = explanation.saliency.double().numpy()
        style = style.of(values)
        low, high = style.span(values)
        over = blend_colours(under, np.nan_to_num(((raw - low) / (high - low)).clip(0, 1)), style)
    else:
        over = under
    if unseen.any():
        dim = 0.25 + 0.45 * (under @ GREY)[..., None]
        over = np.where(unseen[..., None], dim, over)
        _outline(over, unseen)
    _draw_place(over, explanation, place)
    final: Pixels = over.clip(0, 1)
    return final


def _draw_place(over: Pixels, explanation: Explanation, place: Geometry) -> None:
    """Draw the rectangle of the place that is asked about, into the pixels: white between black, at least a pixel each."""
    asked = (explanation.box.get("question") or {}).get("places", {}).get(explanation.target.name)
    if asked is None:
        return
    top, bottom, left, right = place.seen
    height, width = over.shape[:2]
    x0, x1 = (min(max(round(left + each * (right - left)), 0), width - 1) for each in asked[::2])
    y0, y1 = (min(max(round(top + each * (bottom - top)), 0), height - 1) for each in asked[1::2])
    hair = max(1, round(max(height, width) / 300))
    for grey, out in ((0.0, 2 * hair), (1.0, hair)):
        before = over[max(0, y0 + hair) : y1 - hair + 1, max(0, x0 + hair) : x1 - hair + 1].copy()
        over[max(0, y0 - out + hair) : y1 + out - hair + 1, max(0, x0 - out + hair) : x1 + out - hair + 1] = grey
        over[max(0, y0 + hair) : y1 - hair + 1, max(0, x0 + hair) : x1 - hair + 1] = before


def show_mask(explanation: Explanation, size: tuple[int, int] | None = None) -> Pixels | None:
    """Show the photograph through the mask that a method found, over grey; None where it found none.

    >>> from salience import explain
    >>> red = torch.eye(32) * torch.tensor([1.0, 0.0, 0.0])[:, None, None]
    >>> why = explain("toy:colour", red, "occlusion", window=16, stride=16)
    >>> show_mask(why) is None
    True
    """
    if "mask" not in explanation.evidence:
        return None
    place = geometry_at(explanation, size or explanation.geometry.photograph)
    mask = np.nan_to_num(place.restore(explanation.evidence["mask"]).numpy())[..., None].clip(0, 1)
    shown: Pixels = mask * read_photograph(explanation, size) + (1 - mask) * np.float32(0.5)
    return shown


def blend_colours(under: Pixels, position: Values, style: Style) -> Pixels:
    """Lay positions 0…1 of a settled style's scale over pixels.

    >>> blend_colours(np.zeros((4, 4, 3), np.float32), np.ones((4, 4)), Style(scale="minmax")).shape
    (4, 4, 3)
    """
    colour, weight = style.tint(position)
    calm = 0.35 * under + 0.65 * (under @ GREY)[..., None]  # muted, lest its own colours be read as evidence
    over: Pixels = (1 - weight) * calm + weight * colour
    return over


def _outline(pixels: Pixels, unseen: Any) -> None:
    """Draw the border of what was seen, into the pixels: white, as thick as a hair."""
    rows, columns = np.flatnonzero(~unseen.all(1)), np.flatnonzero(~unseen.all(0))
    if not len(rows) or not len(columns):
        return
    thick = max(1, round(min(pixels.shape[:2]) / 300))
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    if top > 0:
        pixels[top : top + thick, left:right] = 1
    if bottom < pixels.shape[0]:
        pixels[bottom - thick : bottom, left:right] = 1
    if left > 0:
        pixels[top:bottom, left : left + thick] = 1
    if right < pixels.shape[1]:
        pixels[top:bottom, right - thick : right] = 1
