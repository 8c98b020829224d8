"""DE-CAM's regression of all masks, its error and its stability, against plain loops."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from salience.engine import maps
from salience.methods._de_cam.regression import MaskRegression
from tests.helpers import noise, same

ROWS = noise(700, 9).double()
SCORES = ROWS @ noise(9, seed=1).double() + noise(700, seed=2).double()


def painted(values: Tensor) -> Tensor:
    """Enlarge rows of nine numbers."""
    return maps.enlarge(values.unflatten(1, (3, 3)), (16, 16))


def fitted(rows: Tensor, scores: Tensor) -> Tensor:
    """Regress, with k 0.01 for ten masks a number or more."""
    rows, scores = rows - rows.mean(0), scores - scores.mean()
    k = 0.1 if len(rows) < 90 else 0.01
    values = torch.linalg.solve(rows.T @ rows / len(rows) + k * torch.eye(9).double(), rows.T @ scores / len(rows))
    return painted(values[None])[0]


def seen(many: int) -> MaskRegression:
    """Take in so many masks, in batches of 37."""
    history = MaskRegression(painted, 9)
    for begin in range(0, many, 37):
        end = min(many, begin + 37)
        history.add(ROWS[begin:end, None], SCORES[begin:end])
    return history


@pytest.mark.parametrize(("many", "groups"), [(400, 13), (700, 16)])
def test_blocks_of_masks_left_out_in_turn_give_the_error_and_halves_the_stability(many: int, groups: int) -> None:
    """√((g − 1)/g Σ (· − mean)²); masks go to sixteen groups by thirty-twos, those of even and odd number to the halves."""
    found, rows, scores, group = seen(many).estimate(), ROWS[:many], SCORES[:many], torch.arange(many) // 32 % 16
    without = torch.stack([fitted(rows[group != each], scores[group != each]) for each in range(groups)])
    halves = [fitted(rows[group % 2 == side], scores[group % 2 == side])[::4, ::4] for side in (0, 1)]
    assert found.error is not None
    assert same(found.saliency.double(), fitted(rows, scores), 1e-6)
    assert same(found.error.double(), ((without - without.mean(0)).square().sum(0) * (groups - 1) / groups).sqrt(), 1e-6)
    assert found.stability == pytest.approx(maps.rank_agreement(*halves), abs=1e-9)


def test_few_blocks_have_no_error_and_one_alone_no_stability() -> None:
    """Seven would make the jackknife too uncertain itself."""
    assert seen(7 * 32).estimate().error is None
    assert seen(8 * 32).estimate().error is not None
    assert seen(32).estimate().stability is None
    assert seen(33).estimate().stability is not None
