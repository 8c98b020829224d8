"""Holes filled by the mean of the neighbours."""

from __future__ import annotations

import pytest
import torch

from salience.measures import _impute
from tests.helpers import apart, noise, same

EMPTY = (0.1, 0.2, 0.3)


def slow(image: torch.Tensor, removed: torch.Tensor) -> torch.Tensor:
    """Write the equations row by row, pixel = Σ w · neighbour / Σ w over those within the image, and solve them."""
    height, width = removed.shape
    rows = torch.eye(height * width, dtype=torch.float64)
    known = image.double().flatten(1).T.clone()
    for y, x in removed.nonzero().tolist():
        steps = [(b, a) for b in (-1, 0, 1) for a in (-1, 0, 1) if (b or a) and 0 <= y + b < height and 0 <= x + a < width]
        weights = {(y + b) * width + x + a: 1 / 6 if b == 0 or a == 0 else 1 / 12 for b, a in steps}
        for at, weight in weights.items():
            rows[y * width + x, at] = -weight / sum(weights.values())
        known[y * width + x] = 0
    return torch.linalg.solve(rows, known).T.reshape(image.shape)


def disc(height: int, width: int) -> torch.Tensor:
    """Mark a disc that the border cuts."""
    rows, columns = torch.arange(height)[:, None] - 4, torch.arange(width)[None] - 5
    return rows**2 + columns**2 < 0.3 * height * width


@pytest.mark.parametrize(("height", "width"), [(3, 3), (4, 9), (16, 16), (17, 23), (31, 20)])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.97])
def test_filling_equals_the_dense_solution(height: int, width: int, share: float) -> None:
    """On even and odd sizes, in single precision, from one missing pixel in ten to one left in thirty."""
    image, removed = noise(3, height, width, dtype=torch.float32), noise(height, width, seed=2) < share
    removed[0, 0] = False
    found = _impute.impute_linear(image, torch.stack([removed, ~removed, disc(height, width)]), EMPTY)
    for one, gone in zip(found, (removed, ~removed, disc(height, width)), strict=True):
        assert apart(one, slow(image, gone)) < 2e-5
        assert torch.equal(one[:, ~gone], image[:, ~gone])


def test_a_checkerboard_and_a_single_known_pixel_are_filled() -> None:
    """Nothing else than the mean of four edges in the one, the same everywhere in the other."""
    image = noise(3, 24, 24, dtype=torch.float32)
    board = (torch.arange(24)[:, None] + torch.arange(24)) % 2 == 0
    alone = torch.ones(24, 24, dtype=torch.bool)
    alone[5, 20] = False
    boards, flat = _impute.impute_linear(image, torch.stack([board, alone]), EMPTY)
    assert apart(boards, slow(image, board)) < 2e-5
    assert same(flat, image[:, 5, 20, None, None].expand_as(image), 1e-6)


def test_where_nothing_is_left_the_colour_given_stands_and_where_nothing_is_gone_the_image() -> None:
    """Both ends are defined."""
    image = noise(3, 8, 8, dtype=torch.float32)
    none, everything = _impute.impute_linear(image, torch.stack([torch.zeros(8, 8), torch.ones(8, 8)]).bool(), EMPTY)
    assert torch.equal(none, image)
    assert same(everything, torch.tensor(EMPTY)[:, None, None].expand_as(image))


def test_a_plane_goes_on_through_a_hole() -> None:
    """A slope is its own mean of neighbours, so nothing of a large hole away from the border is seen at 224 pixels."""
    rows = torch.linspace(0, 1, 224)
    image = torch.stack([rows[:, None].expand(224, 224), rows.expand(224, 224), (rows[:, None] + rows) / 2])
    hole = torch.zeros(1, 224, 224, dtype=torch.bool)
    hole[0, 10:214, 7:217] = True
    assert apart(_impute.impute_linear(torch.where(hole, 9.0, image), hole, EMPTY)[0], image) < 2e-5


def test_a_large_hole_leaves_no_pixel_off_its_neighbours_mean() -> None:
    """At 224 pixels and 90 % removed, at random, in a disc and as a rim; every mean lies within what is left."""
    image = noise(3, 224, 224, dtype=torch.float32)
    rows = (torch.arange(224) - 100)[:, None] ** 2 + (torch.arange(224) - 120) ** 2
    ranks = torch.stack([rows, -rows, (noise(224, 224) * 1e6).long()]).flatten(1).argsort().argsort()
    removed = (ranks < 0.9 * 224**2).reshape(3, 224, 224)
    for one, gone in zip(_impute.impute_linear(image, removed, EMPTY).double(), removed, strict=True):
        wide = torch.nn.functional.pad(one, (1, 1, 1, 1))
        inside = torch.nn.functional.pad(torch.ones_like(one), (1, 1, 1, 1))
        steps = [(b, a, 1 / 6 if 1 in (b, a) else 1 / 12) for b in range(3) for a in range(3) if (b, a) != (1, 1)]
        total, weight = (sum(w * each[:, b : b + 224, a : a + 224] for b, a, w in steps) for each in (wide, inside))
        assert apart((total / weight)[:, gone], one[:, gone]) < 2e-5
        assert bool(((one >= image.min() - 1e-6) & (one <= image.max() + 1e-6)).all())


def test_the_image_is_left_as_it_was_and_its_precision_is_kept() -> None:
    """Pure, and float64 in is float64 out."""
    image, removed = noise(3, 9, 9), noise(2, 9, 9, seed=3) < 0.5
    before = image.clone()
    found = _impute.impute_linear(image, removed, EMPTY)
    assert found.dtype == torch.float64
    assert found.shape == (2, 3, 9, 9)
    assert torch.equal(image, before)
