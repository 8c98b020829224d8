"""Cost, in passes of the network as black-box methods count it: Petsiuk, Das and Saenko, RISE, BMVC 2018."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from typing_extensions import Doc

from salience.case import Better, Case, MeasureResult, Need
from salience.errors import SettingError


@dataclass(frozen=True)
class Cost:
    """Return the cost of the map.

    cost = passes, seconds or bytes spent on one map

    "passes" counts the images that the box was shown, each forward pass as one. "seconds" is the time of the whole
    call on the machine that made the map. "memory" is the peak in bytes above what was there before; not defined
    where it was not measured.

    Range 0 and up. Cost: no pass.

    >>> from salience import case
    >>> from salience.boxes import toy
    >>> image = toy.picture()
    >>> Cost()(Case(toy.load("colour"), image, 0, image[0], spent=case.Cost(passes=4000, seconds=12.5))).value
    4000.0
    """

    protocol: Annotated[Literal["passes", "seconds", "memory"], Doc("what is counted")] = "passes"
    better: ClassVar[Better] = "lower"
    needs: ClassVar[tuple[Need, ...]] = ("spent",)

    def __call__(self, case: Case) -> MeasureResult:
        """Measure one case."""
        if case.spent is None:
            raise SettingError("expected a case with the cost of its map, got none: leave the measure out")
        value = getattr(case.spent, self.protocol)
        return MeasureResult(float("nan") if value is None else float(value))
