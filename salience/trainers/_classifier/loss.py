"""One step of a training: the network, a batch, and what is known of both."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from salience.engine.training.history import Row
from salience.engine.training.modes import evaluating
from salience.errors import SettingError

Batch = Float[Tensor, "n c h w"]
Labels = Int[Tensor, " n"]
Logits = Float[Tensor, "n k"]


@dataclass(frozen=True)
class Step:
    """A batch in the network's own units, which are (pixel − mean) / std of pixels in 0…1."""

    module: nn.Module
    images: Batch
    labels: Labels
    mean: tuple[float, ...] = (0.0,)  # a number a channel, or one for all
    std: tuple[float, ...] = (1.0,)
    progress: float = 1.0  # the share of the training that is done
    generator: torch.Generator = field(default_factory=torch.Generator)  # where random numbers come from

    @property
    def unit(self) -> Float[Tensor, "c 1 1"]:
        """How much one unit of a pixel in 0…1 is here."""
        return 1 / self.images.new_tensor(self.std)[:, None, None]

    @property
    def black(self) -> Float[Tensor, "c 1 1"]:
        """The least that a pixel can be."""
        return -self.images.new_tensor(self.mean)[:, None, None] * self.unit

    def within(self, images: Batch) -> Batch:
        """Cut off what no pixel can be."""
        return torch.maximum(torch.minimum(images, self.black + self.unit), self.black)

    def uniform(self, *shape: int) -> Tensor:
        """Draw numbers in 0…1."""
        return torch.rand(shape, generator=self.generator, device=self.generator.device).to(self.images)

    def normal(self, *shape: int) -> Tensor:
        """Draw normal numbers."""
        return torch.randn(shape, generator=self.generator, device=self.generator.device).to(self.images)

    @contextmanager
    def looking(self) -> Iterator[None]:
        """Leave batch norms, dropout and the process's random state alone for a while."""
        with torch.enable_grad(), evaluating(self.module):
            yield

    def pair(self, other: Batch) -> tuple[Logits, Logits]:
        """Answer to the batch and to another in one pass, so that both share the statistics of a batch norm."""
        clean, changed = self.logits(torch.cat([self.images, other])).chunk(2)
        return clean, changed

    def logits(self, images: Batch) -> Logits:
        """Answer to images, in whatever mode the network is."""
        raw: Logits = self.module(images)
        return raw if raw.dtype == torch.float64 else raw.float()


def divergence(clean: Logits, changed: Logits) -> Float[Tensor, " n"]:
    """Return KL(p ‖ q) of two rows of logits each, in nats; gradients flow through both."""
    p = clean.log_softmax(1)
    return (p.exp() * (p - changed.log_softmax(1))).sum(1)


def cross_entropy(logits: Logits, labels: Labels) -> Float[Tensor, " n"]:
    """Return the cross-entropy of each row."""
    return functional.cross_entropy(logits, labels, reduction="none")


class Loss(ABC):
    """What every trainer of classifiers is: a loss for anybody's loop."""

    @abstractmethod
    def step(self, step: Step) -> tuple[Tensor, Row]:
        """Return the loss of a batch, and figures to keep."""

    def __call__(
        self,
        module: nn.Module,
        images: Tensor,
        labels: Tensor,
        *,
        mean: Sequence[float] = (0.0,),
        std: Sequence[float] = (1.0,),
        progress: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return the loss of a batch, a number to call `backward` on.

        `module` gives logits (n k) and is in train mode; `images` (n c h w) are pixels in 0…1, or normalised with `mean`
        and `std`; `labels` (n) are class indices. `progress` is the share of the training that is done, for a warm-up.
        Parameters' gradients, batch norms' statistics and modes are touched by nothing but the returned loss.
        """
        expect_batch(images, labels, mean, std)
        if generator is None:  # seeded by torch's own, which is restored while the network is evaluated
            generator = torch.Generator(images.device).manual_seed(int(torch.randint(2**62, ())))
        return self.step(Step(module, images, labels, tuple(mean), tuple(std), progress, generator))[0]


def expect_batch(images: Tensor, labels: Tensor, mean: Sequence[float], std: Sequence[float]) -> None:
    """Refuse what is no batch of labelled images."""
    if images.ndim != 4 or not images.is_floating_point():
        raise SettingError(f"expected images (n c h w) of floats, got {images.dtype} {tuple(images.shape)}")
    if labels.shape != images.shape[:1] or labels.is_floating_point():
        got = f"{labels.dtype} {tuple(labels.shape)}"
        raise SettingError(f"expected a class index for each of {len(images)} images, got {got}")
    for name, given in (("mean", mean), ("std", std)):
        if len(given) not in (1, images.shape[1]):
            raise SettingError(f"expected {name} of 1 or {images.shape[1]} numbers, got {len(given)}")
