"""Feature maps as masks, and Otsu's threshold."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from salience.engine import maps
from salience.engine.perturb.feature_masks import FeatureMasks, find_varying, split_otsu
from tests.helpers import noise, same


def slow_otsu(values: list[float]) -> float:
    """Try every split after each of 256 bins; the first best one's upper edge."""
    bins = [min(int(value * 256), 255) for value in values]
    best, at = -1.0, 0
    for split in range(256):
        low = [(each + 0.5) / 256 for each in bins if each <= split]
        high = [(each + 0.5) / 256 for each in bins if each > split]
        if low and high:
            between = len(low) * len(high) * (sum(low) / len(low) - sum(high) / len(high)) ** 2
            if between > best * (1 + 1e-12):
                best, at = between, split
    return (at + 1) / 256


def test_otsu_splits_the_worked_values_where_the_specification_says() -> None:
    """The first of the best bins, its upper edge."""
    assert split_otsu(torch.tensor([0, 0.1, 0.1, 0.2, 0.8, 0.9, 1])) == 0.203125


@pytest.mark.parametrize("seed", range(8))
def test_otsu_equals_its_definition_in_plain_loops(seed: int) -> None:
    """On few values, where empty bins make plateaus, and on many."""
    values = noise(5 + 40 * seed, seed=seed) ** (1 + seed)
    assert split_otsu(values) == slow_otsu(values.tolist())


def test_otsu_agrees_with_another_library() -> None:
    """scikit-image names a bin's centre; the same pixels lie above."""
    from skimage import filters

    values = torch.cat([noise(900, seed=1) * 0.4, 0.5 + noise(100, seed=2) / 2])
    values[0], values[-1] = 0, 1
    known = filters.threshold_otsu(values.numpy(), nbins=256)
    assert torch.equal(values > split_otsu(values), values > known + 0.5 / 256)


def test_nothing_to_split_has_no_threshold() -> None:
    """Equal values, or one."""
    assert split_otsu(torch.full((4, 4), 0.3)) is None
    assert split_otsu(torch.tensor([0.7])) is None


def test_a_feature_map_becomes_a_mask_from_nought_to_one() -> None:
    """Enlarged first and stretched then, so that its ends are exact."""
    maps = noise(4, 3, 5) * 7 - 2
    drawn = FeatureMasks(maps, (12, 20)).rasterise(maps)
    large = functional.interpolate(maps[:, None], size=(12, 20), mode="bilinear", align_corners=False)[:, 0]
    for mask, known in zip(drawn, large, strict=True):
        assert same(mask, (known - known.min()) / (known.max() - known.min()))
        assert (float(mask.min()), float(mask.max())) == (0, 1)
    assert same(FeatureMasks(maps, (12, 20))[1:3].rasterise(maps), drawn[1:3])


def test_constant_maps_are_not_alive() -> None:
    """They have nothing to show."""
    maps = noise(4, 3, 3)
    maps[1], maps[3] = 0.5, 0
    assert find_varying(maps).tolist() == [0, 2]


def test_a_constant_map_is_stretched_to_nothing() -> None:
    """Others to 0…1."""
    assert same(maps.stretch(torch.full((2, 2), 3.0)), torch.zeros(2, 2))
    assert same(maps.stretch(torch.tensor([[1.0, 2.0], [3.0, 5.0]])), torch.tensor([[0, 0.25], [0.5, 1]]))
