"""IASSA's `plus`: rounds of random masks at two scales, until the map has converged.

Every round shows a lot of coarse masks (4×4 cells, three in ten kept) and a lot of fine ones (14×14, seven in ten
kept). Coarse masks show what suffices, fine ones what is necessary; each scale is folded by covariance, scaled to its
range, and the map is their product: fine detail where the coarse map attends. Narrowing the rounds to the region, as
`intent` does, was measured and lost (docs/results/iassa.md), so every round covers the whole image.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

import torch

from salience.engine import maps
from salience.engine.estimate import jackknife
from salience.engine.perturb import designs, fill
from salience.engine.perturb.masks import Grids, sample_grids
from salience.engine.query import loop
from salience.engine.query.run import plan_passes
from salience.estimates import Estimate
from salience.types import BlackBox, Image, Map, Target

SCALES = ((4, 0.3, 48), (14, 0.7, 80))  # cells along a side, keep probability, masks a round
LEAST, MOST = 32, 2048  # passes; the second, sixteen rounds, is for a run without a budget
AGREEMENT, OVERLAP = 0.98, 0.95  # rank agreement of the map, and overlap of the region, between two rounds a quarter apart


@dataclass
class Scale:
    """One scale: its masks and their groups of estimators."""

    cells: int
    keep: float
    count: int  # masks a round
    groups: jackknife.Groups

    def sample_lots(self, size: tuple[int, int], seed: int, number: int) -> Iterator[Grids]:
        """Sample this scale's masks of a round."""
        begin = number * self.count
        return sample_grids(begin + self.count, size, self.cells, self.keep, seed, start=begin)


def watch(box: BlackBox, image: Image, target: Target, fill_name: str, threshold: float, seed: int) -> Iterator[Estimate]:
    """Yield the map after every round; stop when map and region have converged, or the budget is spent."""
    size = (image.shape[-2], image.shape[-1])
    allowed = plan_passes(None, default=MOST, least=LEAST, what="iassa (plus)")
    share = min(1.0, allowed / sum(count for _, _, count in SCALES))  # a budget below one round makes a smaller round
    scales = [
        Scale(cells, keep, int(count * share), jackknife.group_estimators("centred", size, keep))
        for cells, keep, count in SCALES
    ]
    baseline = fill.make_fill(fill_name, box, image, seed)
    by_cells = {scale.cells: scale.groups for scale in scales}
    history: list[Map] = []
    for number in range(-(-allowed // sum(scale.count for scale in scales))):
        lots = chain.from_iterable(scale.sample_lots(size, seed, number) for scale in scales)
        least = 0 if number else sum(scale.count for scale in scales)
        for lot, masks, scores in loop.score_masked(box, image, target, lots, baseline, least=least):
            by_cells[lot.cells.shape[-1]].add(masks, scores)
        estimate = merge_scales(scales, threshold)
        yield estimate
        history.append(estimate.saliency[::4, ::4].clone())  # enough to tell whether it has converged
        if has_converged(history, threshold):
            return


def merge_scales(scales: list[Scale], threshold: float) -> Estimate:
    """Multiply the scales' maps, each scaled to 0…1, and propagate their errors."""
    merged = [scale.groups.merge_groups(scale.groups.filled) for scale in scales]
    coarse, fine = ((whole.map(), whole.error()) for whole in merged)
    saliency = multiply([coarse[0], fine[0]])
    relative = torch.zeros_like(saliency)
    for (own, error), (other, _) in ((coarse, fine), (fine, coarse)):
        if error is not None:
            relative = relative + (maps.stretch(other) * error / (own.max() - own.min()).clamp(min=1e-12)) ** 2
    stability = None
    if min(scale.groups.count for scale in scales) > designs.BLOCK:
        halves = [multiply([scale.groups.estimators[half].map()[::4, ::4] for scale in scales]) for half in (0, 1)]
        stability = maps.rank_agreement(*halves)
    evidence = {"region": maps.threshold(saliency, threshold), "coarse": coarse[0].float(), "fine": fine[0].float()}
    return Estimate(saliency.float(), relative.sqrt().float(), stability, evidence)


def multiply(parts: list[Map]) -> Map:
    """Scale each map to 0…1 and multiply; constant maps stay constant."""
    return torch.stack([maps.stretch(each) for each in parts]).prod(0)


def has_converged(history: list[Map], threshold: float) -> bool:
    """Compare the last map with the one after a fifth fewer rounds."""
    if len(history) < 5:
        return False
    latest, earlier = history[-1], history[len(history) - 1 - len(history) // 5]
    regions = (maps.threshold(each, threshold) for each in (latest, earlier))
    return maps.rank_agreement(latest, earlier) > AGREEMENT and maps.intersection_over_union(*regions) > OVERLAP
