"""How alike two maps are."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from salience.engine import maps, similarity
from salience.errors import SettingError
from tests.helpers import noise

ONE, OTHER = noise(24, 17) * 5 - 2, noise(24, 17, seed=1) + noise(24, 17) * 2


def test_spearman_is_scipys() -> None:
    """With ties, too."""
    from scipy import stats

    for scale in (1, 3):
        one, other = (ONE * scale).floor() if scale == 3 else ONE, OTHER
        known = stats.spearmanr(one.flatten().numpy(), other.flatten().numpy()).statistic
        assert similarity.compare(one, other) == pytest.approx(known, abs=1e-12)


def test_ssim_is_scikit_images() -> None:
    """On maps scaled to 0…1, with the Gaussian window of the paper."""
    from skimage import metrics

    scaled = [((each - each.min()) / (each.max() - each.min())).numpy() for each in (ONE, OTHER)]
    known = metrics.structural_similarity(*scaled, gaussian_weights=True, use_sample_covariance=False, data_range=1.0)
    assert similarity.compare(ONE, OTHER, "ssim") == pytest.approx(known, abs=1e-12)


def test_ssim_equals_its_definition_in_plain_loops() -> None:
    """A weighted mean, variance and covariance in every window that fits."""
    x, y = (((each - each.min()) / (each.max() - each.min())).numpy() for each in (ONE, OTHER))
    weights = np.array([[math.exp(-(i * i + j * j) / 4.5) for j in range(-5, 6)] for i in range(-5, 6)])
    weights /= weights.sum()
    found = []
    for row in range(24 - 10):
        for column in range(17 - 10):
            a, b = (each[row : row + 11, column : column + 11] for each in (x, y))
            ma, mb = (weights * a).sum(), (weights * b).sum()
            va, vb, vab = ((weights * p * q).sum() for p, q in ((a - ma, a - ma), (b - mb, b - mb), (a - ma, b - mb)))
            found.append((2 * ma * mb + 1e-4) * (2 * vab + 9e-4) / ((ma**2 + mb**2 + 1e-4) * (va + vb + 9e-4)))
    assert similarity.ssim(ONE, OTHER) == pytest.approx(np.mean(found), abs=1e-12)


def test_top_k_is_the_overlap_of_the_highest_tenths() -> None:
    """Of 408 pixels 41 are highest; counted by sets."""
    first, second = (set(sorted(range(408), key=lambda at: -float(each.flatten()[at]))[:41]) for each in (ONE, OTHER))
    assert similarity.compare(ONE, OTHER, "top-k") == pytest.approx(len(first & second) / len(first | second))
    tied = torch.zeros(4, 5)
    assert maps.mark_top(tied, 4).flatten().nonzero().flatten().tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("kind", ["spearman", "ssim", "top-k"])
def test_a_map_is_like_itself_and_like_its_scaled_self(kind: similarity.Kind) -> None:
    """None of the three looks at height."""
    assert similarity.compare(ONE, ONE, kind) == pytest.approx(1)
    assert similarity.compare(ONE, ONE.float() * 8 + 3, kind) == pytest.approx(1, abs=1e-5)
    assert similarity.compare(ONE, -ONE, kind) < 0.2


@pytest.mark.parametrize("kind", ["spearman", "ssim", "top-k"])
def test_a_constant_map_or_one_with_nan_is_like_nothing(kind: similarity.Kind) -> None:
    """Its pixels have no order: not a number, rather than 0."""
    broken = ONE.clone()
    broken[3, 3] = math.nan
    for useless in (torch.ones(24, 17), broken):
        assert math.isnan(similarity.compare(ONE, useless, kind))
        assert math.isnan(similarity.compare(useless, ONE, kind))


def test_a_map_smaller_than_the_window_has_no_ssim() -> None:
    """Eleven pixels are needed."""
    assert math.isnan(similarity.compare(noise(10, 30), noise(10, 30, seed=1), "ssim"))
    assert math.isfinite(similarity.compare(noise(11, 30), noise(11, 30, seed=1), "ssim"))


def test_change_is_the_norm_of_the_difference() -> None:
    """Relative to the first map; a map of zeros has no relative change."""
    one, other = torch.tensor([[3.0, 4.0]]), torch.tensor([[3.0, 1.0]])
    assert similarity.relative_change(one, other) == pytest.approx(3 / 5)
    assert similarity.relative_change(one, other, relative=False) == pytest.approx(3)
    assert math.isnan(similarity.relative_change(torch.zeros(1, 2), other))


def test_what_cannot_be_compared_is_said() -> None:
    """Another word, another size."""
    with pytest.raises(SettingError, match="expected a similarity, one of spearman, ssim, top-k, got 'hog'"):
        similarity.compare(ONE, OTHER, "hog")  # type: ignore[arg-type]
    with pytest.raises(SettingError, match=r"one size, got \(24, 17\) and \(24, 16\): resize one"):
        similarity.compare(ONE, OTHER[:, :16])
