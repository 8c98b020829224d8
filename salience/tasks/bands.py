"""The share of each band in what a box of many bands answers, measured once its map is there."""

from __future__ import annotations

from dataclasses import replace

import torch

from salience.bands import BandShares
from salience.engine import maps
from salience.engine.query.bands import score_without_bands
from salience.engine.query.budget import Budget
from salience.engine.query.run import Run, resume_run
from salience.types import BlackBox, Image, Map, Target

COLOURS = (1, 3)  # channels of boxes that look at photographs, whose bands nobody asks for
AREA = 0.15  # of the map: what counts as high
SPARE = 0.05  # share of a budget that may go into the bands


def count_band_passes(box: BlackBox) -> int:
    """Count the passes that the shares of a box's bands cost; 0 for a box that looks at photographs.

    >>> from salience.boxes import toy
    >>> count_band_passes(toy.load("colour"))
    0
    """
    return 0 if box.channels in COLOURS else 2 * box.channels


def leave_passes(budget: Budget, passes: int) -> Budget:
    """Leave passes of a budget for the bands; all of it for the method where they were more than a twentieth.

    >>> leave_passes(Budget(1000), 26), leave_passes(Budget(100), 26)
    (Budget(passes=974, seconds=None), Budget(passes=100, seconds=None))
    """
    if budget.passes is None or passes > SPARE * budget.passes:
        return budget
    return replace(budget, passes=budget.passes - passes)


def has_room(budget: Budget, passes: int, done: int, seconds: float) -> bool:
    """Say whether a budget has room for the bands after `done` passes in so many seconds.

    >>> has_room(Budget(1000), 26, 974, 1.0), has_room(Budget(1000), 26, 1000, 1.0)
    (True, False)
    """
    if budget.passes is not None and done + passes > budget.passes:
        return False
    return budget.seconds is None or passes * seconds / max(1, done) <= SPARE * budget.seconds


def measure_bands(
    box: BlackBox, image: Image, target: Target, score: float, saliency: Map, batch: int | None = None
) -> BandShares:
    """Measure how far the score falls without each band: everywhere, and only where the map is high; two passes a band.

    >>> from salience.boxes import toy
    >>> image = torch.tensor([0.9, 0.3, 0.0])[:, None, None].expand(3, 2, 2)
    >>> found = measure_bands(toy.linear(torch.ones(2, 2) / 4), image, 1, 0.4, torch.eye(2))
    >>> found.ranked[0], len(found.everywhere), found.passes
    (1, 3, 6)
    """
    run = Run(batch=batch)
    regions = [torch.ones_like(saliency, dtype=torch.bool)]
    if not maps.find_flaws(saliency):
        regions.append(maps.mark_top(saliency, max(1, round(AREA * saliency.numel()))))
    with resume_run(run):
        drops = [(score - score_without_bands(box, image, target, each)).tolist() for each in regions]
    return BandShares(tuple(drops[0]), tuple(drops[1]) if len(drops) > 1 else (), AREA, run.passes)
