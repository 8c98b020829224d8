"""KernelSHAP against the Shapley values themselves."""

from __future__ import annotations

import math
from itertools import permutations

import pytest
import torch

from salience.boxes import toy
from salience.engine.estimate import linear_surrogate
from salience.engine.estimate.linear_surrogate import Segmentation
from salience.engine.query import loop
from salience.engine.query.run import start_run
from salience.errors import BudgetError, SettingError
from salience.estimates import Estimate
from salience.methods import kernel_shap
from salience.methods.kernel_shap import KernelShap
from tests.helpers import Asked, curved, noise, same

IMAGE = noise(3, 8, 8)
GREY = torch.full_like(IMAGE, 0.5)


def ask(cut: Segmentation, bits: torch.Tensor) -> float:
    """Score some regions with the others hidden."""
    return float(curved()(torch.where(bits[cut.labels], IMAGE, GREY)[None])[0, 1])


def shapley(cut: Segmentation) -> torch.Tensor:
    """Average over all orders what a region adds to those before it."""
    known: dict[tuple[int, ...], float] = {}
    values = [0.0] * cut.count
    for order in permutations(range(cut.count)):
        bits = torch.zeros(cut.count, dtype=torch.bool)
        before = known.setdefault((), ask(cut, bits))
        for place, region in enumerate(order):
            bits[region] = True
            key = tuple(sorted(order[: place + 1]))
            after = known[key] if key in known else known.setdefault(key, ask(cut, bits))
            values[region] += (after - before) / math.factorial(cut.count)
            before = after
    return torch.tensor(values, dtype=torch.float64)


def found_by(**settings: object) -> Estimate:
    """Explain the test image."""
    return loop.run_to_end(KernelShap(**settings).watch(curved(), IMAGE, 1))


def test_with_all_choices_the_values_are_shapleys() -> None:
    """Brute force over all orders, on a box that is not linear; nothing is left to chance."""
    cut = Segmentation(IMAGE, 6, 0)
    with start_run() as run:
        found = found_by(regions=6)
    assert run.passes == 2**cut.count
    assert same(found.saliency, shapley(cut)[cut.labels].float(), 1e-7)
    assert float(found.error.max()) == 0
    assert found.stability == 1


def test_drawn_choices_equal_the_definition_in_plain_loops() -> None:
    """The least Σ (f(z) − f(0) − z · φ)² + ridge · |φ − share|², Σ φ = f(1) − f(0), by a multiplier for the constraint."""
    method, cut = KernelShap(masks=62, regions=9, ridge=0.3, seed=4), Segmentation(IMAGE, 9, 4)
    d, none, whole = cut.count, ask(cut, torch.zeros(cut.count) > 0), ask(cut, torch.ones(cut.count) > 0)
    left, right = torch.zeros(d + 1, d + 1, dtype=torch.float64), torch.zeros(d + 1, dtype=torch.float64)
    for bits in [bits for lot in method.sample_lots(cut, 60) for bits in lot.bits]:
        for i in range(d):
            right[i] += float(bits[i]) * (ask(cut, bits) - none)
            for j in range(d):
                left[i, j] += float(bits[i] & bits[j])
    for i in range(d):
        left[i, i] += 0.3
        right[i] += 0.3 * (whole - none) / d
        left[i, d] = left[d, i] = 1
    right[d] = whole - none
    slow = torch.linalg.solve(left, right)[:d]
    assert same(method(curved(), IMAGE, 1), slow[cut.labels].float(), 1e-7)


@pytest.mark.parametrize("settings", [{"masks": 20}, {"masks": 100, "paired": False}, {"masks": 300, "ridge": 0.0}])
def test_the_shares_sum_to_what_the_image_adds_to_the_fill(settings: dict[str, object]) -> None:
    """However few the masks."""
    found = found_by(regions=12, **settings)
    cut = Segmentation(IMAGE, 12, 0)
    gained = ask(cut, torch.ones(cut.count) > 0) - ask(cut, torch.zeros(cut.count) > 0)
    assert float(found.evidence["values"].sum()) == pytest.approx(gained, abs=1e-6)


def test_a_linear_box_gives_each_region_its_term_from_few_choices() -> None:
    """Where regions do not interact, a region adds the same in every order."""
    weights = noise(8, 8)
    found = loop.run_to_end(KernelShap(masks=60, regions=9, ridge=0).watch(toy.linear(weights), IMAGE, 1))
    terms = weights * IMAGE.mean(0)
    for region, value in enumerate(found.evidence["values"].tolist()):
        assert value == pytest.approx(float(terms[found.evidence["regions"] == region].sum()), abs=1e-5)
    assert float(found.error.max()) < 1e-6


def test_a_region_that_never_matters_has_no_share_and_twins_have_equal_ones() -> None:
    """Two of Shapley's axioms, on the product of two pixels' brightness."""

    def both(images: torch.Tensor) -> torch.Tensor:
        product = images[:, :, 0, 0].mean(1) * images[:, :, 7, 7].mean(1)
        return torch.stack([1 - product, product], dim=1)

    image = IMAGE.clone()
    image[:, 0, 0] = image[:, 7, 7] = 0.9
    found = KernelShap(regions=6, fill="black")(Asked(both), image, 1)
    labels = Segmentation(image, 6, 0).labels
    assert float(found[0, 0]) == pytest.approx(0.81 / 2)
    assert float(found[7, 7]) == pytest.approx(0.81 / 2)
    others = (labels != labels[0, 0]) & (labels != labels[7, 7])
    assert float(found[others].abs().max()) < 1e-7


