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

from salience.engine import maps
from salience.engine.query import allocator
from salience.errors import BoxError, UnknownName
from salience.runtime import disk_cache
from salience.runtime.compiled import is_fresh
from salience.types import Images, Probabilities

Score = Callable[[Images, str], Probabilities]

# A faster backend must be this near to exact: the mean difference of the five likeliest classes' probabilities over the
# check images, and the rank agreement of the same numbers. Maps then agree at 0.97 and above (docs/results/speed.md).
TOLERANCE, AGREEMENT = 0.02, 0.97
OPENVINO, TORCH = ("openvino bfloat16", "openvino"), "torch.compile"
SLOW = "it is no faster"
PART = 8  # images of a batch on a CPU, where a batch in single precision takes most of the memory
WORTH = 1e-3  # seconds a pass; compiling takes seconds, which a quicker network does not win back


def list_backends(device: torch.device) -> tuple[str, ...]:
    """List the backends of a device, the fastest first; the last is exact."""
    half = "bfloat16" if device.type == "cpu" else "float16"
    compiled = OPENVINO if device.type == "cpu" and find_spec("openvino") else ()
    return *compiled, f"channels-last {half}", "channels-last", "exact"


def list_all_backends(device: torch.device) -> tuple[str, ...]:
    """List also those of `torch.compile`, for who asks for them: making one takes longer than most explanations."""
    half = "bfloat16" if device.type == "cpu" else "float16"
    return *list_backends(device), f"{TORCH} {half}", TORCH


def initial_backend(backend: str, known: Sequence[str]) -> str:
    """Return the backend to begin with: the one asked for, or exact until `choose` has looked."""
    if backend in OPENVINO and not find_spec("openvino"):
        raise BoxError(f"expected the package openvino for backend {backend!r}, got none: install salience[openvino]")
    if backend not in ("auto", *known):
        raise UnknownName.of("backend", backend, ("auto", *known))
    return "exact" if backend == "auto" else backend


def autocast(backend: str, device: torch.device) -> AbstractContextManager[None]:
    """Let torch compute in a backend's type where it may; without one, in the weights' own."""
    half = torch.bfloat16 if backend.endswith(" bfloat16") else torch.float16 if backend.endswith(" float16") else None
    return nullcontext() if half is None else torch.autocast(device.type, half)


def find_uncompiled(backend: str) -> str:
    """Return the like backend that runs the module itself, whatever its weights are now."""
    return backend.replace("openvino", "channels-last").replace(TORCH, "channels-last")


def check_compiled(backend: str, module: nn.Module) -> str:
    """Return the backend, or the like one that runs the module, once weights of what was compiled were written to."""
    return backend if backend not in OPENVINO or is_fresh(module) else find_uncompiled(backend)


def choose_remembered(score: Score, images: Images, about: str, backends: Sequence[str]) -> tuple[str, dict[str, Any]]:
    """Return a backend and what was found, as `choose` does; what it once chose for such a box has only to agree again."""
    name = f"{about}.json"
    kept = disk_cache.read(name)
    if kept is not None:
        backend, check = json.loads(kept)
        if backend == "exact":
            return backend, check
        again = choose(score, images, [backend], worth=0)[1]
        if again.get("refused") in (None, SLOW):  # how fast it is was found out when there was more to compare
            return backend, check | {key: again[key] for key in ("mean difference", "rank agreement", "speed-up")}
    backend, check = choose(score, images, backends)
    disk_cache.write(name, json.dumps([backend, check]).encode())
    return backend, check


def choose(
    score: Score, images: Images, backends: Sequence[str] | None = None, *, worth: float = WORTH
) -> tuple[str, dict[str, Any]]:
    """Return the fastest backend whose scores agree with exact on `images`, and what was found.

    Of the backends that run the module, and of those that compile it, the first that agrees and is faster than exact is
    timed; the rest cannot be faster. A network whose passes take less than `worth` seconds is not compiled.
    """
    exact, slow = _time(score, images, "exact")
    backends = [each for each in (list_backends(images.device) if backends is None else backends) if each != "exact"]
    checks: dict[str, dict[str, Any]] = {}
    seconds = {"exact": slow}
    for group in ([each for each in backends if each not in OPENVINO], [each for each in backends if each in OPENVINO]):
        for backend in group:
            if backend in OPENVINO and min(seconds.values()) < worth * len(images):
                break
            checks[backend], took = _check(score, images, backend, exact, slow)
            if "refused" not in checks[backend]:
                seconds[backend] = took
                break
    backend = min(seconds, key=lambda each: seconds[each])
    told = {each: check.get("refused") or check["speed-up"] for each, check in checks.items()}
    check = checks.get(backend) or next(reversed(checks.values()), {})
    return backend, check | {"tried": told}


def _check(score: Score, images: Images, backend: str, exact: Probabilities, slow: float) -> tuple[dict[str, Any], float]:
    """Run a backend and compare it with exact; `refused` says why not to take it."""
    try:
        scores, fast = _time(score, images, backend)
    except RuntimeError as problem:  # an operator without a kernel of that type
        return {"backend": backend, "refused": f"it does not run: {problem}"}, slow
    top = exact.mean(0).topk(min(5, exact.shape[1])).indices
    apart = float((scores - exact)[:, top].abs().mean())
    alike = maps.rank_agreement(scores[:, top], exact[:, top])
    check = {"backend": backend, "mean difference": apart, "rank agreement": alike, "speed-up": slow / fast}
    agrees = apart <= TOLERANCE and alike >= AGREEMENT
    if not agrees or fast >= slow:
        check["refused"] = SLOW if agrees else "its scores differ from exact"
    return check, fast


def _time(score: Score, images: Images, backend: str) -> tuple[Probabilities, float]:
    took = []
    parts = images.split(PART) if images.device.type == "cpu" else [images]
    for _ in range(2):  # the first call also prepares kernels
        began = time.perf_counter()
        scores = torch.cat([score(part, backend).cpu() for part in parts])
        took.append(time.perf_counter() - began)
    allocator.release_memory()  # or the peak would be that of all backends together
    return scores, min(took)
