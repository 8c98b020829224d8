"""Fold masks and scores into a map, by named estimators shared by all samplers.

With N masks m_i of mean p and scores y_i, at each pixel:

    mean        Σ y m / (N p)                   RISE as published
    normalised  Σ y m / Σ m                     no uneven coverage
    centred     Σ (y − ȳ) m / (N p)             the covariance form: without the constant, which adds only noise
    ridge       regression of y on the mean of m over the cells of a grid

Each can be merged with others of its kind. All but `ridge` have a standard error per pixel, for independent masks; where
masks are not independent, and for `ridge`, `jackknife` estimates it.
"""

from __future__ import annotations

from typing import Literal, Protocol, Self, get_args, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from salience.engine import maps
from salience.errors import SettingError
from salience.types import Map, Masks, Scores

RECENT = 256  # masks whose sums single precision holds well enough
Name = Literal["mean", "normalised", "centred", "ridge"]


@runtime_checkable
class Estimator(Protocol):
    """Adds up batches of masks and scores, and folds them."""

    def add(self, masks: Masks, scores: Scores) -> None:
        """Add a batch."""
        ...

    def merge(self, *others: Self) -> Self:
        """Return the estimator of the masks of all."""
        ...

    def without(self, *others: Self) -> Self:
        """Return the estimator of this one's masks less those of the others, which are part of it."""
        ...

    def map(self) -> Map:
        """Return the map."""
        ...

    def error(self) -> Map | None:
        """Return the standard error of each pixel of the map, where the estimator has one."""
        ...


class Moments:
    """`mean`, `normalised` and `centred`, from the running sums Σ y^a m^b, a in 0…2, b in 1…2, in double precision.

    >>> moments = Moments("mean", (1, 2), keep=0.5)
    >>> moments.add(torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]]), torch.tensor([0.9, 0.3]))
    >>> moments.map().round(decimals=6)
    tensor([[0.9000, 0.3000]], dtype=torch.float64)
    """

    def __init__(self, name: Name, size: tuple[int, int], keep: float) -> None:
        self.name, self.size, self.keep = name, size, keep
        self.scores = torch.zeros(3, dtype=torch.float64)  # N, Σ y, Σ y²
        self.sums: Float[Tensor, "2 3 p"] | None = None
        self.recent: Float[Tensor, "2 3 p"] | None = None  # of the last few masks, in single precision
        self.recent_count = 0  # how many

    def add(self, masks: Masks, scores: Scores) -> None:
        """Add a batch."""
        flat = masks.flatten(1)
        powers = torch.stack([torch.ones_like(scores), scores, scores**2])
        if self.recent is None:
            self.recent = flat.new_zeros(2, 3, flat.shape[1])
        self.recent[0].addmm_(powers.to(flat), flat)
        self.recent[1].addmm_(powers.to(flat), flat.square())
        self.scores += powers.cpu().double().sum(1)
        self.recent_count += len(flat)
        if self.recent_count >= RECENT:
            self.flush()

    def flush(self) -> None:
        """Add the sums of the last few masks to those in double precision."""
        if self.recent is not None and self.recent_count:
            single = self.recent.cpu() if self.recent.device.type == "mps" else self.recent  # Apple's GPUs have no double
            exact = single.double()
            self.sums = exact.clone() if self.sums is None else self.sums.add_(exact)
            self.recent.zero_()
            self.recent_count = 0

    def merge(self, *others: Moments) -> Moments:
        """Return the estimator of the masks of all."""
        return self._combine(1, *others)

    def without(self, *others: Moments) -> Moments:
        """Return the estimator of this one's masks less those of the others."""
        return self._combine(-1, *others)

    def _combine(self, sign: int, *others: Moments) -> Moments:
        whole = Moments(self.name, self.size, self.keep)
        for each, signed in ((self, 1), *((other, sign) for other in others)):
            each.flush()
            whole.scores = whole.scores + signed * each.scores
            if each.sums is not None:
                whole.sums = each.sums if whole.sums is None else torch.add(whole.sums, each.sums, alpha=signed)
        return whole

    def map(self) -> Map:
        """Return the map."""
        n, total, _, sums = self._read_sums()
        m, ym, _ = sums[0]
        saliency: Tensor
        if self.name == "normalised":
            saliency = ym / m.clamp(min=1e-12)
        elif self.name == "mean":
            saliency = ym / (n * self.keep)
        else:
            saliency = (ym - total / n * m) / (n * self.keep)
        return saliency.reshape(self.size)

    def error(self) -> Map:
        """Return the standard error of each pixel of the map."""
        n, total, squares, ((m, ym, yym), (mm, ymm, yymm)) = self._read_sums()
        p, mean, saliency = self.keep, total / n, self.map().flatten()
        error: Tensor
        if self.name == "normalised":
            residual = yymm - 2 * saliency * ymm + saliency**2 * mm  # Σ (m (y − S))²
            error = residual.clamp(min=0).sqrt() / m.clamp(min=1e-12)
        elif self.name == "mean":
            error = (yymm / n - (ym / n) ** 2).clamp(min=0).sqrt() / (n**0.5 * p)
        else:
            second = yymm - 2 * mean * ymm + mean**2 * mm  # Σ (y − ȳ)² m², then the other two terms of (m − p)²
            second += p**2 * (squares - n * mean**2) - 2 * p * (yym - 2 * mean * ym + mean**2 * m)
            error = (second / n - (saliency * p) ** 2).clamp(min=0).sqrt() / (n**0.5 * p)
        return error.reshape(self.size)

    def _read_sums(self) -> tuple[float, float, float, Float[Tensor, "2 3 p"]]:
        """Return N, Σ y, Σ y² and the other sums."""
        self.flush()
        if self.sums is None:
            raise SettingError("expected at least one mask to fold, got none: add some first")
        n, total, squares = self.scores.tolist()
        return n, total, squares, self.sums.cpu()


