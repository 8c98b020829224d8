"""Fold masks and the scores of all classes into a map a class."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from salience.engine.estimate.moments import Name
from salience.errors import SettingError
from salience.types import Masks, Probabilities


class AllClasses:
    """`mean`, `normalised` and `centred` of all classes together, without errors: one matrix product a batch.

    >>> estimator = AllClasses("mean", (1, 2), keep=0.5)
    >>> estimator.add(torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]]), torch.tensor([[0.9, 0.1], [0.3, 0.7]]))
    >>> estimator.fold()[1]
    tensor([[0.1000, 0.7000]])
    """

    def __init__(self, name: Name, size: tuple[int, int], keep: float) -> None:
        self.name, self.size, self.keep, self.count = name, size, keep, 0
        self.products = self.scores = torch.zeros(())  # Σ y ⊗ m, and last Σ m; Σ y

    def add(self, masks: Masks, scores: Probabilities) -> None:
        """Add a batch."""
        flat, rows = masks.flatten(1), scores.to(masks)
        if self.count == 0:
            self.products, self.scores = flat.new_zeros(rows.shape[1] + 1, flat.shape[1]), flat.new_zeros(rows.shape[1])
        self.products.addmm_(torch.cat([rows, torch.ones_like(rows[:, :1])], dim=1).T, flat)
        self.scores = self.scores + rows.sum(0)
        self.count += len(rows)

    def fold(self) -> Float[Tensor, "k h w"]:
        """Return a map a class."""
        if self.count == 0:
            raise SettingError("expected at least one mask to fold, got none: add some first")
        saliency, masks = self.products[:-1], self.products[-1]
        if self.name == "centred":
            saliency = saliency.addr(self.scores / self.count, masks, alpha=-1)
        by = masks.clamp(min=1e-12) if self.name == "normalised" else self.count * self.keep
        return (saliency / by).view(-1, *self.size)
