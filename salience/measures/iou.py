"""Intersection over union. Sattarzadeh et al., SISE, AAAI 2021."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from typing_extensions import Doc

from salience.case import Better, Case, MeasureResult, Need
from salience.engine import maps
from salience.measures._levels import count_by_threshold


@dataclass(frozen=True)
class Iou:
    """Hold the highest pixels against the object: what they have in common, of what either covers.

    iou = |H ∩ object| / |H ∪ object|        H = the highest pixels

    "sise-20": H is the highest 20 % of the pixels, exactly; among equal ones the first in reading order. An object of
    another size cannot be matched, so a perfect map stays below 1. "best": the highest iou over every threshold of the
    map. It is an oracle, for the truth chooses the threshold: read it as what the map's order would allow.

    Range 0 to 1; NaN without an object. Cost: no pass. Departs: "best" is no protocol of the paper.

    >>> from salience.boxes import toy
    >>> image = toy.picture()  # a red patch on grey; the red channel is the map
    >>> case = Case(toy.load("colour"), image, 0, image[0], truth=image[0] > 0.5)
    >>> round(Iou()(case).value, 2)
    0.31
    """

    protocol: Annotated[Literal["sise-20", "best"], Doc("which pixels count as the map's")] = "sise-20"
    better: ClassVar[Better] = "higher"
    needs: ClassVar[tuple[Need, ...]] = ("truth",)

    def __call__(self, case: Case) -> MeasureResult:
        """Measure one case."""
        if not bool(case.place.any()):
            return MeasureResult(float("nan"))
        if self.protocol == "sise-20":
            return MeasureResult(
                maps.intersection_over_union(maps.mark_top(case.saliency, round(0.2 * case.saliency.numel())), case.place)
            )
        marked, hits = count_by_threshold(case.saliency, case.place)
        ious = hits / (marked + case.place.sum() - hits)
        return MeasureResult(float(ious.max()), {"share": float(marked[ious.argmax()]) / case.saliency.numel()})
