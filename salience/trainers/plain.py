"""Ordinary training, which all others are compared with."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from salience.engine.fit import Row
from salience.trainers import _classifier
from salience.trainers._step import Step, crossed


@dataclass(frozen=True)
class Plain(_classifier.Trains):
    """Make the right class likely.

    loss = CE(f(x), y)

    Departs: in nothing. Cost: one forward and one backward pass.
    """

    def step(self, step: Step) -> tuple[Tensor, Row]:
        """Return the loss of a batch."""
        loss = crossed(step.logits(step.images), step.labels).mean()
        return loss, {"loss": float(loss.detach())}
