"""Answers that are remembered are the answers."""

from __future__ import annotations

import pytest
import torch

from salience.engine.perturb import fill, masks
from salience.engine.perturb.feature_masks import FeatureMasks
from salience.engine.query import loop
from salience.engine.query.run import start_run
from salience.engine.query.score_cache import share_scores
from salience.methods.mc_rise import McRise
from tests.helpers import Asked, brightness, noise, same

IMAGE = noise(3, 8, 8)
LOTS = {
    "grids": lambda: next(masks.sample_grids(20, (8, 8), 3, 0.5, seed=1)),
    "windows": lambda: masks.lay_windows((8, 8), 3, 2),
    "drawn": lambda: masks.FullMasks(noise(20, 8, 8, seed=2)),
    "channels": lambda: FeatureMasks(noise(20, 3, 3, seed=3), (8, 8)),
}


def scores(box: Asked, lot: masks.Lot, target: int) -> torch.Tensor:
    """Ask for the scores of all masks."""
    return torch.cat(
        [each for _, _, each in loop.score_masked(box, IMAGE, target, [lot], fill.make_fill("mean", box, IMAGE))]
    )


@pytest.mark.parametrize("kind", LOTS)
def test_another_target_of_the_same_masks_asks_nothing(kind: str) -> None:
    """And gets what it would have got; the passes count, for the map rests on them."""
    box, fresh, lot = Asked(brightness), Asked(brightness), LOTS[kind]()
    with share_scores(), start_run() as run:
        one = scores(box, lot, 0)
        asked = sum(box.batches)
        two = scores(box, lot, 1)
    assert sum(box.batches) == asked == len(lot)
    assert run.passes == 2 * len(lot)
    assert same(one, scores(fresh, lot, 0))
    assert same(two, scores(fresh, lot, 1))


def test_masks_that_mix_by_themselves_are_remembered_too() -> None:
    """MC-RISE's, which mix colours in; some may be known when others of their batch are not."""
    box, method = Asked(brightness), McRise(masks=20, cells=3)
    with share_scores(), start_run(batch=8):
        McRise(masks=6, cells=3)(box, IMAGE, 0)
        one, two = (method(box, IMAGE, target) for target in (0, 1))
    assert box.batches == [6, 2, 8, 4]
    assert same(one, method(Asked(brightness), IMAGE, 0))
    assert same(two, method(Asked(brightness), IMAGE, 1))


def test_only_what_is_new_is_asked() -> None:
    """Lots that overlap share what they have in common."""
    box, lot = Asked(brightness), LOTS["drawn"]()
    with share_scores(), start_run(batch=4):
        scores(box, lot[:6], 1)
        found = scores(box, lot, 1)
    assert sum(box.batches) == 20
    assert same(found, scores(Asked(brightness), lot, 1))


def test_another_image_or_fill_is_asked_again() -> None:
    """The same mask over something else is another question."""
    box, lot = Asked(brightness), LOTS["windows"]()
    with share_scores():
        for image, behind in ((IMAGE, "mean"), (1 - IMAGE, "mean"), (IMAGE, "black")):
            list(loop.score_masked(box, image, 1, [lot], fill.make_fill(behind, box, image)))
    assert sum(box.batches) == 3 * len(lot)


def test_nothing_is_remembered_unless_asked_for() -> None:
    """Or a long run would fill the memory."""
    box, lot = Asked(brightness), LOTS["windows"]()
    for _ in range(2):
        scores(box, lot, 0)
    assert sum(box.batches) == 2 * len(lot)
