"""LIME against its definition."""

from __future__ import annotations

import math
from itertools import product

import pytest
import torch

from salience.boxes import toy
from salience.engine.estimate.linear_surrogate import Segmentation
from salience.engine.query import loop
from salience.engine.query.run import start_run
from salience.errors import BudgetError, SettingError
from salience.methods.lime import Lime
from tests.helpers import apart, curved, noise, same

IMAGE = noise(3, 8, 8)
GREY = torch.full_like(IMAGE, 0.5)


def shown(cut: Segmentation, bits: torch.Tensor) -> torch.Tensor:
    """Show some regions and hide the others."""
    return torch.where(bits[cut.labels], IMAGE, GREY)


def slow(cut: Segmentation, choices: list[torch.Tensor], width: float, ridge: float) -> torch.Tensor:
    """Write down the normal equations of the weighted ridge, intercept first, choice by choice."""
    box, wide = curved(), cut.count + 1
    left, right = torch.zeros(wide, wide, dtype=torch.float64), torch.zeros(wide, dtype=torch.float64)
    for bits in choices:
        cosine = int(bits.sum()) / (math.sqrt(int(bits.sum())) * math.sqrt(cut.count)) if bits.any() else 0.0
        weight = math.sqrt(math.exp(-((1 - cosine) ** 2) / width**2))  # the package's form
        row = [1.0, *bits.tolist()]
        score = float(box(shown(cut, bits)[None])[0, 1])
        for i in range(wide):
            right[i] += weight * row[i] * score
            for j in range(wide):
                left[i, j] += weight * row[i] * row[j]
    for i in range(1, wide):
        left[i, i] += ridge
    return torch.linalg.solve(left, right)[1:]


def test_lime_equals_its_definition_in_plain_loops() -> None:
    """The least Σ π(z) (f(z) − b − z · β)² + ridge · |β|², mask by mask, in double precision."""
    cut, method = Segmentation(IMAGE, 6, 3), Lime(masks=80, regions=6, width=0.3, ridge=0.5, seed=3)
    choices = [bits for lot in method.sample_lots(cut, 80) for bits in lot.bits]
    assert same(method(curved(), IMAGE, 1), slow(cut, choices, 0.3, 0.5)[cut.labels].float(), 1e-7)


def test_a_linear_box_gives_each_region_its_term() -> None:
    """A score that is a sum over regions is its own surrogate."""
    weights = noise(8, 8)
    found = loop.run_to_end(Lime(masks=200, regions=6, ridge=0).watch(toy.linear(weights), IMAGE, 1))
    for region in range(int(found.evidence["regions"].max()) + 1):
        inside = found.evidence["regions"] == region
        term = float((weights * IMAGE.mean(0))[inside].sum())
        assert float(found.evidence["values"][region]) == pytest.approx(term, abs=1e-5)
        assert len(found.saliency[inside].unique()) == 1
    assert float(found.error.max()) < 1e-6


def test_the_first_mask_shows_the_whole_image_and_the_others_half() -> None:
    """As in the paper: z is drawn uniformly around the image."""
    cut = Segmentation(IMAGE, 6, 0)
    bits = torch.cat([lot.bits for lot in Lime().sample_lots(cut, 2000)])
    assert len(bits) == 2000
    assert bool(bits[0].all())
    assert float(bits[1:].double().mean()) == pytest.approx(0.5, abs=0.02)


def test_a_wide_kernel_weighs_all_masks_alike_and_a_narrow_one_the_near() -> None:
    """π = exp(−D² / (2 σ²)): 1 at the whole image; nothing shown is at distance 1."""
    bits = torch.tensor([[True] * 4, [True, False] * 2, [False] * 4])
    assert same(Lime(width=1e6).compute_weights(bits), torch.ones(3), 1e-9)
    near = Lime(width=0.25).compute_weights(bits)
    assert near.tolist() == pytest.approx([1.0, math.exp(-((1 - 0.5**0.5) ** 2) / 0.125), math.exp(-8)])


def test_a_ridge_beyond_measure_leaves_nothing() -> None:
    """All coefficients are pressed to 0."""
    assert float(Lime(masks=100, regions=6, ridge=1e12)(curved(), IMAGE, 1).abs().max()) < 1e-9


@pytest.mark.slow
def test_ninety_five_per_cent_intervals_cover_what_all_choices_would_give() -> None:
    """The limit is the surrogate of all 2^d choices, which a small image allows to count."""
    covered = []
    for seed in range(40):
        found = loop.run_to_end(Lime(masks=150, regions=6, ridge=0, seed=seed).watch(curved(), IMAGE, 1))
        cut = Segmentation(IMAGE, 6, seed)
        truth = slow(cut, [torch.tensor(each) for each in product([False, True], repeat=cut.count)], 0.25, 0.0)
        covered.append(((found.saliency - truth[cut.labels]).abs() < 1.96 * found.error).flatten())
    assert 0.9 < float(torch.cat(covered).double().mean()) < 0.99


def test_a_budget_gives_the_map_of_as_many_masks() -> None:
    """Masks come by number, so 300 of a budget are the first 300."""
    with start_run("300 passes") as run:
        steps = list(Lime(regions=6).watch(curved(), IMAGE, 1))
    assert run.passes == 300
    assert same(steps[0].saliency, Lime(masks=256, regions=6)(curved(), IMAGE, 1), 1e-6)
    assert same(steps[-1].saliency, Lime(masks=300, regions=6)(curved(), IMAGE, 1), 1e-6)


def test_more_masks_agree_more_and_err_less() -> None:
    """The halves' maps come together, and the errors shrink as 1 / √N."""
    box, image = curved(32), noise(3, 32, 32)
    few, many = (loop.run_to_end(Lime(masks=each, regions=16).watch(box, image, 1)) for each in (100, 1600))
    assert few.stability < many.stability < 1
    assert 0.15 < float((many.error / few.error).mean()) < 0.35


def test_an_image_of_one_colour_still_has_regions() -> None:
    """Then they are a grid; a score that nothing changes gives a flat map."""
    found = Lime(masks=50)(toy.load("constant", size=16), torch.full((3, 16, 16), 0.3), 0)
    assert apart(found, torch.zeros(16, 16)) < 1e-6


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"masks": 3}, "expected 4 ≤ masks, got 3"),
        ({"regions": 1}, "expected 2 ≤ regions, got 1"),
        ({"width": 0.0}, "expected 0 < width, got 0"),
        ({"ridge": -1.0}, "expected 0 ≤ ridge, got -1"),
        ({"regions": 65}, "expected 1 ≤ count ≤ 64, got 65"),
        ({"fill": "pink"}, "expected a fill, one of mean, black"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, object], text: str) -> None:
    """In one sentence with the range."""
    with pytest.raises(SettingError, match=text):
        Lime(**settings)(curved(), IMAGE, 1)


def test_a_budget_for_no_map_is_refused() -> None:
    """Two groups of two are the least that have an error."""
    with start_run(3), pytest.raises(BudgetError, match="at least 4 passes for lime, got 3 passes"):
        Lime()(curved(), IMAGE, 1)
