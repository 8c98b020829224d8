"""Linear surrogates: masks of regions, and the regression that forgets its rows."""

from __future__ import annotations

import pytest
import torch

from salience.engine.estimate.linear_surrogate import RegionMasks, RidgeRegression, Segmentation
from salience.engine.query.loop import score_masked
from salience.engine.query.score_cache import share_scores
from tests.helpers import Asked, brightness, noise, same

IMAGE = noise(3, 8, 8)
X, Y, WEIGHTS = noise(90, 4, seed=1), noise(90, seed=2), noise(90, seed=3)


def test_a_mask_of_regions_shows_those_whose_bit_is_set() -> None:
    """Pixel by pixel: 1 where its region's bit is, else 0."""
    cut = Segmentation(IMAGE, 6, 0)
    bits = noise(5, cut.count, seed=4) < 0.5
    drawn = RegionMasks(bits, cut)[1:].rasterise(IMAGE)
    assert drawn.dtype == IMAGE.dtype
    for number, mask in enumerate(drawn, start=1):
        for y in range(8):
            for x in range(8):
                assert mask[y, x] == float(bits[number, cut.labels[y, x]])


def test_the_same_bits_on_another_cut_are_another_question() -> None:
    """Answers are remembered by what a mask shows; on the same cut nothing is asked twice."""
    box = Asked(brightness)
    one, again, other = Segmentation(IMAGE, 6, 0), Segmentation(IMAGE, 6, 0), Segmentation(1 - IMAGE.flip(1), 6, 0)
    assert one.count == other.count
    asked = []
    with share_scores():
        for cut in (one, again, other):
            list(score_masked(box, IMAGE, 1, [RegionMasks(torch.eye(cut.count) > 0, cut)], torch.zeros_like(IMAGE)))
            asked.append(sum(box.batches))
    assert asked == [one.count, one.count, 2 * one.count]


@pytest.mark.parametrize("intercept", [True, False])
def test_the_sums_give_the_least_squares_of_all_rows(intercept: bool) -> None:
    """Rows scaled by the root of their weight, and one more row for each penalised coefficient; batches do not matter."""
    seen = RidgeRegression(4, 0.7, intercept=intercept)
    for part in (slice(0, 13), slice(13, 60), slice(60, 90)):
        seen.add(X[part], Y[part], WEIGHTS[part])
    design = torch.cat([torch.full((90, 1), float(intercept), dtype=torch.float64), X], dim=1) * WEIGHTS[:, None].sqrt()
    penalty = 0.7**0.5 * torch.eye(5, dtype=torch.float64)[1:]
    longer = torch.cat([Y * WEIGHTS.sqrt(), torch.zeros(4, dtype=torch.float64)])
    slow = torch.linalg.lstsq(torch.cat([design, penalty]), longer, driver="gelsd").solution[1:]
    assert same(seen.solve(seen.products.sum(0)[None])[0], slow, 1e-10)


def test_the_error_is_that_of_leaving_out_one_group_at_a_time() -> None:
    """Mask i is of group ⌊i / 2⌋ mod 32; the error is √((g − 1) / g · Σ (β₋ₖ − mean)²)."""
    cut = Segmentation(IMAGE, 4, 0)
    x = noise(90, cut.count, seed=1)
    group = torch.tensor([i // 2 % 32 for i in range(90)])

    def fit(chosen: torch.Tensor) -> RidgeRegression:
        seen = RidgeRegression(cut.count, 0.1, intercept=True)
        seen.add(x[chosen], Y[chosen], WEIGHTS[chosen])
        return seen

    without = torch.stack([fit(group != k).estimate(cut).evidence["values"].double() for k in range(32)])
    slow = (31 / 32 * (without - without.mean(0)).square().sum(0)).sqrt()
    found = fit(group >= 0).estimate(cut)
    assert same(found.error, slow[cut.labels], 1e-6)
    assert float(found.error.min()) > 1e-3


def test_fewer_rows_than_coefficients_give_the_shortest_solution() -> None:
    """Nothing in the rows speaks for the rest."""
    seen = RidgeRegression(4, 0.0, intercept=False)
    seen.add(X[:2], Y[:2], torch.ones(2))
    assert same(seen.solve(seen.products.sum(0)[None])[0], torch.linalg.pinv(X[:2]) @ Y[:2], 1e-8)
