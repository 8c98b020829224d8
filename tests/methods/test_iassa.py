"""IASSA: its parts against slow twins, and the acceptance tests of its specification."""

from __future__ import annotations

import math

import pytest
import torch

from salience.boxes import toy
from salience.engine import maps
from salience.engine.estimate import jackknife, moments, occlusion
from salience.engine.perturb import designs, masks
from salience.engine.query.run import start_run
from salience.errors import BoxError, BudgetError, SettingError, UnknownName
from salience.methods._iassa import attention, plus
from salience.methods.iassa import Iassa
from salience.methods.occlusion import Occlusion
from tests.helpers import Asked, brightness, curved, noise, same

IMAGE = noise(3, 8, 8)
SMALL = {"window": 4, "stride": 2, "features": "none"}


def dense(features: torch.Tensor, saliency: torch.Tensor) -> torch.Tensor:
    """Spread a small map as the official code does, with the whole matrix in memory."""
    flat = features.flatten(1)
    first = (flat.T @ flat).softmax(0)
    second = first.softmax(1)
    return (saliency.flatten() @ second).reshape(saliency.shape)


def levels(seed: int = 0) -> list[torch.Tensor]:
    """Make features of two levels whose sides divide six."""
    return [noise(3, 6, 6, seed=seed), noise(4, 3, 3, seed=seed + 1)]


def raised() -> torch.Tensor:
    """Enlarge both levels by repeating pixels, and stack them."""
    fine, coarse = levels()
    return torch.cat([fine, coarse.repeat_interleave(2, 1).repeat_interleave(2, 2)])


def test_official_attention_equals_the_whole_matrix() -> None:
    """Dot products, a softmax down the columns, another along the rows, then a scatter."""
    saliency = noise(6, 6, seed=3)
    assert same(attention.Official(levels(), side=6)(saliency), dense(raised(), saliency), 1e-9)


def test_official_attention_is_nearly_constant_and_keeps_the_mass() -> None:
    """Two softmaxes bound its contrast by (e − 1) / n of the maximum; its rows sum to one."""
    saliency = noise(6, 6, seed=3)
    found = attention.Official([level * 30 for level in levels()], side=6)(saliency)
    assert float(found.max() - found.min()) <= (math.e - 1) / 36 * float(saliency.max()) + 1e-12
    assert float(found.sum()) == pytest.approx(float(saliency.sum()))


def slow_intent(features: torch.Tensor, saliency: torch.Tensor, temperature: float) -> torch.Tensor:
    """Take at each pixel the mean over all pixels, weighted by the cosine of their features."""
    flat, flatter = torch.nn.functional.normalize(features.flatten(1), dim=0), saliency.flatten()
    found = torch.zeros_like(flatter)
    for i in range(flat.shape[1]):
        weights = torch.stack([torch.exp(flat[:, i] @ flat[:, j] / temperature) for j in range(flat.shape[1])])
        found[i] = (weights * flatter).sum() / weights.sum()
    return found.reshape(saliency.shape)


@pytest.mark.parametrize("temperature", [0.05, 0.2, 1.0])
def test_intent_attention_equals_its_sum_in_plain_loops(temperature: float) -> None:
    """For features of length one the distance form is the cosine form."""
    features = torch.nn.functional.normalize(noise(3, 5, 5) - 0.5, dim=0)
    saliency = noise(5, 5, seed=3)
    found = attention.Intent(features, temperature).average(saliency)
    assert same(found, slow_intent(features, saliency, temperature), 1e-6)


def test_intent_attention_keeps_constants_and_never_widens_the_range() -> None:
    """A weighted mean of equal values is that value, and of others lies between them."""
    attend = attention.Intent(torch.nn.functional.normalize(noise(3, 6, 6) - 0.5, dim=0))
    flat = torch.full((6, 6), 0.37, dtype=torch.float64)
    assert same(attend(flat), flat, 1e-6)
    saliency = noise(6, 6, seed=4)
    found = attend.average(saliency)
    assert float(saliency.min()) <= float(found.min())
    assert float(found.max()) <= float(saliency.max())


def test_intent_attention_without_temperature_changes_nothing() -> None:
    """As T → 0 each pixel is most like itself."""
    attend = attention.Intent(torch.nn.functional.normalize(noise(3, 6, 6) - 0.5, dim=0), temperature=1e-7)
    saliency = noise(6, 6, seed=4)
    assert same(attend.average(saliency), saliency, 1e-6)
    assert same(attend(saliency), saliency, 1e-6)


def test_each_level_counts_the_same_in_the_features_of_intent() -> None:
    """Pixels of each level have length 1/√levels, so a dot product is the mean cosine."""
    found = attention.join_levels("self", [noise(3, 8, 8), noise(50, 4, 4) * 100], side=8)
    assert same(found[:3].square().sum(0), torch.full((8, 8), 0.5), 1e-6)
    assert same(found[3:].square().sum(0), torch.full((8, 8), 0.5), 1e-6)


