"""Infidelity against its definition."""

from __future__ import annotations

import pytest
import torch

from salience.boxes import toy
from salience.case import Case
from salience.engine import seeding
from salience.errors import SettingError
from salience.measures.infidelity import Infidelity, sample_squares
from salience.tasks.measure import measure_case
from salience.types import Map
from tests.helpers import curved, noise

IMAGE, SALIENCY, WEIGHTS = noise(3, 8, 8), noise(8, 8, seed=1) - 0.3, noise(8, 8, seed=2) - 0.5
both = pytest.mark.parametrize("protocol", ["square-removal", "gaussian"])


def case(saliency: Map = SALIENCY) -> Case:
    """Make a case in double precision."""
    return Case(curved(), IMAGE, 1, saliency)


def perturbed(protocol: str, samples: int) -> list[tuple[float, torch.Tensor]]:
    """Perturb in plain loops: Iᵀ S, and the image without I; the box's mean colour is 0.5."""
    found = []
    for number in range(samples):
        product, shown = 0.0, IMAGE.clone()
        if protocol == "gaussian":
            lot = torch.randn(min(32, samples), 3, 8, 8, generator=seeding.generator(0, "infidelity", "gaussian", 0))
        edges = sample_squares((8, 8), samples, 0).edges[number].tolist()
        for y in range(8):
            for x in range(8):
                if protocol == "gaussian":
                    for c in range(3):
                        shown[c, y, x] = 0.5 + 0.2 * lot[number, c, y, x].double()
                        product += float((IMAGE[c, y, x] - shown[c, y, x]) * SALIENCY[y, x])
                elif edges[0] <= y < edges[1] and edges[2] <= x < edges[3]:
                    shown[:, y, x] = 0.5
                    product += float(SALIENCY[y, x])
        found.append((product, shown))
    return found


@both
@pytest.mark.parametrize("scaled", [True, False])
def test_it_equals_its_definition_in_plain_loops(protocol: str, scaled: bool) -> None:
    """The mean square of what the score loses less what the map says, times the best factor or not."""
    box, pairs = curved(), perturbed(protocol, 20)
    lost = [float(box(IMAGE[None])[0, 1] - box(shown[None])[0, 1]) for _, shown in pairs]
    factor = 1.0
    if scaled:
        factor = sum(a * b for (a, _), b in zip(pairs, lost, strict=True)) / sum(a * a for a, _ in pairs)
    slow = sum((factor * a - b) ** 2 for (a, _), b in zip(pairs, lost, strict=True)) / 20
    found = Infidelity(protocol, samples=20, scaled=scaled)(case())  # type: ignore[arg-type]
    assert found.value == pytest.approx(slow, rel=1e-6)
    assert found.evidence["score"] == pytest.approx(lost, abs=1e-7)


def test_on_a_linear_box_weight_times_pixel_has_none() -> None:
    """A removed pixel takes exactly its term; and what is three times as high is wrong unless it may be scaled."""
    image = IMAGE.float()
    known = WEIGHTS.float() * image.mean(0)
    for factor, scaled, zero in ((1, False, True), (3, True, True), (3, False, False)):
        one = Case(toy.linear(WEIGHTS.float()), image, 1, factor * known)
        found = Infidelity(scaled=scaled)(one)
        assert (found.value < 1e-12) == zero
        assert found.evidence["factor"] == pytest.approx(1 / factor if scaled else 1, abs=1e-5)


def test_on_a_linear_box_the_slope_has_none_under_noise() -> None:
    """f(x) − f(x − I) is the product of I and the gradient, which a channel has a third of."""
    one = Case(toy.linear(WEIGHTS.float()), IMAGE.float(), 1, WEIGHTS.float() / 3)
    assert Infidelity("gaussian", scaled=False)(one).value < 1e-12
    assert Infidelity("gaussian", scaled=False)(Case(one.box, one.image, 1, WEIGHTS.float())).value > 1e-3


@both
def test_a_map_of_zeros_misses_all_that_the_score_loses(protocol: str) -> None:
    """No factor can help it."""
    found = Infidelity(protocol)(case(torch.zeros(8, 8)))  # type: ignore[arg-type]
    assert found.value == pytest.approx(sum(each**2 for each in found.evidence["score"]) / 200)
    assert found.evidence["factor"] == 0


def test_squares_lie_inside_and_have_every_side_up_to_a_quarter() -> None:
    """Also at the very borders; and fewer squares are the first of more."""
    top, bottom, left, right = sample_squares((40, 60), 3000, 0).edges.T
    assert (top.min(), bottom.max(), left.min(), right.max()) == (0, 40, 0, 60)
    assert torch.equal(bottom - top, right - left)
    assert sorted(set((bottom - top).tolist())) == list(range(1, 11))
    assert torch.equal(sample_squares((40, 60), 10, 0).edges, sample_squares((40, 60), 3000, 0).edges[:10])


@both
def test_it_takes_201_passes(protocol: str) -> None:
    """One of the image, 200 of what is left."""
    assert measure_case(case(), Infidelity(protocol)).passes == 201  # type: ignore[arg-type]


def test_no_samples_are_refused() -> None:
    """A mean of nothing."""
    with pytest.raises(SettingError, match="expected 1 ≤ samples, got 0"):
        Infidelity(samples=0)