@pytest.mark.slow
def test_drawn_values_come_near_the_exact_ones_as_masks_grow() -> None:
    """Eight times the masks, about a third of the error."""
    apart = torch.zeros(2)
    for seed in range(10):
        exact = found_by(regions=9, seed=seed).saliency
        for row, masks in enumerate((60, 480)):
            apart[row] += (found_by(regions=9, seed=seed, masks=masks, ridge=0).saliency - exact).square().mean()
    assert 0.2 < float((apart[1] / apart[0]).sqrt()) < 0.5


@pytest.mark.slow
def test_ninety_five_per_cent_intervals_cover_the_exact_values() -> None:
    """The exact ones are known where regions are few."""
    covered = []
    for seed in range(40):
        truth = found_by(regions=9, seed=seed).saliency
        found = found_by(regions=9, seed=seed, masks=200, ridge=0)
        assert float(found.error.min()) > 0
        covered.append(((found.saliency - truth).abs() < 1.96 * found.error).flatten())
    assert 0.88 < float(torch.cat(covered).double().mean()) < 0.99


def test_pairs_cancel_what_any_two_regions_do_together() -> None:
    """A score of second order is met exactly by paired masks (Covert and Lee), and not by single ones."""

    def square(images: torch.Tensor) -> torch.Tensor:
        score = images.mean((1, 2, 3)).square()
        return torch.stack([1 - score, score], dim=1)

    apart = []
    exact = KernelShap(regions=9)(Asked(square), IMAGE, 1)
    for paired in (True, False):
        found = KernelShap(regions=9, masks=100, paired=paired, ridge=0)(Asked(square), IMAGE, 1)
        apart.append(float((found - exact).abs().max()))
    assert apart[0] < 1e-9
    assert apart[1] > 1e-4


@pytest.mark.parametrize("paired", [True, False])
def test_choices_are_drawn_by_the_shapley_kernel(paired: bool) -> None:
    """A number k of d regions comes with odds 1 / (k (d − k)), each region as often as another."""
    cut = Segmentation(IMAGE, 6, 0)
    bits = torch.cat([lot.bits for lot in KernelShap(paired=paired).sample_lots(cut, 40_000)])
    odds = torch.tensor([1 / (k * (cut.count - k)) for k in range(1, cut.count)])
    sizes = torch.bincount(bits.sum(1), minlength=cut.count)
    assert int(sizes[0]) == 0
    assert same(sizes[1:] / len(bits), odds / odds.sum(), 0.01)
    assert same(bits.double().mean(0), torch.full((cut.count,), 0.5), 0.01)
    if paired:
        assert torch.equal(bits[1::2], ~bits[0::2])


def test_a_single_region_has_the_whole_share(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is nothing to choose between the ends."""
    monkeypatch.setattr(linear_surrogate, "segment", lambda *_: torch.zeros(8, 8, dtype=torch.long))
    cut = Segmentation(IMAGE, 2, 0)
    gained = ask(cut, torch.tensor([True])) - ask(cut, torch.tensor([False]))
    assert same(found_by(regions=2).saliency, torch.full((8, 8), gained), 1e-7)


def test_all_choices_come_once_in_any_order() -> None:
    """But for none and all, which are asked before."""
    cut = Segmentation(IMAGE, 9, 0)
    bits = torch.cat([lot.bits for lot in kernel_shap.enumerate_choices(cut)])
    assert len(bits) == len(bits.unique(dim=0)) == 2**cut.count - 2
    assert 0 < int(bits.sum(1).min()) <= int(bits.sum(1).max()) < cut.count


@pytest.mark.parametrize("passes", [7, 300, 511])
def test_a_budget_is_kept_and_a_share_of_all_choices_is_still_an_estimate(passes: int) -> None:
    """Two passes are for the ends, the others come in pairs."""
    with start_run(passes) as run:
        found = found_by(regions=16)
    assert passes - 1 <= run.passes <= passes
    assert bool(torch.isfinite(found.saliency).all())
    assert bool(torch.isfinite(found.error).all())


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"masks": 5}, "expected 6 ≤ masks, got 5"),
        ({"regions": 1}, "expected 2 ≤ regions, got 1"),
        ({"ridge": -1.0}, "expected 0 ≤ ridge, got -1"),
        ({"fill": "pink"}, "expected a fill, one of mean, black"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, object], text: str) -> None:
    """In one sentence with the range."""
    with pytest.raises(SettingError, match=text):
        KernelShap(**settings)(curved(), IMAGE, 1)


def test_a_budget_for_no_map_is_refused() -> None:
    """The two ends and two pairs are the least that have an error."""
    with start_run(5), pytest.raises(BudgetError, match="at least 6 passes for kernel-shap, got 5 passes"):
        KernelShap()(curved(), IMAGE, 1)
