"""Superpixels: connected, near the number asked for, along the edges."""

from __future__ import annotations

import pytest
import torch
from scipy import ndimage
from torch import Tensor

from salience.engine.perturb.superpixels import ROUNDS, _assign_points, segment, to_lab
from salience.errors import SettingError
from tests.helpers import noise, same


def scene() -> Tensor:
    """Draw a bright disc off the middle of a dark, slightly noisy ground: no edge lies on a grid of centres."""
    y, x = torch.meshgrid(torch.arange(60), torch.arange(90), indexing="ij")
    disc = ((y - 27) ** 2 + (x - 50) ** 2 < 17**2).double()
    return (0.2 + 0.6 * disc).expand(3, -1, -1) + 0.02 * noise(3, 60, 90)


@pytest.mark.parametrize("image", [scene(), noise(3, 60, 90)], ids=["scene", "noise"])
def test_labels_have_no_gaps_and_every_region_is_one_piece(image: Tensor) -> None:
    """Also in pure noise, where pixels gather in many bits."""
    found = segment(image, 40, 0)
    assert found.unique().tolist() == list(range(int(found.max()) + 1))
    assert all(ndimage.label((found == each).numpy())[1] == 1 for each in range(int(found.max()) + 1))


@pytest.mark.parametrize("count", [6, 24, 96])
def test_there_are_about_as_many_as_asked_for(count: int) -> None:
    """Within a fifth of it, and none smaller than a quarter of its share."""
    sizes = segment(scene(), count, 0).flatten().bincount()
    assert 0.8 * count <= len(sizes) <= 1.2 * count
    assert int(sizes.min()) >= 0.25 * 60 * 90 / count


def astray(labels: Tensor, inside: Tensor) -> float:
    """Return the share of pixels that are on the other side of the edge than most of their region."""
    sizes = labels.flatten().bincount()
    within = labels.flatten().bincount(inside.double().flatten())
    return float(torch.minimum(within, sizes - within).sum()) / labels.numel()


@pytest.mark.parametrize("seed", range(12))
def test_points_join_the_nearest_of_the_centres_near_them(seed: int) -> None:
    """Against plain loops; at the border a centre is named several times, and its points count once."""
    home = torch.tensor([0] * 30 + [1] * 20 + [2] * 25)
    near = torch.tensor([[0, 0, 1], [1, 0, 2], [2, 1, 2]])
    points, centres = noise(75, 2, seed=seed), noise(3, 2, seed=100 + seed)
    slow = centres.clone()
    for _ in range(ROUNDS):
        labels = torch.tensor(
            [min(near[home[k]].tolist(), key=lambda c: float((points[k] - slow[c]).square().sum())) for k in range(75)]
        )
        for each in labels.unique().tolist():
            slow[each] = points[labels == each].mean(0)
    assert torch.equal(_assign_points(points, centres, home, near), labels)


def test_regions_follow_the_edges() -> None:
    """Each lies in the disc or outside it, where squares of that size are cut by its rim."""
    disc = scene()[0] > 0.5
    squares = torch.arange(60)[:, None] // 15 * 6 + torch.arange(90) // 15
    assert astray(segment(scene(), 24, 0), disc) < 0.01
    assert astray(squares, disc) > 0.05


def test_a_picture_without_edges_is_cut_into_even_cells() -> None:
    """Only place tells pixels apart; every centre keeps about its share."""
    sizes = segment(torch.full((3, 48, 48), 0.5), 16, 0).flatten().bincount()
    assert len(sizes) == 16
    assert int(sizes.max()) < 2 * int(sizes.min())


def test_one_seed_one_cut_and_another_seed_another() -> None:
    """The seed moves where the centres start."""
    first, again, other = (segment(scene(), 24, seed) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_one_region_is_the_image() -> None:
    """The end of the range."""
    assert int(segment(scene(), 1, 0).max()) == 0


def test_colours_are_scikit_images() -> None:
    """CIELAB under D65, by an independent program."""
    from skimage.color import rgb2lab

    image = noise(3, 9, 7)
    assert same(to_lab(image), torch.from_numpy(rgb2lab(image.permute(1, 2, 0).numpy())).permute(2, 0, 1), 1e-3)


@pytest.mark.parametrize(("count", "got"), [(0, "got 0"), (65, "got 65")])
def test_a_number_of_regions_that_cannot_be_is_refused(count: int, got: str) -> None:
    """Between one and the number of pixels."""
    with pytest.raises(SettingError, match=f"expected 1 ≤ count ≤ 64, {got}"):
        segment(noise(3, 8, 8), count, 0)
