"""The score of the image under a mask that is made of its map."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import torch

from salience.case import Case, MeasureResult
from salience.engine import maps
from salience.engine.perturb import fill, masks
from salience.engine.query import loop
from salience.errors import SettingError
from salience.measures._levels import scale
from salience.types import Map, OpenBox

Protocol = Literal[
    "score-cam",
    "sise-15",
    "ptame-100",
    "ptame-50",
    "ptame-15",
    "torchcam",
    "grad-cam-logit",
    "grad-cam-softmax",
    "relevance-cam",
]


@dataclass(frozen=True)
class Rule:
    """Which mask a map becomes, what masked-out pixels show, and which score is taken."""

    keep: Callable[[Map], Map]
    fill: str = "mean"
    logit: bool = False


def keep_highest(saliency: Map, share: float) -> Map:
    """Keep exactly this share of the pixels, whole."""
    return maps.mark_top(saliency, round(share * saliency.numel())).double()


def _keep_above(saliency: Map, rank: int) -> Map:
    """Keep the scaled values above the one at this rank from below; ties with it become 0."""
    scaled = scale(saliency)
    return scaled * (scaled > scaled.flatten().kthvalue(rank).values)


RULES: dict[Protocol, Rule] = {
    "score-cam": Rule(scale),
    "sise-15": Rule(lambda saliency: keep_highest(saliency, 0.15)),
    "ptame-100": Rule(scale, "black"),
    "ptame-50": Rule(lambda saliency: _keep_above(saliency, int(saliency.numel() * (1 - 0.5))), "black"),
    "ptame-15": Rule(lambda saliency: _keep_above(saliency, int(saliency.numel() * (1 - 0.15))), "black"),
    "torchcam": Rule(scale),
    "grad-cam-logit": Rule(scale, logit=True),
    "grad-cam-softmax": Rule(scale),
    "relevance-cam": Rule(lambda saliency: _keep_above(saliency, (saliency.numel() + 1) // 2 + 1), "black"),
}


def score_masked_image(case: Case, protocol: Protocol) -> tuple[float, float] | None:
    """Score the image before and after, by a protocol; None where a flat map gives no mask."""
    rule = RULES[protocol]
    mask = rule.keep(case.saliency)
    if not bool(torch.isfinite(mask).all()):
        return None
    if rule.logit:
        if not isinstance(case.box, OpenBox):
            raise SettingError(f"expected a box with logits for {protocol}, got {case.box.name}: take another protocol")
        case = replace(case, box=case.box.with_logits())
    return score_mask(case, mask, rule.fill)


def score_mask(case: Case, mask: Map, fill_name: str) -> tuple[float, float]:
    """Score the image without and with a mask: two passes."""
    lot = masks.FullMasks(torch.stack([torch.ones_like(mask), mask]))
    baseline = fill.make_fill(fill_name, case.box, case.image)
    scored = loop.score_masked(case.box, case.image, case.target, [lot], baseline, least=2)
    before, after = torch.cat([scores for _, _, scores in scored]).tolist()
    return before, after


def score_mask_relatively(case: Case, mask: Map) -> MeasureResult:
    """Divide the score under a mask over the mean colour by the image's own score."""
    before, after = score_mask(case, mask, "mean")
    return MeasureResult(after / before if before > 0 else float("nan"), {"before": before, "after": after})


def choose_share(share: float | None) -> float:
    """Return the share of the pixels: a tenth unless another is given."""
    if share is not None and not 0 < share < 1:
        raise SettingError(f"expected 0 < share < 1, got {share:g}: give 0.1 for a tenth of the pixels")
    return 0.1 if share is None else share
