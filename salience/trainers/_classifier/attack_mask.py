"""Which pixels of an image may be changed, and how far, by what its saliency says."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from salience.engine import validate
from salience.trainers._classifier.loss import Step

Rule = Literal["quantile", "mean", "mass", "soft", "rank", "all", "random", "high"]


def attack_mask(saliency: Float[Tensor, "n h w"], rule: Rule, share: float, step: Step) -> Float[Tensor, "n 1 h w"]:
    """Return 1 where a pixel may be changed as far as any, 0 where it must stay, and what is between for graded rules.

    Ties are ranked by place, so that "quantile", "random" and "high" permit exactly ⌊share · pixels⌋ also on a flat map.
    """
    flat = saliency.flatten(1)
    count, pixels = flat.shape
    some = int(share * pixels + 1e-9)
    if rule == "all":
        found = torch.ones_like(flat)
    elif rule == "random":
        found = (rank_rows(step.uniform(count, pixels)) < some).to(flat)
    elif rule in ("quantile", "high"):
        found = (rank_rows(flat) < some if rule == "quantile" else rank_rows(flat) >= pixels - some).to(flat)
    elif rule == "mean":
        found = (flat < flat.mean(1, keepdim=True)).to(flat)
    elif rule == "mass":
        values, places = flat.sort(dim=1, stable=True)
        little = values.cumsum(1) <= share * values.sum(1, keepdim=True)
        found = torch.zeros_like(flat).scatter(1, places, little.to(flat))
    elif rule == "soft":
        top = flat.amax(1, keepdim=True)
        found = 1 - flat / torch.where(top > 0, top, 1)
    else:
        found = 1 - rank_rows(flat).to(flat) / max(1, pixels - 1)
    return found.view(count, 1, *saliency.shape[1:])


def rank_rows(values: Float[Tensor, "n p"]) -> Tensor:
    """Return the place of each value in the order of its row, from 0 for the smallest."""
    order = values.argsort(dim=1, stable=True)
    return torch.zeros_like(order).scatter(1, order, torch.arange(values.shape[1], device=values.device).expand_as(order))


def expect_share(share: float) -> None:
    """Refuse a share that is none."""
    validate.expect_between("share", share, 0, 1)