class Ridge:
    """`ridge`: y ≈ b + w · x, where x is the mask's mean over each cell of a grid; the weights, enlarged, are the map.

    The penalty is `strength` times the mean variance of a cell times N, so that it does not depend on N or on p.

    >>> ridge = Ridge((1, 2), cells=1)
    >>> ridge.add(torch.tensor([[[1.0, 1.0]], [[0.0, 0.0]]]), torch.tensor([0.9, 0.3]))
    >>> ridge.map().round(decimals=2)
    tensor([[0.5900, 0.5900]], dtype=torch.float64)
    """

    def __init__(self, size: tuple[int, int], cells: int, strength: float = 0.01) -> None:
        self.size, self.cells, self.strength = size, cells, strength
        dimensions = cells**2 + 2  # 1, the cells, the score
        self.products = torch.zeros(dimensions, dimensions, dtype=torch.float64)

    def add(self, masks: Masks, scores: Scores) -> None:
        """Add a batch."""
        x = maps.pool(masks, (self.cells, self.cells)).flatten(1)
        rows = torch.cat([torch.ones_like(x[:, :1]), x, scores[:, None].to(x)], dim=1).cpu().double()
        self.products += rows.T @ rows

    def merge(self, *others: Ridge) -> Ridge:
        """Return the estimator of the masks of all."""
        return self._make_from(self.products + sum(each.products for each in others))

    def without(self, *others: Ridge) -> Ridge:
        """Return the estimator of this one's masks less those of the others."""
        return self._make_from(self.products - sum(each.products for each in others))

    def _make_from(self, products: Tensor) -> Ridge:
        whole = Ridge(self.size, self.cells, self.strength)
        whole.products = products
        return whole

    def map(self) -> Map:
        """Return the map."""
        n = self.products[0, 0].clamp(min=1)
        centred = self.products - torch.outer(self.products[0], self.products[0]) / n
        xx, xy = centred[1:-1, 1:-1], centred[1:-1, -1]
        penalty = self.strength * xx.diagonal().mean().clamp(min=1e-12)
        weights = torch.linalg.solve(xx + penalty * torch.eye(len(xx), dtype=xx.dtype), xy)
        return maps.resize(weights.reshape(self.cells, self.cells), self.size)

    def error(self) -> None:
        """Return none: `jackknife` estimates it."""


def make_estimator(name: Name, size: tuple[int, int], keep: float, cells: int) -> Estimator:
    """Make the estimator of that name for masks of mean `keep`; `cells` is the side of the grid for `ridge`.

    >>> make_estimator("median", (1, 2), 0.5, 0)
    Traceback (most recent call last):
    salience.errors.SettingError: expected an estimator, one of mean, normalised, centred, ridge, got 'median'
    """
    if name not in get_args(Name):
        raise SettingError(f"expected an estimator, one of {', '.join(get_args(Name))}, got {name!r}")
    return Ridge(size, cells) if name == "ridge" else Moments(name, size, keep)
