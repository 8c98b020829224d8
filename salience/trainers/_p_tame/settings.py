"""P-TAME's settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from typing_extensions import Doc

from salience.engine import validate
from salience.errors import SettingError


@dataclass(frozen=True)
class PTameSettings:
    """The fields of `PTame`, which adds the training."""

    aux: Annotated[Any, Doc('the network whose features are weighed, as kind:name; "box": the box itself')] = (
        "zoo:efficientnet-lite0"
    )
    route: Annotated[Literal["gradient", "queries"], Doc("gradient (through the box), or queries (scores alone)")] = (
        "gradient"
    )
    classes: Annotated[
        tuple[str, ...] | None, Doc("to learn, each by name or index; none given: all with 5 pictures or more")
    ] = None
    ce: Annotated[float, Doc("λ_ce, the weight of being recognised")] = 0.15
    area: Annotated[float, Doc("λ_area, the weight of being small; what both leave of 1 is λ_var, of being smooth")] = 0.85
    power: Annotated[float, Doc("p of the area; below 1 it presses small values to 0")] = 0.3
    border: Annotated[float, Doc("β, what border pixels count for in the smoothness")] = 0.3
    fill: Annotated[str, Doc("what hidden pixels show: black, mean, white, grey, blur, noise or 0…1")] = "black"
    mirror: Annotated[bool, Doc("show every other picture in the mirror")] = True
    masks: Annotated[int, Doc("K, random masks a picture and step (queries only)")] = 8
    cells: Annotated[int, Doc("cells along each side of their grids (queries only)")] = 7
    rate: Annotated[float, Doc("the highest learning rate")] = 1e-3
    decay: Annotated[float, Doc("weight decay")] = 1e-3
    held: Annotated[int, Doc("pictures that are held out, measured while training")] = 32
    search: Annotated[
        int, Doc("fits with other loss weights, sampled at random; the one with the best ROAD on held-out pictures wins")
    ] = 0

    def __post_init__(self) -> None:
        if self.route not in ("gradient", "queries"):
            raise SettingError(f"expected route gradient or queries, got {self.route!r}")
        for name in ("ce", "area", "border"):
            validate.expect_between(name, getattr(self, name), 0, 1)
        if self.ce + self.area > 1 + 1e-9:
            raise SettingError(f"expected ce + area of at most 1, got {self.ce + self.area:g}: the rest is for smoothness")
        for name, least in (("masks", 2), ("cells", 2), ("held", 0), ("search", 0)):
            validate.expect_between(name, getattr(self, name), least, None)
        for name in ("power", "rate"):
            validate.expect_between(name, getattr(self, name), 0, None, open_ends=True)
        if self.search and (self.route == "queries" or not self.held):
            raise SettingError("expected route gradient and held-out pictures for a search: only its loss has weights")

    @property
    def smooth(self) -> float:
        """λ_var."""
        return max(0.0, 1 - self.ce - self.area)
