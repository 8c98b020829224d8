"""What of a box is trained, and how."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Annotated

from typing_extensions import Doc

from salience.engine import validate
from salience.engine.training.loop import Loop


@dataclass(frozen=True)
class TrainingConfig:
    """What of a box is trained, how fast, and on which of the pictures."""

    epochs: Annotated[float | None, Doc("times that all pictures are seen; wins over steps")] = None
    scratch: Annotated[bool, Doc("draw all weights anew first; otherwise go on from what the box has learnt")] = False
    only: Annotated[tuple[str, ...], Doc("train these modules only, by the beginnings of their names; none given: all")] = ()
    rate: Annotated[float, Doc("the highest learning rate (1e-3 from scratch)")] = 1e-4
    decay: Annotated[float, Doc("weight decay")] = 1e-4
    mirror: Annotated[bool, Doc("show every other picture in the mirror")] = False
    shift: Annotated[int, Doc("move every picture by up to so many pixels")] = 0
    new_statistics: Annotated[bool | None, Doc("let batch norms learn theirs anew; none given: only from scratch")] = None
    held: Annotated[float, Doc("the share of pictures that are held out, measured while training")] = 0.1

    def __post_init__(self) -> None:
        validate.expect_between("epochs", 1 if self.epochs is None else self.epochs, 0, None, open_ends=True)
        validate.expect_between("rate", self.rate, 0, None, open_ends=True)
        validate.expect_between("held", self.held, 0, 0.9)
        for name in ("decay", "shift"):
            validate.expect_between(name, getattr(self, name), 0, None)

    def over(self, loop: Loop, count: int) -> Loop:
        """Say epochs as steps."""
        return loop if self.epochs is None else replace(loop, steps=max(1, math.ceil(self.epochs * count / loop.batch)))
