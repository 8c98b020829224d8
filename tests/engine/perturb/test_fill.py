"""What masked-out pixels show."""

from __future__ import annotations

import pytest
import torch
from scipy.ndimage import gaussian_filter1d

from salience.boxes import toy
from salience.engine.perturb import fill
from salience.errors import SettingError
from tests.helpers import noise, same


@pytest.mark.parametrize(("name", "value"), [("black", 0.0), ("white", 1.0), ("grey", 0.5), ("0.25", 0.25), ("1", 1.0)])
def test_constants_fill_every_pixel(name: str, value: float) -> None:
    """The name says the value."""
    assert fill.make_fill(name, toy.load("colour"), noise(3, 5, 6)).unique().tolist() == [value]


def test_the_mean_is_the_boxes_own() -> None:
    """It is 0 in the box's normalised space, where RISE and IASSA put their zeros."""
    box = toy.load("colour")
    box.mean = (0.1, 0.2, 0.3)
    assert fill.make_fill("mean", box, noise(3, 4, 4))[:, 2, 1].tolist() == [0.1, 0.2, 0.3]


def test_blur_is_a_gaussian_that_repeats_the_border() -> None:
    """The same as scipy's, cut at three sigmas."""
    image = noise(3, 30, 40)
    known = image.numpy()
    for axis in (1, 2):
        known = gaussian_filter1d(known, 4.0, axis=axis, mode="nearest", radius=12)
    assert same(fill.make_fill("blur", toy.load("colour"), image), torch.from_numpy(known), 1e-9)


def test_noise_follows_the_seed() -> None:
    """One seed, one picture; another seed, another."""
    box, image = toy.load("colour"), noise(3, 8, 8)
    first, again, other = (fill.make_fill("noise", box, image, seed) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("name", ["purple", "1.5", "-0.1", "nan", ""])
def test_an_unknown_fill_is_refused_with_the_known_ones(name: str) -> None:
    """Pixels live in 0…1."""
    with pytest.raises(SettingError, match="expected a fill, one of mean, black, white, grey, blur, noise or a number"):
        fill.make_fill(name, toy.load("colour"), noise(3, 4, 4))
