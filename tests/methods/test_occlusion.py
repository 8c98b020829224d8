"""Occlusion against its definition."""

from __future__ import annotations

import pytest
import torch

from salience.boxes import toy
from salience.engine.estimate import occlusion
from salience.engine.perturb import masks
from salience.engine.query.run import start_run
from salience.errors import BudgetError, SettingError
from salience.methods.occlusion import Occlusion
from tests.helpers import curved, noise, same

IMAGE = noise(3, 8, 8)


def slow_occlusion(box: object, image: torch.Tensor, window: int, stride: int) -> torch.Tensor:
    """Hide window after window, pixel loops and all."""
    height, width = image.shape[-2:]
    lost, times = torch.zeros(2, height, width, dtype=torch.float64)
    whole = box(image[None])[0, 1]
    for top in range(stride - window, height, stride):
        for left in range(stride - window, width, stride):
            hidden = image.clone()
            rows, columns = slice(max(top, 0), top + window), slice(max(left, 0), left + window)
            hidden[:, rows, columns] = 0.5
            lost[rows, columns] += whole - box(hidden[None])[0, 1]
            times[rows, columns] += 1
    return lost / times


@pytest.mark.parametrize(("window", "stride"), [(1, 1), (3, 1), (4, 2), (5, 2), (8, 8), (12, 5)])
def test_occlusion_equals_its_definition_in_plain_loops(window: int, stride: int) -> None:
    """The mean drop of the windows over a pixel, clipped at the borders."""
    found = Occlusion(window, stride)(curved(), IMAGE, 1)
    assert same(found, slow_occlusion(curved(), IMAGE, window, stride).float(), 1e-7)


def test_a_one_pixel_window_on_a_linear_box_gives_weight_times_pixel() -> None:
    """Removing a pixel from a linear box removes exactly its term."""
    weights = noise(8, 8, seed=7) - 0.5
    found = Occlusion(window=1, stride=1)(toy.linear(weights), IMAGE, 1)
    assert same(found, (weights * IMAGE.mean(0)).float(), 1e-7)


def test_a_window_that_hides_all_gives_the_whole_drop_everywhere() -> None:
    """One window, one drop: the image's score less that of the fill."""
    weights = noise(8, 8, seed=7)
    found = Occlusion(window=8, stride=8)(toy.linear(weights), IMAGE, 1)
    assert same(found, torch.full((8, 8), float((weights * IMAGE.mean(0)).sum())), 1e-6)


def test_drops_have_the_sign_of_the_evidence() -> None:
    """What speaks against the class, hidden, raises the score: negative there, and for the rival positive."""
    weights = torch.zeros(8, 8, dtype=torch.float64)
    weights[1, 1], weights[6, 6] = 1, -1
    found = Occlusion(2, 1)(toy.linear(weights), torch.ones(3, 8, 8, dtype=torch.float64), 1)
    assert float(found[1, 1]) > 0.9
    assert float(found[6, 6]) < -0.9
    assert same(Occlusion(2, 1)(toy.linear(weights), torch.ones(3, 8, 8, dtype=torch.float64), 0), -found, 1e-6)


def test_a_budget_ends_it_after_any_window_beyond_the_first_cover() -> None:
    """The map of the first windows, coarse first, and no pass beyond the budget."""
    order, cover = masks.order_windows((8, 8), 4, 1)
    for budget in (cover + 1, cover + 7):
        with start_run(budget) as run:
            found = Occlusion(4, 1)(curved(), IMAGE, 1)
        drops = occlusion.OcclusionEstimate((8, 8))
        part = order[: budget - 1]
        shown = 0.5 + part.rasterise(IMAGE)[:, None] * (IMAGE - 0.5)
        drops.add(part, curved()(IMAGE[None])[0, 1] - curved()(shown)[:, 1])
        assert run.passes == budget
        assert same(found, drops.map().float(), 1e-7)


def test_a_budget_below_the_first_cover_is_refused() -> None:
    """Pixels that were never hidden have no drop."""
    with (
        start_run(3),
        pytest.raises(BudgetError, match="at least 5 passes for occlusion with window 4 and stride 4, got 3"),
    ):
        Occlusion(4, 4)(curved(), IMAGE, 1)


def test_pooled_drops_of_one_grid_are_its_plain_drops() -> None:
    """Two rounds of one full grid count each window twice, above and below the line."""
    grid, drops = masks.lay_windows((8, 8), 3, 1), noise(100)
    once, twice = occlusion.OcclusionEstimate((8, 8)), occlusion.OcclusionEstimate((8, 8))
    once.add(grid, drops)
    for weight in (1.0, 2.5):
        twice.add(grid, drops, weight)
    assert same(once.map(), twice.map())


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"window": 0}, "expected 1 ≤ window"),
        ({"stride": 0}, "1 ≤ stride ≤ 32"),
        ({"window": 4, "stride": 5}, "1 ≤ stride ≤ 4, got 5"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, int], text: str) -> None:
    """A stride beyond the window would leave gaps."""
    with pytest.raises(SettingError, match=text):
        Occlusion(**settings)
