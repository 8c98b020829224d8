"""Complexity. Size of the compressed picture, see Donderi, Visual complexity: a review, Psychological Bulletin 2006."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import torch
from PIL import Image as pil
from typing_extensions import Doc

from salience.case import Better, Case, MeasureResult, Need
from salience.measures._levels import scale

SETTINGS: dict[str, dict[str, Any]] = {"png": {"optimize": True}, "jpeg": {"quality": 75}}


@dataclass(frozen=True)
class Complexity:
    """Draw the map in grey and compress it; noise needs many bytes, a few clear shapes need few.

    complexity = bytes of the file / pixels        pixel = round(255 · (map − min) / (max − min)), 8 bits

    "png": without loss, Pillow's `optimize`. "jpeg": with loss, quality 75, which passes over the finest noise. The
    file's own head is counted, so a small map looks more complex; compare maps of one size.

    Range above 0; about 1 for noise as "png". NaN for a flat map. Cost: no pass. Departs: the review measures
    pictures, maps are ours; another release of the compression library may give a few bytes more or less.

    >>> from salience.boxes import toy
    >>> case = Case(toy.load("colour"), toy.picture(), 0, toy.picture()[0])  # the red channel as a map
    >>> round(Complexity()(case).value, 2)
    0.08
    """

    protocol: Annotated[Literal["png", "jpeg"], Doc("the file format")] = "png"
    better: ClassVar[Better] = "lower"
    needs: ClassVar[tuple[Need, ...]] = ()

    def __call__(self, case: Case) -> MeasureResult:
        """Measure one case."""
        grey = 255 * scale(case.saliency)
        if not bool(torch.isfinite(grey).all()):
            return MeasureResult(float("nan"))
        file = io.BytesIO()
        picture = pil.fromarray(grey.round().to(torch.uint8).cpu().numpy())
        picture.save(file, self.protocol, **SETTINGS[self.protocol])
        return MeasureResult(file.tell() / grey.numel())
