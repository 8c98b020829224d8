"""IASSA's `plus`: rounds of random masks at two scales, until the map stands still.

Every round shows a lot of coarse masks (4×4 cells, three in ten kept) and a lot of fine ones (14×14, seven in ten
kept). Coarse masks say what suffices, fine ones what is necessary; each scale is folded by covariance, scaled to its
range, and the map is their product: fine detail where the coarse map attends. Narrowing the rounds to the region, as
`intent` does, was measured and lost (docs/results/iassa.md), so every round looks everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

import torch

from salience.engine import maps
from salience.engine.estimate import jackknife
from salience.engine.perturb import designs, fill, masks
from salience.engine.query import loop
from salience.engine.query.run import plan_passes
from salience.types import BlackBox, Estimate, Image, Map, Target

SCALES = ((4, 0.3, 48), (14, 0.7, 80))  # cells along a side, keep probability, masks a round
LEAST, MOST = 32, 2048  # passes; the second, sixteen rounds, is for a run without a budget
STILL, SAME = 0.98, 0.95  # rank agreement of the map, and overlap of the region, between two rounds a quarter apart


@dataclass
class Scale:
    """One scale's masks so far, folded."""

    cells: int
    keep: float
    count: int  # masks a round
    seen: jackknife.Groups

    def lots(self, size: tuple[int, int], seed: int, number: int) -> Iterator[masks.Grids]:
        """Return this scale's masks of a round."""
        begin = number * self.count
        return masks.sample_grids(begin + self.count, size, self.cells, self.keep, seed, start=begin)


def watch(box: BlackBox, image: Image, target: Target, behind: str, threshold: float, seed: int) -> Iterator[Estimate]:
    """Yield the map after every round; stop when map and region stand still, or the budget is spent."""
    size = (image.shape[-2], image.shape[-1])
    allowed = plan_passes(None, default=MOST, least=LEAST, what="iassa (plus)")
    share = min(1.0, allowed / sum(count for _, _, count in SCALES))  # a budget below one round makes a smaller round
    scales = [
        Scale(cells, keep, int(count * share), jackknife.group_estimators("centred", size, keep))
        for cells, keep, count in SCALES
    ]
    shown = fill.make_fill(behind, box, image, seed)
    seen = {scale.cells: scale.seen for scale in scales}
    history: list[Map] = []
    for number in range(-(-allowed // sum(scale.count for scale in scales))):
        lots = chain.from_iterable(scale.lots(size, seed, number) for scale in scales)
        least = 0 if number else sum(scale.count for scale in scales)
        for lot, drawn, scores in loop.score_masked(box, image, target, lots, shown, least=least):
            seen[lot.cells.shape[-1]].add(drawn, scores)
        found = joined(scales, threshold)
        yield found
        history.append(found.saliency[::4, ::4].clone())  # plenty to see whether it stands still
        if still(history, threshold):
            return


def joined(scales: list[Scale], threshold: float) -> Estimate:
    """Multiply the scales' maps, each scaled to 0…1, and carry their errors along."""
    wholes = [scale.seen.merged(scale.seen.filled) for scale in scales]
    coarse, fine = ((whole.map(), whole.error()) for whole in wholes)
    saliency = product([coarse[0], fine[0]])
    relative = torch.zeros_like(saliency)
    for (own, error), (other, _) in ((coarse, fine), (fine, coarse)):
        if error is not None:
            relative = relative + (unit(other) * error / (own.max() - own.min()).clamp(min=1e-12)) ** 2
    stability = None
    if min(scale.seen.count for scale in scales) > designs.BLOCK:
        halves = [product([scale.seen.sides[half].map()[::4, ::4] for scale in scales]) for half in (0, 1)]
        stability = maps.rank_agreement(*halves)
    evidence = {"region": maps.threshold(saliency, threshold), "coarse": coarse[0].float(), "fine": fine[0].float()}
    return Estimate(saliency.float(), relative.sqrt().float(), stability, evidence)


def product(parts: list[Map]) -> Map:
    """Scale each map to 0…1 and multiply; constant maps stay constant."""
    return torch.stack([unit(each) for each in parts]).prod(0)


def unit(saliency: Map) -> Map:
    """Scale to 0…1."""
    return (saliency - saliency.min()) / (saliency.max() - saliency.min()).clamp(min=1e-12)


def still(history: list[Map], threshold: float) -> bool:
    """Compare the last map with the one when a fifth fewer passes had been made."""
    if len(history) < 5:
        return False
    now, then = history[-1], history[len(history) - 1 - len(history) // 5]
    alike = maps.rank_agreement(now, then) > STILL
    return alike and maps.intersection_over_union(maps.threshold(now, threshold), maps.threshold(then, threshold)) > SAME
