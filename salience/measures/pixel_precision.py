"""Pixel average precision. Choe et al., Evaluating weakly supervised object localization methods right, CVPR 2020."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from typing_extensions import Doc

from salience.case import Better, Case, MeasureResult, Need
from salience.measures._levels import count_by_threshold


@dataclass(frozen=True)
class PixelPrecision:
    """Take the map as a detector of the object's pixels and give its average precision over all thresholds.

    AP = Σ over the map's values t, the highest first, of (recall(t) − recall before t) · precision(t)

    "average-precision": every value of the map is a threshold, pixels of one value come together, and nothing is
    interpolated. A map without meaning gets the object's share of the image.

    Range 0 to 1; NaN without an object. Cost: no pass. Departs: the paper pools the pixels of all pictures before it
    counts; here each picture has its own figure, so that a mean has an interval and a large object weighs no more.

    >>> from salience.boxes import toy
    >>> image = toy.picture()  # a red patch on grey; the red channel is the map
    >>> case = Case(toy.load("colour"), image, 0, image[0], truth=image[0] > 0.5)
    >>> round(PixelPrecision()(case).value, 2)
    1.0
    """

    protocol: Annotated[Literal["average-precision"], Doc("how the thresholds are taken together")] = "average-precision"
    better: ClassVar[Better] = "higher"
    needs: ClassVar[tuple[Need, ...]] = ("truth",)

    def __call__(self, case: Case) -> MeasureResult:
        """Measure one case."""
        if not bool(case.place.any()):
            return MeasureResult(float("nan"))
        marked, hits = count_by_threshold(case.saliency, case.place)
        recall = hits / hits[-1]
        return MeasureResult(float((torch.diff(recall, prepend=recall.new_zeros(1)) * hits / marked).sum()))
