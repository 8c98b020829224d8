"""Faster ways to run the same network, and the check that they answer alike."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from importlib.util import find_spec
from typing import Any

import torch
from torch import nn

from salience.boxes import _cache, _engines
from salience.engine import maps, memory
from salience.errors import BoxError, UnknownName
from salience.types import Images, Probabilities

Score = Callable[[Images, str], Probabilities]

# A faster lane must be this near to exact: the mean difference of the five likeliest classes' probabilities over the
# check images, and the rank agreement of the same numbers. Maps then agree at 0.97 and above (docs/results/speed.md).
TOLERANCE, AGREEMENT = 0.02, 0.97
OPENVINO, TORCH = ("openvino bfloat16", "openvino"), "torch.compile"
SLOW = "it is no faster"
PART = 8  # images of a batch on a CPU, where a batch in single precision takes most of the memory
WORTH = 1e-3  # seconds a pass; compiling takes seconds, which a quicker network does not win back


def names(device: torch.device) -> tuple[str, ...]:
    """List the lanes of a device, the fastest first; the last is exact."""
    half = "bfloat16" if device.type == "cpu" else "float16"
    compiled = OPENVINO if device.type == "cpu" and find_spec("openvino") else ()
    return *compiled, f"channels-last {half}", "channels-last", "exact"


def known(device: torch.device) -> tuple[str, ...]:
    """List also those of `torch.compile`, for who asks for them: making one takes longer than most explanations."""
    half = "bfloat16" if device.type == "cpu" else "float16"
    return *names(device), f"{TORCH} {half}", TORCH


def first(lane: str, known: Sequence[str]) -> str:
    """Return the lane to begin with: the one asked for, or exact until `choose` has looked."""
    if lane in OPENVINO and not find_spec("openvino"):
        raise BoxError(f"expected the package openvino for lane {lane!r}, got none: install salience[openvino]")
    if lane not in ("auto", *known):
        raise UnknownName.of("lane", lane, ("auto", *known))
    return "exact" if lane == "auto" else lane


def autocast(lane: str, device: torch.device) -> AbstractContextManager[None]:
    """Let torch compute in a lane's type where it may; without one, in the weights' own."""
    half = torch.bfloat16 if lane.endswith(" bfloat16") else torch.float16 if lane.endswith(" float16") else None
    return nullcontext() if half is None else torch.autocast(device.type, half)


def uncompiled(lane: str) -> str:
    """Return the like lane that runs the module itself, whatever its weights are now."""
    return lane.replace("openvino", "channels-last").replace(TORCH, "channels-last")


def still(lane: str, module: nn.Module) -> str:
    """Return the lane, or the like one that runs the module, once weights of what was compiled were written to."""
    return lane if lane not in OPENVINO or _engines.fresh(module) else uncompiled(lane)


def settle(score: Score, images: Images, about: str, lanes: Sequence[str]) -> tuple[str, dict[str, Any]]:
    """Return a lane and what was found, as `choose` does; what it once chose for such a box has only to agree again."""
    name = f"{about}.json"
    kept = _cache.read(name)
    if kept is not None:
        lane, check = json.loads(kept)
        if lane == "exact":
            return lane, check
        again = choose(score, images, [lane], worth=0)[1]
        if again.get("refused") in (None, SLOW):  # how fast it is was found out when there was more to compare
            return lane, check | {key: again[key] for key in ("mean difference", "rank agreement", "speed-up")}
    lane, check = choose(score, images, lanes)
    _cache.keep(name, json.dumps([lane, check]).encode())
    return lane, check


def choose(
    score: Score, images: Images, lanes: Sequence[str] | None = None, *, worth: float = WORTH
) -> tuple[str, dict[str, Any]]:
    """Return the fastest lane whose scores agree with exact on `images`, and what was found.

    Of the lanes that run the module, and of those that compile it, the first that agrees and is faster than exact is
    timed; the rest cannot be faster. A network whose passes take less than `worth` seconds is not compiled.
    """
    exact, slow = _timed(score, images, "exact")
    lanes = [each for each in (names(images.device) if lanes is None else lanes) if each != "exact"]
    checks: dict[str, dict[str, Any]] = {}
    seconds = {"exact": slow}
    for group in ([each for each in lanes if each not in OPENVINO], [each for each in lanes if each in OPENVINO]):
        for lane in group:
            if lane in OPENVINO and min(seconds.values()) < worth * len(images):
                break
            checks[lane], took = _checked(score, images, lane, exact, slow)
            if "refused" not in checks[lane]:
                seconds[lane] = took
                break
    lane = min(seconds, key=lambda each: seconds[each])
    told = {each: check.get("refused") or check["speed-up"] for each, check in checks.items()}
    check = checks.get(lane) or next(reversed(checks.values()), {})
    return lane, check | {"tried": told}


def _checked(score: Score, images: Images, lane: str, exact: Probabilities, slow: float) -> tuple[dict[str, Any], float]:
    """Run a lane and compare it with exact; `refused` says why not to take it."""
    try:
        scores, fast = _timed(score, images, lane)
    except RuntimeError as problem:  # an operator without a kernel of that type
        return {"lane": lane, "refused": f"it does not run: {problem}"}, slow
    top = exact.mean(0).topk(min(5, exact.shape[1])).indices
    apart = float((scores - exact)[:, top].abs().mean())
    alike = maps.agreement(scores[:, top], exact[:, top])
    check = {"lane": lane, "mean difference": apart, "rank agreement": alike, "speed-up": slow / fast}
    agrees = apart <= TOLERANCE and alike >= AGREEMENT
    if not agrees or fast >= slow:
        check["refused"] = SLOW if agrees else "its scores differ from exact"
    return check, fast


def _timed(score: Score, images: Images, lane: str) -> tuple[Probabilities, float]:
    took = []
    parts = images.split(PART) if images.device.type == "cpu" else [images]
    for _ in range(2):  # the first call also prepares kernels
        began = time.perf_counter()
        scores = torch.cat([score(part, lane).cpu() for part in parts])
        took.append(time.perf_counter() - began)
    memory.release()  # or the peak would be that of all lanes together
    return scores, min(took)
