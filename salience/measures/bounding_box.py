"""Bounding box metric. Schulz, Sixt, Tombari and Landgraf, Restricting the flow, ICLR 2020."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from typing_extensions import Doc

from salience.case import Better, Case, MeasureResult, Need
from salience.engine import maps


@dataclass(frozen=True)
class BoundingBox:
    """Mark as many of the highest pixels as the object has, and say which part of them lies on it.

    covered = |H ∩ object| / |object|        H = the |object| highest pixels

    "schulz-2020": exactly as many, among equal ones the first in reading order. It fits itself to the object's size;
    a map without meaning gets the object's share of the image.

    Range 0 to 1; NaN without an object. Cost: no pass. Departs: the paper takes pictures whose object covers at most a
    third of them, which is for whoever chooses the pictures.

    >>> from salience.boxes import toy
    >>> image = toy.picture()  # a red patch on grey; the red channel is the map
    >>> case = Case(toy.load("colour"), image, 0, image[0], truth=image[0] > 0.5)
    >>> round(BoundingBox()(case).value, 2)
    1.0
    """

    protocol: Annotated[Literal["schulz-2020"], Doc("how many pixels are marked")] = "schulz-2020"
    better: ClassVar[Better] = "higher"
    needs: ClassVar[tuple[Need, ...]] = ("truth",)

    def __call__(self, case: Case) -> MeasureResult:
        """Measure one case."""
        count = int(case.place.sum())
        if count == 0:
            return MeasureResult(float("nan"))
        return MeasureResult(float((maps.mark_top(case.saliency, count) & case.place).sum()) / count)
