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

from salience.engine.inside.trace import count_writes
from salience.engine.training.modes import evaluating
from salience.runtime import disk_cache
from salience.runtime.blending import Scaling, to_planes, with_scaling
from salience.runtime.module import run_eagerly
from salience.runtime.openvino import Compiled, convert, has_bfloat16, to_rows
from salience.runtime.outputs import read_output
from salience.types import Images

FORM = 4  # of the networks that are kept; those of another are made anew

_compiled_of: WeakKeyDictionary[nn.Module, tuple[list[int], dict[Any, Compiled]]] = WeakKeyDictionary()


class Whole(nn.Module):
    """All that a torch box does between normalised images and its logits, as one module that can be traced.

    >>> from salience.boxes import toy
    >>> Whole(toy.load("colour"))(torch.rand(1, 3, 32, 32)).shape
    torch.Size([1, 3])
    """

    def __init__(self, box: Any) -> None:
        super().__init__()
        self.inner, self.to_input, self.output = box.module, box.to_input, box.output

    def forward(self, normal: Images) -> Tensor:
        """Run."""
        return read_output(self.inner(self.to_input(normal)), self.output)


def submit(box: Any, backend: str, images: Float[Tensor, "n _ h w"], scaling: Scaling) -> Callable[[], Tensor]:
    """Submit a batch: compute what a torch box's module puts out for `images · scale + shift`, compiled at the first call.

    >>> from salience.boxes import toy
    >>> box, image = toy.load("colour"), toy.picture()[None]
    >>> logits = submit(box, "openvino", image, box.preparation.scaling)()
    >>> torch.allclose(logits, box.logits(image), atol=1e-4)
    True
    """
    if box.module not in _compiled_of:
        _compiled_of[box.module] = snapshot(box.module), {}
    networks = _compiled_of[box.module][1]
    about = backend, box.preparation, box.channels, box.output
    scale, shift = scaling
    if about not in networks:
        normal = (images[:1] * scale + shift)[:1].expand(2, -1, -1, -1)
        networks[about] = _compile(box, normal, "bf16" if backend.endswith(" bfloat16") else "f32")
    pending = networks[about].submit(to_rows(images), beside=to_planes(scaling))
    return lambda: torch.from_numpy(pending()[0])


def is_fresh(module: nn.Module) -> bool:
    """Say whether what was compiled of a module still is the module; if not, it is dropped.

    >>> is_fresh(nn.Conv2d(3, 8, 3))  # nothing was compiled of it
    True
    """
    known = _compiled_of.get(module)
    if known is None or known[0] == snapshot(module):
        return True
    del _compiled_of[module]
    return False


def identify(box: Any) -> str:
    """Make a name of a torch box and the machine; what was compiled of the box and is so no more is dropped.

    >>> from salience.boxes import toy
    >>> identify(toy.load("colour")) == identify(toy.load("colour"))
    True
    """
    is_fresh(box.module)
    return disk_cache.make_key(box.fingerprint, disk_cache.hash_code(box.module), disk_cache.describe_machine(box.device))


def snapshot(module: nn.Module) -> list[int]:
    """Record where the weights are stored, how often each was written to, its first number, and how many hooks there are.

    The number is for what writes through `.data`, which torch does not count.

    >>> module = nn.Conv2d(3, 8, 3)
    >>> before = snapshot(module)
    >>> module.bias.data += 1
    >>> snapshot(module) == before
    False
    """
    found: list[int] = []
    for inner in module.modules():
        own = inner.__dict__  # quicker than attributes: this runs before every batch
        found += (len(own["_forward_hooks"]), len(own["_forward_pre_hooks"]))
        for each in chain(own["_parameters"].values(), own["_buffers"].values()):
            if each is not None:
                found += (each.data_ptr(), count_writes(each))
                if each.is_cpu and each.nbytes >= 4:
                    found.append(ctypes.c_int32.from_address(found[-2]).value)
    return found


def _compile(box: Any, normal: Images, precision: str) -> Compiled:
    if precision == "bf16" and not has_bfloat16():
        raise RuntimeError("this processor has no bfloat16")
    code = disk_cache.hash_code(box.module)
    about = box.fingerprint, code, box.size, precision, FORM, disk_cache.describe_machine(box.device)
    name = f"{disk_cache.make_key(*about)}.openvino"
    kept = None if code is None else disk_cache.read(name)
    if kept is not None:
        with suppress(RuntimeError):  # a file that was damaged is made anew
            return Compiled(kept, precision)
    try:
        with evaluating(box.module), run_eagerly(box.module):
            made = Compiled(with_scaling(convert(Whole(box), normal)), precision)
    except Exception as problem:
        raise RuntimeError(f"OpenVINO does not take it: {' '.join(str(problem).split())[:200]}") from problem
    if code is not None:
        disk_cache.write(name, made.export())
    return made
