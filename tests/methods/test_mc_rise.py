"""MC-RISE against its definition."""

from __future__ import annotations

import pytest
import torch

from salience.boxes import toy
from salience.engine.query import loop
from salience.engine.query.run import start_run
from salience.errors import BudgetError, SettingError
from salience.methods.mc_rise import McRise
from tests.engine.perturb.test_masks import slow_mask
from tests.helpers import curved, noise, same

IMAGE = noise(3, 8, 8)


def test_the_maps_equal_their_definition_in_plain_loops() -> None:
    """Colour k: (1/N) Σ (y − ȳ) (K m_k / (1 − keep) − m_0 / keep), mask by mask; the map is minus their mean."""
    method = McRise(masks=40, cells=3, keep=0.4, colours=("red", "#80ff00"), seed=2)
    paints = torch.tensor([[1, 0, 0], [128 / 255, 1, 0]], dtype=torch.float64)
    box, lot = curved(), next(method.sample_lots(40, (8, 8)))
    shares, scores = [], []
    for labels, shift in zip(lot.labels, lot.shifts.tolist(), strict=True):
        shares.append([slow_mask((labels == k).double(), (shift[0], shift[1]), (8, 8)) for k in range(3)])
        seen, red, green = shares[-1]
        shown = seen * IMAGE + red * paints[0][:, None, None] + green * paints[1][:, None, None]
        scores.append(box(shown[None])[0, 1])
    mean, slow = sum(scores) / 40, torch.zeros(2, 8, 8, dtype=torch.float64)
    for (seen, *painted), y in zip(shares, scores, strict=True):
        for k in range(2):
            slow[k] += (y - mean) * (2 * painted[k] / 0.6 - seen / 0.4) / 40
    found = loop.run_to_end(method.watch(box, IMAGE, 1))
    assert same(found.evidence["colours"], slow.float(), 1e-6)
    assert same(found.saliency, -slow.mean(0).float(), 1e-6)


def test_what_is_left_and_what_is_painted_add_up_to_one() -> None:
    """Every cell is left or painted, in white here, and enlarging mixes them."""
    lot, black = next(McRise(cells=3, keep=0.3, colours=("white",)).sample_lots(64, (9, 14))), torch.zeros(3, 9, 14)
    plain = torch.ones(3, 1, 1), torch.zeros(3, 1, 1)
    drawn, shown = lot.rasterise(black), lot.paint(torch.empty(64, 3, 9, 14), *plain)
    assert drawn.shape == (64, 9, 14)
    assert same(drawn[:, None] + shown, torch.ones(64, 3, 9, 14), 1e-6)
    assert float(drawn.mean()) == pytest.approx(0.3, abs=0.03)


def test_paint_is_normalised_cell_by_cell() -> None:
    """Which is to normalise what it makes of a pixel, also where the image shows through."""
    lot, like = next(McRise(cells=3).sample_lots(64, (9, 14))), torch.empty(64, 3, 9, 14)
    plain = lot.paint(like.clone(), torch.ones(3, 1, 1), torch.zeros(3, 1, 1))
    scale, shift = torch.tensor([[2.0, 3, 4], [-1, 0, 5]])[..., None, None]
    assert same(lot.paint(like, scale, shift), plain * scale + shift, 1e-5)


def test_every_colour_is_as_frequent() -> None:
    """A cell that is painted takes any of them."""
    labels = next(McRise(cells=9, keep=0.4).sample_lots(64, (9, 9))).labels
    shares = torch.bincount(labels.flatten(), minlength=6) / labels.numel()
    assert same(shares, torch.tensor([0.4, *5 * [0.12]]), 0.02)


def test_a_colour_that_the_class_wants_would_raise_the_score_where_it_is_not() -> None:
    """`toy:colour` looks for red: red paint helps on the grey ground, green harms, and the red patch should stay."""
    found = loop.run_to_end(McRise(masks=2000, colours=("red", "lime")).watch(toy.load("colour"), toy.picture(), 0))
    red, green = (each[20:, :10].mean() for each in found.evidence["colours"])
    assert float(green) < -0.005 < 0.005 < float(red)
    assert float(found.saliency[8:12, 16:20].mean()) > float(found.saliency[20:, :10].mean())
    assert found.evidence["names"] == ("red", "lime")


def test_on_an_additive_box_the_map_is_the_term_of_a_cell() -> None:
    """With one colour, black, a cell that is seen adds what its pixels weigh: E[y | seen] − E[y | painted]."""
    box, ones = toy.linear(torch.full((8, 8), 1 / 64, dtype=torch.float64)), torch.ones(3, 8, 8, dtype=torch.float64)
    found = McRise(masks=8000, cells=1, colours=("black",))(box, ones, 1)
    assert same(found, torch.ones(8, 8), 1e-3)


def test_a_box_that_never_changes_gives_a_flat_map() -> None:
    """The covariance with a constant is nothing."""
    box = toy.load("constant", size=8)
    assert float(McRise(masks=200, cells=3)(box, IMAGE.float(), 0).abs().max()) < 1e-5


@pytest.mark.slow
def test_the_standard_error_is_the_spread_between_seeds() -> None:
    """Pixel by pixel, over thirty seeds."""
    runs = [loop.run_to_end(McRise(masks=256, cells=3, seed=seed).watch(curved(), IMAGE, 1)) for seed in range(30)]
    spread = torch.stack([run.saliency for run in runs]).std(0).mean()
    assert float(torch.stack([run.error for run in runs]).mean() / spread) == pytest.approx(1, abs=0.2)


def test_a_budget_gives_the_map_of_as_many_masks() -> None:
    """Masks come by number, so 300 of a budget are the first 300; the map grows lot by lot."""
    with start_run("300 passes", batch=32) as run:
        steps = list(McRise(cells=3).watch(curved(), IMAGE, 1))
    assert run.passes == 300
    assert same(steps[-1].saliency, McRise(masks=300, cells=3)(curved(), IMAGE, 1), 1e-6)
    assert same(steps[0].saliency, McRise(masks=256, cells=3)(curved(), IMAGE, 1), 1e-6)


def test_seconds_stop_it_between_lots() -> None:
    """The first lot is made whatever the time, and then the time is spent."""
    with start_run("0.0001s") as run, pytest.raises(BudgetError, match="expected time for at least 2 passes"):
        McRise(cells=3)(curved(), IMAGE, 1)
    assert run.passes == 0


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"masks": 1}, "expected 2 ≤ masks, got 1"),
        ({"keep": 1.0}, "expected 0 < keep < 1, got 1"),
        ({"colours": ()}, "expected at least one colour, got none: name some, as in black"),
        ({"colours": ("red", "redd")}, "expected colours by name, as #rrggbb or as band 1, got 'redd': correct it"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, object], text: str) -> None:
    """In one sentence."""
    with pytest.raises(SettingError, match=text):
        McRise(**settings)
