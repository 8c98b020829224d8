"""Integrated gradients against their definition and their theorem: the map adds up to the change of the score."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from salience.boxes import toy
from salience.boxes.torch import TorchBox
from salience.engine.perturb import fill
from salience.engine.query.run import start_run
from salience.errors import BudgetError, SettingError
from salience.methods.input_x_gradient import InputXGradient
from salience.methods.integrated_gradients import IntegratedGradients, make_quadrature
from salience.picture import Preparation
from tests.helpers import noise, same

SIZE, MEAN, STD = (6, 9), (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)
IMAGE = noise(3, *SIZE)
RULES = ("gauss-legendre", "middle", "trapezoid")


def bent() -> TorchBox:
    """Make a box whose logits are curved in the pixels, with a normalisation of its own."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(4 * 4 * 7, 3)).double()
    return TorchBox(net, Preparation(SIZE, mean=MEAN, std=STD), "abc", backend="exact")


def change(box: TorchBox, target: int, baseline: Tensor) -> Tensor:
    """Return logit(image) − logit(baseline)."""
    with torch.no_grad():
        return (box.logits(IMAGE[None]) - box.logits(baseline[None]))[0, target]


@pytest.mark.parametrize("steps", [1, 4, 13])
def test_the_middle_rule_equals_the_definition_in_plain_loops(steps: int) -> None:
    """Riemann's sum over the middles of the steps, from the mean colour to the image."""
    start = torch.tensor(MEAN).double()[:, None, None].expand_as(IMAGE)
    total = torch.zeros_like(IMAGE)
    for step in range(steps):
        at = (start + (step + 0.5) / steps * (IMAGE - start)).requires_grad_()
        bent().logits(at[None])[0, 1].backward()
        total += at.grad / steps
    found = IntegratedGradients(steps=steps, rule="middle")(bent(), IMAGE, 1)
    assert same(found, ((IMAGE - start) * total).sum(0), 1e-7)  # the box's mean colour is float32


@pytest.mark.parametrize("baseline", ["mean", "black", "white", "blur", "noise", "0.2"])
@pytest.mark.parametrize("channels", ["sum", "sum-abs"])
def test_the_map_adds_up_to_the_change_of_the_score(baseline: str, channels: Any) -> None:
    """Completeness, the axiom that names the method, from any baseline; Gauss's sum is exact to ten digits here."""
    method = IntegratedGradients(baseline, steps=40, channels=channels, seed=4)
    found = method.many(bent(), IMAGE[None], [1])[0]
    known = change(bent(), 1, fill.make_fill(baseline, bent(), IMAGE, seed=4))
    assert float(abs(found.evidence["score change"] - known)) < 1e-12
    assert abs(found.evidence["convergence delta"]) < 1e-10
    assert found.notes == ()
    if channels == "sum":
        assert float(abs(found.saliency.sum() - known)) < 1e-10


@pytest.mark.parametrize("rule", RULES)
def test_a_linear_box_needs_one_step(rule: Any) -> None:
    """Its gradient is the same everywhere, so the map is each pixel's term (the trapezoid has two ends)."""
    weights = noise(*SIZE, seed=7) - 0.5
    found = IntegratedGradients("black", steps=2 if rule == "trapezoid" else 1, rule=rule)(toy.linear(weights), IMAGE, 1)
    assert same(found, weights * IMAGE.mean(0))


@pytest.mark.parametrize("rule", RULES)
def test_all_rules_come_to_one_map(rule: Any) -> None:
    """With steps enough."""
    many = IntegratedGradients(steps=400, rule=rule)(bent(), IMAGE, 1)
    assert same(many, IntegratedGradients(steps=60)(bent(), IMAGE, 1), 1e-5)


def test_a_baseline_near_the_image_gives_slope_times_difference() -> None:
    """The walk is short, so the gradient does not change on it; from the mean, that is input × gradient."""
    near = torch.tensor(MEAN).double()[:, None, None] + 1e-4 * (IMAGE - 0.5)
    one, other = IntegratedGradients(steps=3)(bent(), near, 1), InputXGradient()(bent(), near, 1)
    assert same(one, other, 1e-3 * float(other.abs().max()))


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("steps", [2, 3, 50])
def test_weights_add_up_to_one_and_points_lie_evenly_about_the_middle(rule: Any, steps: int) -> None:
    """So a constant gradient is integrated exactly, and a straight one too."""
    points, weights = (torch.tensor(each, dtype=torch.float64) for each in make_quadrature(rule, steps))
    assert len(points) == len(weights) == steps
    assert float(abs(weights.sum() - 1)) < 1e-12
    assert float(abs((points * weights).sum() - 0.5)) < 1e-12
    assert same(points, 1 - points.flip(0))


def test_too_few_steps_leave_a_note() -> None:
    """What the sum misses is said in words when it is above 5 % of the change."""
    found = IntegratedGradients("white", steps=2, rule="trapezoid").many(bent(), IMAGE[None], [1])[0]
    delta = float(found.saliency.sum() - change(bent(), 1, torch.ones_like(IMAGE)))
    assert abs(found.evidence["convergence delta"] - delta) < 1e-12
    assert abs(delta) > 0.05 * abs(found.evidence["score change"])
    assert "the map adds up to" in found.notes[0]
    assert "take more steps" in found.notes[0]


def test_many_images_and_many_targets_give_the_maps_of_each_alone() -> None:
    """With a baseline that is each image's own, under any batch size; passes are the steps and the two ends."""
    images, aims, method = torch.stack([IMAGE, IMAGE.flip(1)]), [0, (1, 2)], IntegratedGradients("blur", steps=5)
    for batch in (1, 3, 64):
        with start_run(batch=batch) as run:
            each, several = method.many(bent(), images, aims), method.many(bent(), images[:1], aims)
        assert run.passes == 4 * (5 + 2)
        for number, aim in enumerate(aims):
            assert same(each[number].saliency, method(bent(), images[number], aim))
            assert same(several[number].saliency, method(bent(), images[0], aim))
            assert several[number].passes == 7


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"steps": 0}, "expected 1 ≤ steps, got 0"),
        ({"steps": 1, "rule": "trapezoid"}, "expected 2 ≤ steps, got 1"),
        ({"rule": "left"}, "expected rule, one of gauss-legendre, middle, trapezoid, got 'left'"),
        ({"channels": "mean"}, "expected channels, one of"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], text: str) -> None:
    """In one sentence."""
    with pytest.raises(SettingError, match=text):
        IntegratedGradients(**settings)


def test_an_unknown_baseline_and_too_small_a_budget_are_refused() -> None:
    """Before the first pass."""
    with start_run() as run, pytest.raises(SettingError, match="expected a fill, one of mean, black"):
        IntegratedGradients("red")(bent(), IMAGE, 1)
    with (
        start_run(51),
        pytest.raises(BudgetError, match="expected a budget of at least 52 passes for 52 changed copies"),
    ):
        IntegratedGradients()(bent(), IMAGE, 1)
    assert run.passes == 0
