"""Extremal perturbation against its definition, and what its masks must be."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from salience.boxes import toy
from salience.engine.perturb import fill
from salience.engine.query.run import start_run
from salience.errors import BudgetError, SettingError
from salience.methods.extremal_perturbation import ExtremalPerturbation, _Optimisation, measure_area_error
from tests.helpers import apart, curved, noise, same

IMAGE = noise(3, 8, 8)
SMALL = ExtremalPerturbation(areas=(0.1, 0.3), steps=40, cell=2, sigma=3.0, blur=2.0)
TOY = ExtremalPerturbation(areas=(0.06, 0.15), steps=60, cell=4, sigma=3.0, blur=0.0)


def slow_mask(cells: Tensor, how: ExtremalPerturbation, side: int) -> Tensor:
    """Take the smooth maximum of the bells around every cell, loops and all, then enlarge."""
    count = len(cells)
    wide, reach = side / count, 1 + math.ceil(how.sigma / how.cell)
    small = torch.zeros(count, count, dtype=torch.float64)
    for row in range(count):
        for column in range(count):
            bells = []
            for down in range(-reach, reach + 1):
                for right in range(-reach, reach + 1):
                    away = wide * math.hypot(down, right) / how.sigma
                    bell = math.exp(-2 * max(away - 0.5, 0) ** 2)
                    cell = cells[min(max(row + down, 0), count - 1), min(max(column + right, 0), count - 1)]
                    bells.append(float(cell) * bell)
            small[row, column] = sum(v * math.exp(20 * v) for v in bells) / sum(math.exp(20 * v) for v in bells)
    size = (side, side)
    return torch.nn.functional.interpolate(small[None, None], size, mode="bilinear", align_corners=False)[0, 0]


def slow_shown(mask: Tensor, image: Tensor, blur: float) -> Tensor:
    """Blur pixel by pixel: between two of eight levels."""
    levels = [image if level == 7 else fill.blur(image, blur * (1 - level / 7)) for level in range(8)]
    shown = torch.zeros_like(image)
    for row in range(image.shape[1]):
        for column in range(image.shape[2]):
            at = 7 * float(mask[row, column])
            low = min(int(at), 6)
            one, other = (levels[level][:, row, column] for level in (low, low + 1))
            shown[:, row, column] = one + (at - low) * (other - one)
    return shown


def slow_area_error(mask: Tensor, area: float) -> float:
    """Compare the sorted mask with a step."""
    values = sorted(mask.flatten().tolist())
    zeros = int(len(values) * (1 - area))
    return sum((value - (place >= zeros)) ** 2 for place, value in enumerate(values)) / len(values)


def slow_gain(cells: Tensor, how: ExtremalPerturbation, weight: float, area: float, *, mirrored: bool) -> float:
    """Return what a mask is to maximise: the logit of what it shows, less the area's term."""
    mask = slow_mask(cells, how, 8)
    shown = slow_shown(mask, IMAGE, how.blur)
    logit = curved().logits(shown.flip(-1)[None] if mirrored else shown[None]).detach()[0, 1]
    return float(logit) - weight * slow_area_error(mask, area)


def started(how: ExtremalPerturbation = SMALL) -> _Optimisation:
    """Begin with cells that all differ."""
    optimisation = _Optimisation(how, curved(), IMAGE[None], [1])
    optimisation.cells = noise(*optimisation.cells.shape, seed=3)
    return optimisation


def test_masks_and_what_they_show_equal_plain_loops() -> None:
    """The smooth maximum, the levels of the blur, the distance from the area."""
    optimisation = started()
    masks = optimisation.rasterise(optimisation.cells)
    shown = optimisation.blend(masks, optimisation.owners)
    for number, area in enumerate(SMALL.areas):
        assert same(masks[number], slow_mask(optimisation.cells[number], SMALL, 8))
        assert same(shown[number], slow_shown(masks[number], IMAGE, SMALL.blur), 1e-7)
        assert float(measure_area_error(masks, SMALL.areas)[number]) == pytest.approx(
            slow_area_error(masks[number], area), abs=1e-12
        )


@pytest.mark.parametrize("step", [0, 1])
def test_a_step_goes_up_the_slope_of_the_slow_gain(step: int) -> None:
    """By differences of the plain loops, in the mirror every second time."""
    optimisation, weight = started(), 30.0
    gradients = optimisation.differentiate(slice(0, 2), weight, mirrored=step == 0)
    before = optimisation.cells
    optimisation.step(step, 800, weight)
    assert same(optimisation.cells, (before + 0.01 * gradients).clamp(0, 1))
    for number, row, column in ((0, 0, 0), (0, 2, 1), (1, 3, 3)):
        nudge = torch.zeros(4, 4, dtype=torch.float64)
        nudge[row, column] = 1e-6
        moved = (before[number] + nudge, before[number] - nudge)
        up, down = (slow_gain(each, SMALL, weight, SMALL.areas[number], mirrored=step == 0) for each in moved)
        assert float(gradients[number, row, column]) == pytest.approx((up - down) / 2e-6, rel=1e-3, abs=1e-4)


