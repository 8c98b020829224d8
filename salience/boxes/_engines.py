"""A box's module compiled by OpenVINO: kept as long as the module lives, and no longer used once its weights change."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from contextlib import suppress
from itertools import chain
from typing import Any
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float
from torch import Tensor, nn

from salience.boxes import _cache
from salience.boxes._blending import Scaling, planes, scaled
from salience.boxes._module import opened, unwrapped
from salience.boxes._openvino import Compiled, converted, has_bfloat16, rows
from salience.engine.modes import quiet
from salience.types import Images

FORM = 4  # of the networks that are kept; those of another are made anew

_made: WeakKeyDictionary[nn.Module, tuple[list[int], dict[Any, Compiled]]] = WeakKeyDictionary()


class Whole(nn.Module):
    """All that a torch box does between normalised images and its logits, as one module that can be traced."""

    def __init__(self, box: Any) -> None:
        super().__init__()
        self.inner, self.taken = box.module, box.taken

    def forward(self, normal: Images) -> Tensor:
        """Run."""
        return unwrapped(self.inner(self.taken(normal)))


def begin(box: Any, lane: str, images: Float[Tensor, "n _ h w"], scaling: Scaling) -> Callable[[], Tensor]:
    """Begin to compute what a torch box's module puts out for `images · scale + shift`, compiled at the first call."""
    if box.module not in _made:
        _made[box.module] = state(box.module), {}
    networks = _made[box.module][1]
    about = lane, box.preparation, box.channels
    scale, shift = scaling
    if about not in networks:
        normal = (images[:1] * scale + shift)[:1].expand(2, -1, -1, -1)
        networks[about] = _compiled(box, normal, "bf16" if lane.endswith(" bfloat16") else "f32")
    waited = networks[about].begin(rows(images), beside=planes(scaling))
    return lambda: torch.from_numpy(waited()[0])


def fresh(module: nn.Module) -> bool:
    """Say whether what was compiled of a module still is the module; if not, it is dropped."""
    known = _made.get(module)
    if known is None or known[0] == state(module):
        return True
    del _made[module]
    return False


def about(box: Any) -> str:
    """Make a name of a torch box and the machine; what was compiled of the box and is so no more is dropped."""
    fresh(box.module)
    return _cache.key(box.fingerprint, _cache.written(box.module), _cache.machine(box.device))


def state(module: nn.Module) -> list[int]:
    """Note where the weights lie, how often each was written to, its first number, and how many hooks there are.

    The number is for what writes through `.data`, which torch does not count.
    """
    found: list[int] = []
    for inner in module.modules():
        own = inner.__dict__  # quicker than attributes: this is asked for at every batch
        found += (len(own["_forward_hooks"]), len(own["_forward_pre_hooks"]))
        for each in chain(own["_parameters"].values(), own["_buffers"].values()):
            if each is not None:
                found += (each.data_ptr(), each._version)  # noqa: SLF001  # the only sign of a write in place
                if each.is_cpu and each.nbytes >= 4:
                    found.append(ctypes.c_int32.from_address(found[-2]).value)
    return found


def _compiled(box: Any, normal: Images, precision: str) -> Compiled:
    if precision == "bf16" and not has_bfloat16():
        raise RuntimeError("this processor has no bfloat16")
    code = _cache.written(box.module)
    about = box.fingerprint, code, box.size, precision, FORM, _cache.machine(box.device)
    name = f"{_cache.key(*about)}.openvino"
    kept = None if code is None else _cache.read(name)
    if kept is not None:
        with suppress(RuntimeError):  # a file that was damaged is made anew
            return Compiled(kept, precision)
    try:
        with quiet(box.module), opened(box.module):
            made = Compiled(scaled(converted(Whole(box), normal)), precision)
    except Exception as problem:
        raise RuntimeError(f"OpenVINO does not take it: {' '.join(str(problem).split())[:200]}") from problem
    if code is not None:
        _cache.keep(name, made.blob())
    return made
