"""Estimators against slow sums, and their error maps against the truth."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
import torch

from salience.engine import maps
from salience.engine.estimate import moments
from salience.engine.perturb import masks
from salience.errors import SettingError
from tests.helpers import noise, same

SIZE, KEEP, N = (6, 7), 0.4, 90
NAMES = get_args(moments.Name)


def sample(count: int = N) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw masks, and scores that depend on them."""
    drawn = torch.cat(
        [lot.rasterise(torch.zeros(0, dtype=torch.float64)) for lot in masks.sample_grids(count, SIZE, 3, KEEP, 0)]
    )
    return drawn, drawn.mean((1, 2)) + drawn[:, 2, 2] * 0.5 + noise(count, seed=4) * 0.1


def folded(name: str, drawn: torch.Tensor, scores: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Fold everything at once."""
    seen = moments.make_estimator(name, SIZE, KEEP, 3)
    seen.add(drawn, scores)
    return seen.map(), seen.error()


def terms(name: str, m: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the summands of one pixel, as the docstring of the module writes them."""
    if name == "mean":
        return y * m / KEEP
    if name == "centred":
        return (y - y.mean()) * (m - KEEP) / KEEP
    ratio = (y * m).sum() / m.sum()
    return ratio + (y - ratio) * m / m.mean()


@pytest.mark.parametrize("name", ["mean", "normalised", "centred"])
def test_an_estimate_and_its_error_equal_the_plain_sums(name: str) -> None:
    """The mean of the summands, and their standard deviation over √N, pixel by pixel."""
    drawn, scores = sample()
    saliency, error = folded(name, drawn, scores)
    for at in np.ndindex(*SIZE):
        each = terms(name, drawn[:, at[0], at[1]].numpy(), scores.numpy())
        assert float(saliency[at]) == pytest.approx(each.mean(), abs=1e-10)
        assert float(error[at]) == pytest.approx(each.std() / N**0.5, abs=1e-10)


def test_the_centred_estimate_is_a_covariance() -> None:
    """Σ (y − ȳ) m / (N p) = Cov(y, m) / p: what is left out of the mean is a constant."""
    drawn, scores = sample()
    saliency, _ = folded("centred", drawn, scores)
    flat = np.cov(np.vstack([scores.numpy(), drawn.flatten(1).numpy().T]), bias=True)[0, 1:]
    assert same(saliency, torch.from_numpy(flat).reshape(SIZE) / KEEP)


def test_ridge_equals_a_regression_with_a_free_intercept() -> None:
    """Solve the penalised normal equations on centred cells the long way."""
    drawn, scores = sample()
    saliency, _ = folded("ridge", drawn, scores)
    x = torch.nn.functional.adaptive_avg_pool2d(drawn[:, None], 3).flatten(1).numpy()
    x, y = x - x.mean(0), scores.numpy() - scores.numpy().mean()
    penalty = 0.01 * (x**2).sum(0).mean()
    weights = np.linalg.solve(x.T @ x + penalty * np.eye(9), x.T @ y)
    assert same(saliency, maps.resize(torch.from_numpy(weights).reshape(3, 3), SIZE), 1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_halves_merged_are_the_whole(name: str) -> None:
    """All that an estimator keeps are sums, and sums add up."""
    drawn, scores = sample()
    one, other = moments.make_estimator(name, SIZE, KEEP, 3), moments.make_estimator(name, SIZE, KEEP, 3)
    one.add(drawn[:31], scores[:31])
    other.add(drawn[31:], scores[31:])
    assert same(one.merge(other).map(), folded(name, drawn, scores)[0], 1e-10)


@pytest.mark.parametrize("name", ["mean", "normalised", "centred"])
def test_the_error_halves_with_four_times_the_masks(name: str) -> None:
    """Standard errors fall with √N."""
    drawn, scores = sample(4000)
    few, many = (folded(name, drawn[:count], scores[:count])[1].mean() for count in (1000, 4000))
    assert float(few / many) == pytest.approx(2, rel=0.1)


def test_an_unknown_estimator_is_refused_with_the_known_ones() -> None:
    """A typing error must not become the default."""
    with pytest.raises(SettingError, match="expected an estimator, one of mean, normalised, centred, ridge, got 'median'"):
        moments.make_estimator("median", SIZE, KEEP, 3)


def test_nothing_cannot_be_folded() -> None:
    """There is no map without a mask."""
    with pytest.raises(SettingError, match="expected at least one mask to fold, got none"):
        moments.make_estimator("mean", SIZE, KEEP, 3).map()