def test_lab_is_the_commissions() -> None:
    """White, black and the primaries have known values of Lab (D65)."""
    colours = torch.tensor([[1.0, 1, 1], [0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    known = torch.tensor([[100.0, 0, 0], [0, 0, 0], [53.24, 80.09, 67.2], [87.73, -86.18, 83.18], [32.3, 79.19, -107.86]])
    image = colours.T[:, :, None]
    assert same(attention.make_lab_xy(image)[:3, :, 0].T / (0.3 / 20), known, 0.1)


def test_one_round_without_attention_is_its_window_map() -> None:
    """Nothing but occlusion with its own windows is left."""
    found = Iassa(rounds=0, **SMALL)(curved(), IMAGE, 1)
    assert same(found, Occlusion(window=4, stride=2)(curved(), IMAGE, 1))


def test_the_official_map_is_the_published_sum() -> None:
    """S(x) = (1/N) Σ y m(x), each round from scratch; the last of K rounds is not run."""
    method = Iassa(variant="official", rounds=1, **SMALL)
    grid = masks.lay_windows((8, 8), 4, 2)
    drawn = grid.rasterise(IMAGE)
    scores = curved()(0.5 + drawn[:, None] * (IMAGE - 0.5))[:, 1]
    assert same(method(curved(), IMAGE, 1), (torch.einsum("n,nhw->hw", scores, drawn) / len(grid)).float(), 1e-6)


def test_the_official_map_is_affine_in_the_drop_where_coverage_is_even() -> None:
    """S = p̄ − c p₀ + c D: with stride dividing window, the same ranking as occlusion."""
    official = Iassa(variant="official", rounds=1, **SMALL)(curved(), IMAGE, 1)
    plain = Occlusion(window=4, stride=2)(curved(), IMAGE, 1)
    assert maps.rank_agreement(official, plain) == pytest.approx(1, abs=1e-3)


def test_pooling_one_and_the_same_full_grid_gives_the_plain_drop() -> None:
    """Every round adds the same numerator and denominator, whatever its weight."""
    grid, drops, pooled = masks.lay_windows((8, 8), 4, 2), noise(25), occlusion.OcclusionEstimate((8, 8))
    for weight in (1.0, 1.3, 2.0):
        pooled.add(grid, drops, weight)
    assert same(pooled.map(), grid.accumulate(drops) / grid.accumulate(torch.ones(25)))


def test_windows_and_strides_shrink_as_in_the_code() -> None:
    """W = int(45 − 1.5 k), s = int(8 − 0.2 (k − 1))."""
    assert [Iassa().get_sides(k) for k in range(6)] == [(45, 8), (43, 8), (42, 7), (40, 7), (39, 7), (37, 7)]


def test_intent_never_samples_a_window_away_from_the_grown_region() -> None:
    """And it leaves out none that touches it."""
    region = torch.zeros(224, 224, dtype=torch.bool)
    region[50:90, 120:180] = True
    for number in (1, 3, 5):
        chosen = Iassa().select_windows((224, 224), number, region, 10**6)
        grown = maps.dilate(region, Iassa().get_sides(number)[1])
        assert int(chosen.count_pixels(grown).min()) > 0
        grid = masks.lay_windows((224, 224), *Iassa().get_sides(number))
        assert len(chosen) == int((grid.count_pixels(grown) > 0).sum()) < 500


def test_official_selection_keeps_nearly_every_window() -> None:
    """It asks whether the kept area meets the region, so only windows that swallow the region go."""
    region = torch.zeros(224, 224, dtype=torch.bool)
    region[50:90, 120:180] = True
    official = Iassa(variant="official")
    assert len(official.select_windows((224, 224), 2, region, 10**6)) == 1369
    small = torch.zeros_like(region)
    small[100:103, 100:103] = True
    grid = masks.lay_windows((224, 224), *official.get_sides(2))
    swallowed = int((grid.count_pixels(small) == 9).sum())
    assert len(official.select_windows((224, 224), 2, small, 10**6)) == 1369 - swallowed < 1369


@pytest.mark.parametrize("share", [0.0, 0.95])
def test_an_empty_or_full_region_adapts_nothing(share: float) -> None:
    """There is nothing to narrow down to, so the round takes the whole grid, capped."""
    region = noise(224, 224) < share
    assert len(Iassa().select_windows((224, 224), 3, region, 10**6)) == 1369
    assert len(Iassa().select_windows((224, 224), 3, region, 100)) == 100


@pytest.mark.slow
def test_the_cost_is_as_documented() -> None:
    """Official: 1089 + 1089 + 3 · 1369 windows and the clean image; the map K throws away is not made."""
    box = toy.load("corner", size=224)
    with start_run(batch=64) as run:
        Iassa(variant="official", features="none")(box, torch.full((3, 224, 224), 0.5), 1)
    assert run.passes == 6285 + 1


def test_a_budget_leaves_something_for_every_round() -> None:
    """The coarse round takes what it needs, the others share the rest, and no pass is made beyond."""
    with start_run(300) as run:
        steps = list(Iassa(window=20, stride=5).watch(toy.load("colour"), toy.picture(64), 0))
    assert run.passes <= 300
    assert len(steps[-1].evidence["rounds"]) == 6


def test_weights_of_finer_rounds_change_the_map() -> None:
    """(W₀ / W_k)² counts a finer window more."""
    plain, finer = (
        Iassa(window=12, stride=3, weight_power=each)(toy.load("colour"), toy.picture(), 0) for each in (0.0, 2.0)
    )
    assert not same(plain, finer, 1e-6)


def test_a_box_without_layers_is_compared_by_colour_and_place() -> None:
    """`auto` reads the box's features if it may; `self` insists."""
    image = noise(3, 8, 8, dtype=torch.float32)
    steps = list(Iassa(window=4, stride=2, rounds=1).watch(Asked(brightness), image, 1))
    assert steps[-1].evidence["features"] == "lab-xy"
    assert list(Iassa(window=20, stride=5).watch(toy.load("colour"), toy.picture(), 0))[-1].evidence["features"] == "self"
    assert list(Iassa(window=4, stride=2, rounds=1).watch(curved(), IMAGE, 1))[-1].evidence["features"] == "lab-xy"
    with pytest.raises(BoxError, match="expected a box with layers for features='self', got asked"):
        Iassa(window=4, stride=2, rounds=1, features="self")(Asked(brightness), image, 1)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"variant": "best"}, "expected variant official, intent or plus, got 'best'"),
        ({"selection": "plus"}, "expected selection official or intent, got 'plus'"),
        ({"mix": 1.5}, "expected 0 ≤ mix ≤ 1, got 1.5"),
        ({"threshold": -0.1}, "expected 0 ≤ threshold ≤ 1"),
        ({"rounds": 30}, "a pixel at least in round 30, got window 45 and stride 8"),
        ({"window": 3}, "a pixel at least in round 5, got window 3"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, object], text: str) -> None:
    """The official code only prints, and goes on."""
    with pytest.raises(SettingError, match=text):
        Iassa(**settings)


