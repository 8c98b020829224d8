"""Deletion and insertion as RISE's public code computes them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from scipy.signal import convolve2d

from salience.boxes import toy
from salience.engine import probe
from salience.measures import _curves as deletion
from tests.helpers import apart, curved, noise, same

IMAGE = noise(3, 8, 8)
SALIENCY = (noise(8, 8, seed=3) * 20).floor()  # with ties


def slow_curve(kind: str, step: int) -> list[float]:
    """Copy pixel after pixel from one image to the other, the highest first, ties in reading order."""
    box = curved()
    behind = torch.full_like(IMAGE, 0.5)
    shown, hidden = (IMAGE, behind) if kind == "deletion" else (deletion.blurred(IMAGE, box), IMAGE)
    shown = shown.clone()
    scores = [float(box(shown[None])[0, 1])]
    order = sorted(range(64), key=lambda at: (-float(SALIENCY.flatten()[at]), at))
    for begin in range(0, 64, step):
        for at in order[begin : begin + step]:
            shown[:, at // 8, at % 8] = hidden[:, at // 8, at % 8]
        scores.append(float(box(shown[None])[0, 1]))
    return scores


@pytest.mark.parametrize("step", [1, 7, 64, 100])
@pytest.mark.parametrize("kind", ["deletion", "insertion"])
def test_a_curve_equals_its_definition_in_plain_loops(kind: str, step: int) -> None:
    """All channels of a pixel go together, `step` pixels at a time, and the area is the trapezoid's."""
    found, slow = deletion.curve(kind, curved(), IMAGE, 1, SALIENCY, step), slow_curve(kind, step)
    assert found.scores.tolist() == pytest.approx(slow, abs=1e-6)
    assert found.area == pytest.approx(float(np.trapezoid(slow, dx=1 / (len(slow) - 1))), abs=1e-6)
    assert found.protocol == f"{kind}/rise-2018, {step} pixels a step"


def test_curves_begin_and_end_at_the_scores_of_both_images() -> None:
    """Deletion starts and insertion ends at the very score of the image; deletion ends at that of the mean colour."""
    box, image = toy.load("colour"), toy.picture()
    deleted, inserted = (deletion.curve(kind, box, image, 0, noise(32, 32), 100) for kind in ("deletion", "insertion"))
    whole, none = (float(box(each[None])[0, 0]) for each in (image, torch.full_like(image, 0.5)))
    assert float(deleted.scores[0]) == pytest.approx(whole, abs=1e-7)
    assert float(inserted.scores[-1]) == pytest.approx(whole, abs=1e-7)
    assert float(deleted.scores[-1]) == pytest.approx(none, abs=1e-7)


def test_the_area_of_a_constant_curve_is_its_value() -> None:
    """Whatever the number of steps."""
    for step in (1, 10, 64):
        assert deletion.curve("deletion", toy.load("constant", size=8), IMAGE.float(), 0, SALIENCY, step).area == 1


def test_the_kernel_is_an_impulse_through_scipys_filter() -> None:
    """σ = 5 on 11 pixels, mirrored at the border: nearly flat, and not a truncated Gaussian."""
    impulse = np.zeros((11, 11))
    impulse[5, 5] = 1
    known = gaussian_filter(impulse, 5)
    axis = deletion.kernel().numpy()
    assert np.abs(np.outer(axis, axis) - known).max() < 1e-6
    assert known[5, 5] == pytest.approx(0.00883, abs=1e-5)
    assert float(axis.sum()) == pytest.approx(1)


def test_the_blur_pads_with_the_mean_colour() -> None:
    """Zero in normalised space, each channel for itself."""
    box, axis = curved(), deletion.kernel().numpy()
    known = [convolve2d(each.numpy() - 0.5, np.outer(axis, axis), mode="same") + 0.5 for each in IMAGE]
    assert same(deletion.blurred(IMAGE, box), torch.from_numpy(np.stack(known)), 1e-9)


def test_a_good_map_beats_its_opposite_in_both() -> None:
    """The patch gone first, the score falls at once; inserted first, it rises at once."""
    box, image = toy.load("colour"), toy.picture()
    good = torch.zeros(32, 32)
    good[6:14, 14:22] = 1
    areas = [
        [deletion.curve(kind, box, image, 0, each, 16).area for each in (good, -good)] for kind in ("deletion", "insertion")
    ]
    assert areas[0][0] < areas[0][1] - 0.2
    assert areas[1][0] > areas[1][1] + 0.2


def test_the_passes_are_counted_and_batches_change_nothing() -> None:
    """⌈h·w / step⌉ + 1 passes, all of them by the one loop."""
    found = []
    for batch in (1, 7, 64):
        with probe.running(batch=batch) as run:
            found.append(deletion.curve("insertion", curved(), IMAGE, 1, SALIENCY, 10).scores)
        assert run.passes == 8
    assert apart(found[0], found[1]) < 1e-6
    assert apart(found[0], found[2]) < 1e-6
