"""Sparsity and complexity: what a map alone says."""

from __future__ import annotations

import io
import math

import pytest
import torch
from PIL import Image as pil

from salience import specs
from salience.boxes import toy
from salience.case import Case
from salience.types import Map
from tests.helpers import noise

SIGNED = noise(8, 8) * 3 - 1
SPARSITY = ("sparsity/gini", "sparsity/entropy", "sparsity/effective-pixels")


def value(spec: str, saliency: Map) -> float:
    """Measure."""
    found: float = specs.make_measure(spec)(Case(toy.load("colour"), torch.zeros(3, *saliency.shape), 0, saliency)).value
    return found


def peak(side: int = 8) -> Map:
    """Make a map of one pixel."""
    saliency = torch.zeros(side, side, dtype=torch.float64)
    saliency[2, 3] = -2
    return saliency


def test_the_gini_index_is_the_mean_difference_of_all_pairs() -> None:
    """Another definition of the same: Σ |a_i − a_j| over all pairs, by 2 n Σ a."""
    sizes = [abs(each) for each in SIGNED.flatten().tolist()]
    distance = sum(abs(one - other) for one in sizes for other in sizes)
    assert value("sparsity", SIGNED) == pytest.approx(distance / (2 * len(sizes) * sum(sizes)), abs=1e-12)


def test_entropy_and_effective_pixels_equal_their_sums() -> None:
    """In nats; the one is the logarithm of the other."""
    sizes = [abs(each) for each in SIGNED.flatten().tolist()]
    entropy = -sum(each / sum(sizes) * math.log(each / sum(sizes)) for each in sizes)
    assert value("sparsity/entropy", SIGNED) == pytest.approx(entropy, abs=1e-12)
    assert value("sparsity/effective-pixels", SIGNED) == pytest.approx(math.exp(entropy), abs=1e-9)


def test_one_pixel_and_all_pixels_are_the_ends_of_the_range() -> None:
    """One pixel has all, or each has as much."""
    assert [value(each, peak()) for each in SPARSITY] == pytest.approx([1 - 1 / 64, 0, 1], abs=1e-12)
    assert [value(each, torch.ones(8, 8)) for each in SPARSITY] == pytest.approx([0, math.log(64), 64], abs=1e-9)
    assert all(math.isnan(value(each, torch.zeros(8, 8))) for each in SPARSITY)


def test_a_factor_changes_nothing_and_the_direction_is_the_protocols() -> None:
    """Sparser is a higher index and a lower entropy."""
    assert [value(each, -5 * SIGNED) for each in SPARSITY] == pytest.approx([value(each, SIGNED) for each in SPARSITY])
    assert [specs.make_measure(each).better for each in SPARSITY] == ["higher", "lower", "lower"]


@pytest.mark.parametrize("protocol", ["png", "jpeg"])
def test_complexity_is_the_size_of_the_grey_picture(protocol: str) -> None:
    """What is compressed is the map in 0…255, which comes back, exactly or nearly."""
    saliency = noise(64, 64) - 3
    low, high = float(saliency.min()), float(saliency.max())
    grey = bytes(round(255 * (each - low) / (high - low)) for each in saliency.flatten().tolist())
    file = io.BytesIO()
    how = {"optimize": True} if protocol == "png" else {"quality": 75}
    pil.frombytes("L", (64, 64), grey).save(file, protocol, **how)
    assert value(f"complexity/{protocol}", saliency) == len(file.getvalue()) / 4096


def test_noise_is_complex_and_a_smooth_hill_is_simple() -> None:
    """Bytes of eight random bits cannot be compressed; a flat map has nothing to be drawn."""
    line = torch.linspace(-2, 2, 224)
    hill = torch.exp(-(line[:, None] ** 2) - line[None] ** 2)
    assert 0.95 < value("complexity", noise(224, 224)) < 1.05
    assert value("complexity", hill) < 0.4
    assert value("complexity/jpeg", hill) < value("complexity/jpeg", noise(224, 224)) / 5
    assert math.isnan(value("complexity", torch.ones(8, 8)))
