"""How the highest pixels of a map cover a truth mask: mIoU and the bounding-box metric, as SISE's paper takes them."""

from __future__ import annotations

import torch

from salience.engine import maps
from salience.types import Map, Region


def top(saliency: Map, count: int) -> Region:
    """Mark the `count` highest pixels; among equal ones the first in reading order, so that exactly so many are marked."""
    marked = torch.zeros(saliency.numel(), dtype=torch.bool, device=saliency.device)
    marked[torch.argsort(saliency.flatten(), descending=True, stable=True)[:count]] = True
    return marked.reshape(saliency.shape)


def iou(saliency: Map, truth: Region, share: float = 0.2) -> float:
    """Intersection over union of the truth and the highest `share` of the pixels (Sattarzadeh et al. 2021)."""
    return maps.overlap(top(saliency, round(share * saliency.numel())), truth)


def covered(saliency: Map, truth: Region) -> float:
    """Return the share of the truth among as many highest pixels as it has (Schulz et al. 2020, bounding-box metric)."""
    count = int(truth.sum())
    return float((top(saliency, count) & truth).sum()) / count if count else 0.0
