"""Networks with random weights. Adebayo et al., Sanity Checks for Saliency Maps, NeurIPS 2018."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy

import torch
from torch import Tensor, nn

from salience.engine import seeding
from salience.engine.inside.layers import NOT_MODULES
from salience.errors import BoxError, UnknownName

COUNTED = ("running_mean", "running_var")  # buffers that training filled
ADDED = ("bias", "mean", "beta")  # how the names of vectors end that are added


def list_weighted(module: nn.Module, run: Callable[[], object]) -> tuple[str, ...]:
    """Name the modules that hold weights, in the order in which a pass enters them; `run` must make one.

    A module that is never entered, as its weights are read by the one around it, follows that one.
    """
    if isinstance(module, torch.jit.ScriptModule):
        raise BoxError(NOT_MODULES)
    named = list(module.named_modules())
    entered: dict[str, int] = {}

    def make_hook(name: str) -> Callable[..., None]:
        def hook(*_: object) -> None:
            entered.setdefault(name, len(entered))

        return hook

    handles = [inner.register_forward_pre_hook(make_hook(name)) for name, inner in named]
    try:
        run()
    finally:
        for handle in handles:
            handle.remove()
    for name, _ in named:
        entered.setdefault(name, entered.get(name.rpartition(".")[0], -1))
    return tuple(sorted((name for name, inner in named if any(_weights(inner))), key=lambda name: entered[name]))


def reinitialise(module: nn.Module, names: Sequence[str], seed: int) -> nn.Module:
    """Copy a module with new random weights in the named modules.

    Matrices and kernels are normal with variance 2 / fan-in (He et al. 2015), so that a signal neither fades nor grows
    on its way, and the answer still depends on the image; what PyTorch starts a training with, a sixth of
    that, relies on training to make up for it. What is added per channel becomes 0 and what multiplies becomes 1.
    """
    try:
        made = deepcopy(module)
    except Exception as problem:
        raise BoxError(f"expected a network that can be copied, got {type(problem).__name__}: {problem}") from problem
    inside = dict(made.named_modules())
    for name in names:
        if name not in inside:
            raise UnknownName.of("module", name, inside)
        source = seeding.generator(seed, "redrawn", name)
        with torch.no_grad():
            for key, each in _weights(inside[name]):
                if each.ndim > 1:
                    deviation = (2 / each[0].numel()) ** 0.5
                    each.copy_(deviation * torch.randn(each.shape, generator=source))
                else:
                    each.fill_(0.0 if key.endswith(ADDED) else 1.0)
    return made


def _weights(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield what one module itself has learnt, with its name there."""
    yield from ((name, each) for name, each in module.named_parameters(recurse=False) if each.is_floating_point())
    yield from ((name, each) for name, each in module.named_buffers(recurse=False) if name in COUNTED)
