"""Faster ways to run the same network, and the check that they answer alike."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch

from salience.engine import maps
from salience.errors import UnknownName
from salience.types import Images, Probabilities

# A faster lane must be this near to exact: the mean difference of the five likeliest classes' probabilities over the
# check images, and the rank agreement of the same numbers. Maps then agree at 0.99 and above (docs/results/speed.md).
TOLERANCE, AGREEMENT = 0.02, 0.97


def names(device: torch.device) -> tuple[str, ...]:
    """List the lanes of a device, the fastest first; the last is exact."""
    half = "bfloat16" if device.type == "cpu" else "float16"
    return f"channels-last {half}", "channels-last", "exact"


def first(lane: str, device: torch.device) -> str:
    """Return the lane to begin with: the one asked for, or exact until `choose` has looked."""
    if lane not in ("auto", *names(device)):
        raise UnknownName.of("lane", lane, ("auto", *names(device)))
    return "exact" if lane == "auto" else lane


def dtype(lane: str) -> torch.dtype | None:
    """Return the type that a lane computes in where it may; None: the weights' own."""
    return torch.bfloat16 if lane.endswith(" bfloat16") else torch.float16 if lane.endswith(" float16") else None


def choose(score: Callable[[Images, str], Probabilities], images: Images) -> tuple[str, dict[str, Any]]:
    """Return the fastest lane whose scores agree with exact on `images`, and what was found."""
    exact, slow = _timed(score, images, "exact")
    top = exact.mean(0).topk(min(5, exact.shape[1])).indices
    check: dict[str, Any] = {}
    for lane in names(images.device)[:-1]:
        try:
            scores, fast = _timed(score, images, lane)
        except RuntimeError as problem:  # an operator without a kernel of that type
            check = {"lane": lane, "refused": f"it does not run: {problem}"}
            continue
        apart = float((scores - exact)[:, top].abs().mean())
        alike = maps.agreement(scores[:, top], exact[:, top])
        check = {"lane": lane, "mean difference": apart, "rank agreement": alike, "speed-up": slow / fast}
        agrees = apart <= TOLERANCE and alike >= AGREEMENT
        if agrees and fast < slow:
            return lane, check
        check["refused"] = "it is no faster" if agrees else "its scores differ from exact"
    return "exact", check


def _timed(score: Callable[[Images, str], Probabilities], images: Images, lane: str) -> tuple[Probabilities, float]:
    took = []
    for _ in range(2):  # the first call also prepares kernels
        began = time.perf_counter()
        scores = score(images, lane).cpu()
        took.append(time.perf_counter() - began)
    return scores, min(took)
