"""Energy-based pointing game. Wang et al., Score-CAM, CVPR workshops 2020."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from typing_extensions import Doc

from salience.case import Better, Case, MeasureResult, Need
from salience.measures._levels import scale


@dataclass(frozen=True)
class Energy:
    """Compute the share of the map that lies on the object.

    energy = Σ over the object's pixels of S / Σ over all pixels of S

    "score-cam": S is the map in 0…1, (map − min) / (max − min), so that an offset changes nothing. "sise": S is the
    map as it is, which must not go below 0 (SISE, AAAI 2021: its maps begin at 0). A map without meaning gets
    the object's share of the image: read it beside that.

    Range 0 to 1. NaN without an object, where S sums to 0, for a flat map under "score-cam" and for a map with
    values below 0 under "sise". Cost: no pass. Departs in nothing.

    >>> from salience.boxes import toy
    >>> image = toy.picture()  # a red patch on grey; the red channel is the map
    >>> case = Case(toy.load("colour"), image, 0, image[0], truth=image[0] > 0.5)
    >>> round(Energy()(case).value, 2)
    1.0
    """

    protocol: Annotated[Literal["score-cam", "sise"], Doc("whether the map is scaled first")] = "score-cam"
    better: ClassVar[Better] = "higher"
    needs: ClassVar[tuple[Need, ...]] = ("truth",)

    def __call__(self, case: Case) -> MeasureResult:
        """Measure one case."""
        high = scale(case.saliency) if self.protocol == "score-cam" else case.saliency.double()
        total = float(high.sum())
        if not bool(case.place.any()) or not total > 0 or float(high.min()) < 0:
            return MeasureResult(float("nan"))
        return MeasureResult(float(high[case.place].sum()) / total, {"area": float(case.place.double().mean())})
