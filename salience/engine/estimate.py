"""Fold masks and scores into a map, by named estimators shared by all samplers.

With N masks m_i of mean p and scores y_i, at each pixel:

    mean        Σ y m / (N p)                   RISE as published
    normalised  Σ y m / Σ m                     no uneven coverage
    centred     Σ (y − ȳ) m / (N p)             the covariance form: without the constant, which carries only noise
    ridge       regression of y on the mean of m over the cells of a grid

Each has a standard error per pixel, and can be merged with another of its kind.
"""

from __future__ import annotations

from typing import Literal, Protocol, Self, get_args, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from salience.engine import maps
from salience.errors import SettingError
from salience.types import Found, Map, Masks, Scores

Name = Literal["mean", "normalised", "centred", "ridge"]
BLOCK = 32  # consecutive masks that go to the same half


@runtime_checkable
class Estimator(Protocol):
    """Takes in batches and folds them."""

    def add(self, masks: Masks, scores: Scores) -> None:
        """Take in a batch."""
        ...

    def merge(self, other: Self) -> Self:
        """Return the estimator that has seen both."""
        ...

    def fold(self) -> tuple[Map, Map]:
        """Return the map and the standard error of each of its pixels."""
        ...


class Moments:
    """`mean`, `normalised` and `centred`, from the running sums Σ y^a m^b, a in 0…2, b in 1…2, in double precision."""

    def __init__(self, name: Name, size: tuple[int, int], keep: float) -> None:
        self.name, self.size, self.keep = name, size, keep
        self.scores = torch.zeros(3, dtype=torch.float64)  # N, Σ y, Σ y²
        self.sums: Float[Tensor, "2 3 p"] | None = None

    def add(self, masks: Masks, scores: Scores) -> None:
        """Take in a batch."""
        flat = masks.flatten(1)
        powers = torch.stack([torch.ones_like(scores), scores, scores**2])
        sums = torch.stack([powers.to(flat) @ flat, powers.to(flat) @ flat.square()])
        sums = (sums.cpu() if sums.device.type == "mps" else sums).double()  # Apple's GPUs have no double precision
        self.sums = sums if self.sums is None else self.sums.add_(sums)
        self.scores += powers.cpu().double().sum(1)

    def merge(self, other: Moments) -> Moments:
        """Return the estimator that has seen both."""
        both = Moments(self.name, self.size, self.keep)
        both.scores = self.scores + other.scores
        seen = [each.sums for each in (self, other) if each.sums is not None]
        both.sums = seen[0] + seen[1] if len(seen) == 2 else seen[0]
        return both

    def fold(self) -> tuple[Map, Map]:
        """Return the map and the standard error of each of its pixels."""
        if self.sums is None:
            raise SettingError("expected at least one mask to fold, got none: add some first")
        n, total, squares = self.scores.tolist()
        p, mean = self.keep, total / n
        (m, ym, yym), (mm, ymm, yymm) = self.sums.cpu()
        if self.name == "normalised":
            saliency = ym / m.clamp(min=1e-12)
            residual = yymm - 2 * saliency * ymm + saliency**2 * mm  # Σ (m (y − S))²
            error = residual.clamp(min=0).sqrt() / m.clamp(min=1e-12)
        elif self.name == "mean":
            saliency = ym / (n * p)
            error = (yymm / n - (ym / n) ** 2).clamp(min=0).sqrt() / (n**0.5 * p)
        else:
            saliency = (ym - mean * m) / (n * p)
            second = yymm - 2 * mean * ymm + mean**2 * mm  # Σ (y − ȳ)² m², then the other two terms of (m − p)²
            second += p**2 * (squares - n * mean**2) - 2 * p * (yym - 2 * mean * ym + mean**2 * m)
            error = (second / n - (saliency * p) ** 2).clamp(min=0).sqrt() / (n**0.5 * p)
        return saliency.reshape(self.size), error.reshape(self.size)


class Ridge:
    """`ridge`: y ≈ b + w · x, where x is the mask's mean over each cell of a grid; the weights, enlarged, are the map.

    The penalty is `strength` times the mean variance of a cell times N, so that it does not depend on N or on p.
    """

    def __init__(self, size: tuple[int, int], cells: int, strength: float = 0.01) -> None:
        self.size, self.cells, self.strength = size, cells, strength
        wide = cells**2 + 2  # 1, the cells, the score
        self.products = torch.zeros(wide, wide, dtype=torch.float64)

    def add(self, masks: Masks, scores: Scores) -> None:
        """Take in a batch."""
        x = functional.adaptive_avg_pool2d(masks[:, None], self.cells).flatten(1)
        rows = torch.cat([torch.ones_like(x[:, :1]), x, scores[:, None].to(x)], dim=1).cpu().double()
        self.products += rows.T @ rows

    def merge(self, other: Ridge) -> Ridge:
        """Return the estimator that has seen both."""
        both = Ridge(self.size, self.cells, self.strength)
        both.products = self.products + other.products
        return both

    def fold(self) -> tuple[Map, Map]:
        """Return the map and the standard error of each of its pixels."""
        n = self.products[0, 0].clamp(min=1)
        centred = self.products - torch.outer(self.products[0], self.products[0]) / n
        xx, xy, yy = centred[1:-1, 1:-1], centred[1:-1, -1], centred[-1, -1]
        penalty = self.strength * xx.diagonal().mean().clamp(min=1e-12)
        inverse = torch.linalg.inv(xx + penalty * torch.eye(len(xx), dtype=xx.dtype))
        weights = inverse @ xy
        residual = (yy - 2 * weights @ xy + weights @ xx @ weights).clamp(min=0)
        noise = residual / (n - 1 - (inverse * xx).sum()).clamp(min=1)  # trace(inverse · xx): effective parameters
        error = (noise * (inverse @ xx @ inverse).diagonal()).clamp(min=0).sqrt()
        saliency, error = (maps.resize(each.reshape(self.cells, self.cells), self.size) for each in (weights, error))
        return saliency, error


def of(name: Name, size: tuple[int, int], keep: float, cells: int) -> Estimator:
    """Make the estimator of that name for masks of mean `keep`; `cells` is the side of the grid for `ridge`."""
    if name not in get_args(Name):
        raise SettingError(f"expected an estimator, one of {', '.join(get_args(Name))}, got {name!r}")
    return Ridge(size, cells) if name == "ridge" else Moments(name, size, keep)


class Halves:
    """An estimator that also knows how far its two halves agree. Masks go to the halves in blocks, by their number."""

    def __init__(self, first: Estimator, second: Estimator) -> None:
        self.sides = (first, second)
        self.count = 0

    def add(self, masks: Masks, scores: Scores) -> None:
        """Take in a batch."""
        begin = 0
        while begin < len(scores):
            end = min(len(scores), begin + BLOCK - self.count % BLOCK)
            self.sides[self.count // BLOCK % 2].add(masks[begin:end], scores[begin:end])
            self.count += end - begin
            begin = end

    def found(self) -> Found:
        """Fold what has been seen. Stability compares every fourth pixel of the halves' maps, which is plenty."""
        if self.count <= BLOCK:
            saliency, error = self.sides[0].fold()
            return Found(saliency.float(), error.float())
        saliency, error = self.sides[0].merge(self.sides[1]).fold()
        one, other = (side.fold()[0][::4, ::4] for side in self.sides)
        return Found(saliency.float(), error.float(), maps.agreement(one, other))