def test_the_cells_move_as_torchs_own_descent_moves_them() -> None:
    """Rate 0.01, momentum and dampening 0.9, clamped to 0…1."""
    optimisation = started()
    cells = optimisation.cells.clone().requires_grad_()
    descent = torch.optim.SGD([cells], lr=0.01, momentum=0.9, dampening=0.9)
    for step in range(4):
        optimisation.cells = cells.detach().clone()
        cells.grad = -optimisation.differentiate(slice(0, 2), 30.0, mirrored=step % 2 == 0)
        optimisation.step(step, 800, 30.0)
        descent.step()
        with torch.no_grad():
            cells.clamp_(0, 1)
        assert same(optimisation.cells, cells.detach())


def test_equal_values_share_their_rank() -> None:
    """A mask that is the same everywhere is nowhere preferred: each pixel is drawn to the area."""
    mask = torch.full((1, 10, 10), 0.7, dtype=torch.float64).requires_grad_()
    loss = measure_area_error(mask, [0.25])
    assert float(loss.detach()) == pytest.approx((0.7 - 0.25) ** 2)
    assert same(torch.autograd.grad(loss.sum(), mask)[0], torch.full((1, 10, 10), 2 * 0.45 / 100, dtype=torch.float64))


def test_masks_have_about_their_areas() -> None:
    """Soft edges and discs of a least size leave some to want."""
    (found,) = TOY.many(toy.load("colour"), toy.picture()[None], [0])
    for mask, area in zip(found.evidence["masks"], TOY.areas, strict=True):
        assert float(mask.mean()) == pytest.approx(area, abs=0.03)
        assert float(((mask > 0.2) & (mask < 0.8)).float().mean()) < 0.15
    with start_run(40):
        (found,) = TOY.many(toy.load("colour"), toy.picture()[None], [0])
    assert found.notes[1].endswith("of the picture more than asked: allow more steps")


def test_a_mask_keeps_more_of_the_score_than_the_same_mask_elsewhere() -> None:
    """Moved by any eight pixels, it shows less of the patch."""
    box, image = toy.load("colour"), toy.picture()
    (found,) = TOY.many(box, image[None], [0])
    for mask in found.evidence["masks"]:
        moved = [mask.roll((down, right), (0, 1)) for down in range(0, 32, 8) for right in range(0, 32, 8)]
        kept = box.logits(torch.stack([0.5 + each * (image - 0.5) for each in moved]))[:, 0]
        assert int(kept.argmax()) == 0


def test_many_pictures_and_several_targets_give_what_each_gives_alone() -> None:
    """All masks move side by side, whatever the batch."""
    box, images = toy.load("colour"), torch.stack([toy.picture(colour=colour) for colour in (0, 1)])
    with start_run(batch=3) as run:
        together = TOY.many(box, images, [0, 1])
    assert run.passes == 2 * 2 * 60
    assert [each.passes for each in together] == [120, 120]
    several = TOY.many(box, images[:1], [0, (0, 1)])
    for found, image, target in zip((*together, *several), (*images, images[0], images[0]), (0, 1, 0, (0, 1)), strict=True):
        assert apart(found.saliency, TOY(box, image, target)) < 1e-3


def test_the_last_that_is_watched_is_the_answer() -> None:
    """The masks can be watched as they move."""
    seen = list(TOY.watch(toy.load("colour"), toy.picture(), 0))
    assert len(seen) > 4
    assert torch.equal(seen[-1].saliency, TOY(toy.load("colour"), toy.picture(), 0))
    assert [each.notes for each in seen[-2:]] == [("made 56 of 60 steps",), ()]


def test_a_budget_bounds_the_passes() -> None:
    """As many steps as it allows; below twenty no mask finds its place; time, too, may run out."""
    box, image = toy.load("colour"), toy.picture()
    with start_run(75) as run:
        (found,) = TOY.many(box, image[None], [0])
    assert (run.passes, found.notes) == (74, ("made 37 of 60 steps",))
    text = "expected a budget of at least 40 passes for 20 steps of extremal perturbation with 2 masks, got 39 passes"
    with start_run(39), pytest.raises(BudgetError, match=text):
        TOY(box, image, 0)
    with start_run("0.001s"), pytest.raises(BudgetError, match="expected time for at least 40 passes"):
        TOY(box, image, 0)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"areas": ()}, "expected at least one area, got none"),
        ({"areas": (0.1, 1.0)}, "expected 0 < area < 1, got 1"),
        ({"steps": 0}, "expected 1 ≤ steps"),
        ({"cell": 0}, "expected 1 ≤ cell"),
        ({"sigma": 0}, "expected 0.1 ≤ sigma"),
        ({"blur": -1}, "expected 0 ≤ blur"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], text: str) -> None:
    """Each by its own sentence."""
    with pytest.raises(SettingError, match=text):
        ExtremalPerturbation(**settings)
