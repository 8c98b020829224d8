"""What the score becomes when only the highest pixels are kept: Drop % and Increase %, as SISE's paper takes them."""

from __future__ import annotations

import torch

from salience.engine import fill, masks, probe
from salience.measures._overlap import top
from salience.types import BlackBox, Image, Map, Target


def kept(box: BlackBox, image: Image, target: Target, saliency: Map, share: float = 0.15) -> tuple[float, float]:
    """Score the image whole, and with all but the highest `share` of its pixels at the mean colour. Cost: two passes."""
    shown = top(saliency, round(share * saliency.numel())).float()
    lot = masks.Drawn(torch.stack([torch.ones_like(shown), shown]))
    behind = fill.of("mean", box, image)
    before, after = torch.cat([each for _, _, each in probe.each(box, image, target, [lot], behind, least=2)]).tolist()
    return before, after


def drop(before: float, after: float) -> float:
    """Return the share of the score that is lost; 0 where it rises."""
    return max(0.0, before - after) / before if before > 0 else 0.0
