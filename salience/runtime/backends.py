"""Faster ways to run the same network, and the check that they answer alike."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from importlib.util import find_spec
from statistics import median
from typing import Any

import torch
from torch import nn

from salience.engine import maps
from salience.engine.query import allocator, torch_threads
from salience.engine.query.run import current
from salience.errors import BoxError, UnknownName
from salience.runtime import disk_cache
from salience.runtime.compiled import is_fresh
from salience.types import Images, Probabilities

Score = Callable[[Images, str], Probabilities]

# A faster backend must be this near to exact: the mean difference of the five likeliest classes' probabilities over the
# check images, and the rank agreement of the same numbers. Maps then agree at 0.97 and above (docs/results/speed.md).
TOLERANCE, AGREEMENT = 0.02, 0.97
OPENVINO, TORCH_COMPILE = ("openvino bfloat16", "openvino"), "torch compile"
SLOW, NO_BFLOAT16 = "it is no faster", "this processor has no bfloat16"
PART = 8  # images of a batch on a CPU, where a batch in single precision takes most of the memory
WORTH = 1e-3  # seconds a pass; compiling takes seconds, which a quicker network does not win back
TURNS, SECONDS = 8, 3.0  # of the backends that are compared; whichever comes first ends it
LEAD = 1.05  # times as fast as exact: less is not worth scores that differ
CHANGED = 1.5  # times: a speed-up that fell by this much is compared with all others again
FORM = 2  # of the choices that are remembered; those of another are made anew


def list_backends(device: torch.device) -> tuple[str, ...]:
    """List the backends among which `auto` chooses on a device; the last is exact.

    >>> list_backends(torch.device("cuda"))
    ('torch float16', 'torch channels-last', 'exact')
    """
    compiled = OPENVINO if device.type == "cpu" and find_spec("openvino") else ()
    return *compiled, f"torch {_half(device)}", "torch channels-last", "exact"


def list_all_backends(device: torch.device) -> tuple[str, ...]:
    """List also those of `torch.compile`, which only run on request: making one takes longer than most explanations.

    >>> list_all_backends(torch.device("cuda"))[-2:]
    ('torch compile float16', 'torch compile')
    """
    return *list_backends(device), f"{TORCH_COMPILE} {_half(device)}", TORCH_COMPILE


def has_bfloat16() -> bool:
    """Say whether torch multiplies in bfloat16 on this CPU; where it emulates that, a pass takes many times as long.

    >>> isinstance(has_bfloat16(), bool)
    True
    """
    return bool(torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported())  # noqa: SLF001  # as torch itself asks


def resolve_backend(backend: str, known: Sequence[str]) -> str:
    """Return the first backend: the one requested, or exact until one is chosen.

    >>> resolve_backend("auto", ("torch channels-last", "exact"))
    'exact'
    """
    if backend in OPENVINO and not find_spec("openvino"):
        raise BoxError(f"expected the package openvino for backend {backend!r}, got none: install openvino")
    if backend not in ("auto", *known):
        raise UnknownName.of("backend", backend, ("auto", *known))
    return "exact" if backend == "auto" else backend


def autocast(backend: str, device: torch.device) -> AbstractContextManager[None]:
    """Let torch compute in a backend's type where it may; without one, in the weights' own.

    >>> with autocast("torch bfloat16", torch.device("cpu")):
    ...     print((torch.ones(2, 2) @ torch.ones(2, 2)).dtype)
    torch.bfloat16
    """
    half = torch.bfloat16 if backend.endswith(" bfloat16") else torch.float16 if backend.endswith(" float16") else None
    return nullcontext() if half is None else torch.autocast(device.type, half)


def find_uncompiled(backend: str) -> str:
    """Return the like backend that runs the module itself, whatever its weights are now.

    >>> find_uncompiled("openvino"), find_uncompiled("openvino bfloat16")
    ('torch channels-last', 'torch bfloat16')
    """
    kind = next((each for each in ("openvino", TORCH_COMPILE) if backend.startswith(each)), None)
    return backend if kind is None else f"torch{backend.removeprefix(kind) or ' channels-last'}"


def check_compiled(backend: str, module: nn.Module) -> str:
    """Return the backend, or the like one that runs the module, once weights of what was compiled were written to.

    >>> check_compiled("openvino", nn.Conv2d(3, 8, 3))  # nothing compiled of it is out of date
    'openvino'
    """
    return backend if backend not in OPENVINO or is_fresh(module) else find_uncompiled(backend)


def choose_remembered(
    score: Score, images: Images, about: str, backends: Sequence[str], *, anew: bool = False
) -> tuple[str, dict[str, Any]]:
    """Return a backend and what was found, as `choose` does.

    What was once chosen for such a box on such a machine only has to agree with exact again, and to be about as much faster;
    `anew`: nothing that is remembered counts.

    >>> choose_remembered(lambda images, backend: images.mean((2, 3)), torch.rand(4, 3, 8, 8), "example", ["exact"])[0]
    'exact'
    """
    name = f"{about}.{FORM}.json"
    kept = None if anew else disk_cache.read_value(name, partial(_read_choice, backends))
    if kept is not None:
        backend, check = kept
        if backend == "exact":
            return backend, check
        again = choose(score, images, [backend], worth=0)[1]
        if "refused" not in again and CHANGED * again["speed-up"] >= check["speed-up"]:
            return backend, again | {"tried": check["tried"]}
    backend, check = choose(score, images, backends)
    disk_cache.write(name, json.dumps([backend, check]).encode())
    return backend, check


def _read_choice(backends: Sequence[str], value: Any) -> tuple[str, dict[str, Any]]:
    """Read what was chosen; ValueError for a backend that is not there, or figures that cannot be."""
    backend, check = value
    numbers = [check["passes a second"], *([] if backend == "exact" else [check["speed-up"]])]
    known = backend in ("exact", *backends) and isinstance(check["tried"], dict)
    if not known or not all(isinstance(each, float) and 0 < each < math.inf for each in numbers):
        raise ValueError(f"expected a choice of backend, got {value}")
    return backend, check


def choose(
    score: Score, images: Images, backends: Sequence[str] | None = None, *, worth: float = WORTH
) -> tuple[str, dict[str, Any]]:
    """Return the fastest backend whose scores agree with exact on `images`, and what was found.

    All that could win on this processor are compared, those that run the module first. A network whose passes take less than
    `worth` seconds is not compiled.

    >>> score = lambda images, backend: images.mean((2, 3)) * (backend == "exact")
    >>> backend, check = choose(score, torch.rand(4, 3, 8, 8), ["torch channels-last"])
    >>> backend, check["refused"]
    ('exact', 'its scores differ from exact')
    """
    race, checks = _Race(score, images), dict[str, dict[str, Any]]()
    exact = race.take_turn("exact")
    names = list_backends(images.device) if backends is None else backends
    for backend in sorted((each for each in names if each != "exact"), key=OPENVINO.__contains__):
        if backend in OPENVINO and race.find_least() < worth:
            break
        checks[backend] = _check(race, backend, exact)
    chosen = race.run([each for each, check in checks.items() if "refused" not in check])
    for backend, check in checks.items():
        if backend in race.seconds:
            check["speed-up"] = race.compare("exact", backend)
        if chosen == "exact" or check.get("speed-up", 0) < 1:
            check.setdefault("refused", SLOW)
    tried = {each: check.get("refused") or check["speed-up"] for each, check in checks.items()}
    check = checks.get(chosen) or next(reversed(checks.values()), {})
    allocator.release_memory()  # or the peak would be that of all backends together
    return chosen, check | {"tried": tried, "passes a second": 1 / median(race.seconds[chosen])}


def _half(device: torch.device) -> str:
    return "bfloat16" if device.type == "cpu" else "float16"


def _check(race: _Race, backend: str, exact: Probabilities) -> dict[str, Any]:
    """Run a backend and compare its scores with those of exact; `refused` says why not to take it."""
    if backend == "torch bfloat16" and exact.device.type == "cpu" and not has_bfloat16():
        return {"backend": backend, "refused": NO_BFLOAT16}
    try:
        scores = race.take_turn(backend)
    except (torch.OutOfMemoryError, MemoryError):
        raise
    except Exception as problem:  # noqa: BLE001  # whatever a library raises: an operator without a kernel of that type, say
        return {"backend": backend, "refused": f"it does not run: {problem}"}
    top = exact.mean(0).topk(min(5, exact.shape[1])).indices
    difference = float((scores - exact)[:, top].abs().mean())
    agreement = maps.rank_agreement(scores[:, top], exact[:, top])
    check = {"backend": backend, "mean difference": difference, "rank agreement": agreement}
    agrees = difference <= TOLERANCE and agreement >= AGREEMENT
    return check if agrees else check | {"refused": "its scores differ from exact"}


class _Race:
    """Backends that take turns on the same images until it is clear which one is the fastest."""

    def __init__(self, score: Score, images: Images) -> None:
        run = current.get()
        most = (run.batch if run else None) or (PART if images.device.type == "cpu" else len(images))
        parts = images.split(min(most, PART) if images.device.type == "cpu" else most)
        self.score, self.count = score, len(images)
        self.parts = parts if len(parts) > 1 else parts * 2
        self.seconds: dict[str, list[float]] = {}  # a pass, turn by turn

    def take_turn(self, backend: str) -> Probabilities:
        """Score the images and note the time of the quickest part: the first also prepares kernels, and finds cores busy."""
        rows, took = [], []
        torch_threads.restore()  # a network of another library may have limited them
        for part in self.parts:
            began = time.perf_counter()
            rows.append(self.score(part, backend).cpu())
            took.append((time.perf_counter() - began) / len(part))
        self.seconds.setdefault(backend, []).append(min(took))
        return torch.cat(rows)[: self.count]

    def find_least(self) -> float:
        """Return the seconds of a pass in the fastest backend so far."""
        return min(map(min, self.seconds.values()))

    def compare(self, backend: str, other: str) -> float:
        """Return how many times as long a backend takes as another, in the median of the turns that both took."""
        return median(self._ratios(backend, other))

    def run(self, backends: Sequence[str]) -> str:
        """Let these and exact take turns until all but one are clearly slower, or TURNS or SECONDS are spent."""
        began, racing = time.perf_counter(), [*backends, "exact"]
        for turn in range(1, TURNS + 1):
            fastest = min(racing, key=lambda each: median(self.seconds[each]))
            # Slower in all turns so far: by 3 × in one, 1.5 × in two, 1.2 × in three.
            clear = 1 + 2 / turn**2
            racing = [each for each in racing if each == fastest or min(self._ratios(each, fastest)) < clear]
            if len(racing) == 1 or turn == TURNS or time.perf_counter() - began >= SECONDS:
                break
            for each in racing:
                self.take_turn(each)
        torch_threads.restore()
        return "exact" if self.compare("exact", fastest) < LEAD else fastest

    def _ratios(self, backend: str, other: str) -> list[float]:
        return [one / two for one, two in zip(self.seconds[backend], self.seconds[other], strict=False)]