def test_an_unknown_source_of_features_is_refused() -> None:
    """It is the spec of a box, and boxes have known kinds."""
    with pytest.raises(UnknownName, match="expected the name of a box kind"):
        Iassa(features="resnet", window=20, stride=5)(toy.load("colour"), toy.picture(), 0)


def test_a_budget_below_the_first_cover_is_refused() -> None:
    """Half of the image unseen is no map."""
    with start_run(3), pytest.raises(BudgetError, match="for iassa"):
        Iassa(window=20, stride=5)(toy.load("colour"), toy.picture(64), 0)


def test_plus_carries_the_errors_of_both_scales_and_compares_halves_of_the_product() -> None:
    """With u scaled to 0…1 and r its range, the variance is (u_fine σ_coarse / r_coarse)² + (u_coarse σ_fine / r_fine)²."""
    size, scales, plain = (32, 32), [], []
    for number, (cells, keep, many) in enumerate(plus.SCALES):
        drawn, scores = (
            next(masks.sample_grids(2 * many, size, cells, keep, seed=0)).rasterise(noise(1)),
            noise(2 * many, seed=number),
        )
        scales.append(plus.Scale(cells, keep, many, jackknife.group_estimators("centred", size, keep)))
        scales[-1].groups.add(drawn, scores)
        side = torch.arange(2 * many) // designs.BLOCK % 2
        parts = [moments.make_estimator("centred", size, keep, 0) for _ in range(3)]
        for part, chosen in zip(parts, (side >= 0, side == 0, side == 1), strict=True):
            part.add(drawn[chosen], scores[chosen])
        plain.append(parts)
    found, unit = plus.merge_scales(scales, 0.5), maps.stretch
    variance = torch.zeros(size)
    for own, other in (plain, plain[::-1]):
        error, span = own[0].error(), own[0].map().max() - own[0].map().min()
        assert error is not None
        variance = variance + (unit(other[0].map()) * error / span) ** 2
    assert found.error is not None
    assert same(found.error, variance.sqrt().float(), 1e-6)
    halves = [torch.stack([unit(parts[half].map()[::4, ::4]) for parts in plain]).prod(0) for half in (1, 2)]
    assert same(found.saliency, (unit(plain[0][0].map()) * unit(plain[1][0].map())).float(), 1e-6)
    assert found.stability == pytest.approx(maps.rank_agreement(*halves))
