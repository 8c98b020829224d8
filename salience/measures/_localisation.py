"""Where a map lies, against a truth mask: the pointing game and the energy-based pointing game."""

from __future__ import annotations

import torch

from salience.engine import maps
from salience.types import Map, Region


def hit(saliency: Map, truth: Region, tolerance: int = 0) -> bool:
    """Say whether the map's maximum lies in the truth, or nearer to it than `tolerance` pixels (Zhang et al. 2016).

    Several maxima stand for their centroid.
    """
    top = torch.nonzero(saliency == saliency.max()).double().mean(0)
    inside = torch.nonzero(truth).double()
    if len(inside) == 0:
        return False
    nearest = float((inside - top).norm(dim=1).min())
    return nearest < 1 if tolerance == 0 else nearest < tolerance


def energy(saliency: Map, truth: Region) -> float:
    """Return the share of the map's energy inside the truth, the map scaled to 0…1 (Wang et al. 2020, Score-CAM)."""
    high = saliency - saliency.min()
    total = float(high.sum())
    return float(high[truth].sum()) / total if total > 0 else float(truth.float().mean())


def area(saliency: Map, threshold: float = 0.3) -> float:
    """Return how much of the image lies above min + threshold · (max − min)."""
    return float(maps.region(saliency, threshold).float().mean())
