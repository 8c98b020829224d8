"""Adversarial training. Madry et al., Towards Deep Learning Models Resistant to Adversarial Attacks, ICLR 2018."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from salience.engine.fit import Row
from salience.trainers import _classifier
from salience.trainers._attack import Attack
from salience.trainers._step import Step, crossed


@dataclass(frozen=True)
class Adversarial(_classifier.Trains):
    """Learn from pictures that were changed to make the network wrong (PGD; FGSM with one step).

    loss = CE(f(x + δ), y),   δ makes it as large as |δ| ≤ ε allows

    The search begins evenly within the bounds and takes signs of slopes; one step of length ε is the fast gradient sign
    method (Goodfellow et al., ICLR 2015) with that beginning.

    Departs from the paper: the attack looks at the network in eval mode; three steps, for a small machine, where the
    authors take 10 (CIFAR-10) and 40 (MNIST). Cost: T + 1 forward and backward passes.
    """

    epsilon: float = 8 / 255  # ε, the farthest that a pixel of 0…1 goes
    attack_steps: int = 3  # T; 1 is FGSM
    attack_rate: float | None = None  # α, the length of one step; none given: 1.25 ε / T, and ε for one step

    def __post_init__(self) -> None:
        self.attack  # noqa: B018  # checks the settings

    @property
    def attack(self) -> Attack:
        """The search."""
        return Attack(self.epsilon, self.attack_steps, self.attack_rate, even=True)

    def step(self, step: Step) -> tuple[Tensor, Row]:
        """Return the loss of a batch."""
        everywhere = step.images.new_ones(len(step.images), 1, *step.images.shape[2:])
        with step.looking():
            changed = self.attack(step, lambda logits: crossed(logits, step.labels), everywhere)
        loss = crossed(step.logits(changed), step.labels).mean()
        return loss, {"loss": float(loss.detach())}
