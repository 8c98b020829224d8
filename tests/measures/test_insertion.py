"""Insertion in each of its protocols; what it shares with deletion is tested there."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import convolve1d, gaussian_filter
from scipy.signal import convolve2d

from salience.boxes import toy
from salience.case import Case
from salience.errors import SettingError
from salience.measures import _curves
from salience.measures.insertion import Insertion
from tests.helpers import curved, noise, same

SIDE = 30
IMAGE = noise(3, SIDE, SIDE)
SALIENCY = (noise(SIDE, SIDE, seed=3) * 20).floor()  # with ties


def blank(protocol: str) -> torch.Tensor:
    """Make the image that insertion begins with, by scipy."""
    if protocol == "torchcam":
        return torch.full_like(IMAGE, 0.5)
    if protocol == "rise-2018":
        impulse = np.zeros((11, 11))
        impulse[5, 5] = 1
        weights = gaussian_filter(impulse, 5)
        return torch.from_numpy(np.stack([convolve2d(each - 0.5, weights, mode="same") for each in IMAGE.numpy()]) + 0.5)
    line = np.exp(-(np.arange(-25, 26) ** 2) / (2 * 50.0**2))
    down = convolve1d(IMAGE.numpy(), line / line.sum(), axis=1, mode="mirror")
    return torch.from_numpy(convolve1d(down, line / line.sum(), axis=2, mode="mirror"))


@pytest.mark.parametrize("step", [97, 300, 1000])
@pytest.mark.parametrize("protocol", ["rise-2018", "torchcam", "blur-51"])
def test_a_curve_equals_its_definition_in_plain_loops(protocol: str, step: int) -> None:
    """Pixel after pixel from the image into the blank one, the highest first, ties in reading order."""
    box, shown, pixels = curved(SIDE), blank(protocol), SIDE * SIDE
    counts, scores = [0], [float(box(shown[None])[0, 1])]
    order = sorted(range(pixels), key=lambda at: (-float(SALIENCY.flatten()[at]), at))
    for begin in range(0, pixels, step):
        for at in order[begin : begin + step]:
            shown[:, at // SIDE, at % SIDE] = IMAGE[:, at // SIDE, at % SIDE]
        counts.append(min(begin + step, pixels))
        scores.append(float(box(shown[None])[0, 1]))
    x = np.array(counts) / pixels if protocol == "torchcam" else np.linspace(0, 1, len(counts))
    found = Insertion(protocol, step)(Case(box, IMAGE, 1, SALIENCY))
    assert found.evidence["curve"]["y"] == pytest.approx(scores, abs=1e-5)
    assert found.evidence["curve"]["x"] == pytest.approx(list(x))
    assert found.value == pytest.approx(sum(np.diff(x) * (np.array(scores[1:]) + scores[:-1]) / 2), abs=1e-5)


def test_the_kernel_of_rise_is_an_impulse_through_scipys_filter() -> None:
    """σ = 5 on 11 pixels, mirrored at the border: nearly flat, and not a truncated Gaussian."""
    impulse = np.zeros((11, 11))
    impulse[5, 5] = 1
    known, axis = gaussian_filter(impulse, 5), _curves.make_kernel().numpy()
    assert np.abs(np.outer(axis, axis) - known).max() < 1e-6
    assert known[5, 5] == pytest.approx(0.00883, abs=1e-5)
    assert float(axis.sum()) == pytest.approx(1)


@pytest.mark.parametrize(("protocol", "within"), [("rise-2018", 1e-5), ("torchcam", 0), ("blur-51", 1e-12)])
def test_the_blank_image_equals_scipys(protocol: str, within: float) -> None:
    """Padded with the mean colour, plain, or mirrored; RISE's kernel is written with five digits."""
    assert same(_curves.make_start(protocol, IMAGE, curved(SIDE)), blank(protocol), within)


@pytest.mark.parametrize("protocol", ["rise-2018", "torchcam", "blur-51"])
def test_a_curve_ends_at_the_score_of_the_image(protocol: str) -> None:
    """And begins at that of the blank one."""
    box, image = toy.load("colour"), toy.picture()
    curve = Insertion(protocol)(Case(box, image, 0, noise(32, 32))).evidence["curve"]["y"]
    begun = _curves.make_start(protocol, image, box)
    assert curve[-1] == float(box(image[None])[0, 0])
    assert curve[0] == pytest.approx(float(box(begun[None])[0, 0]), abs=1e-7)


def test_a_good_map_beats_its_opposite() -> None:
    """The patch shown first, the score rises at once."""
    box, image, good = toy.load("colour"), toy.picture(), torch.zeros(32, 32)
    good[6:14, 14:22] = 1
    for protocol in ("rise-2018", "torchcam", "blur-51"):
        best, worst = (Insertion(protocol, 16)(Case(box, image, 0, each)).value for each in (good, -good))
        assert best > worst + 0.2


def test_an_image_smaller_than_half_the_blur_is_refused() -> None:
    """There is nothing left to mirror."""
    with pytest.raises(SettingError, match="26 pixels a side or more for blur-51, got 8: take"):
        Insertion("blur-51")(Case(curved(), noise(3, 8, 8), 1, noise(8, 8)))
