"""Find the layers of any classifier that are worth reading: the end of each block.

A convolutional network is a chain of blocks with a reduction of resolution between them. Inside a block a skip
connection may carry a signal past any layer; all that follows depends on the input of a reduction. So the layers
are the inputs of the reductions, and the last feature maps before the places are pooled (Sattarzadeh et al. 2021,
section 3). One pass with hooks shows which module reduces; a tensor is named by the module whose output it is.

A plain vision transformer never reduces. There the layers are the inputs of the attention of four blocks at equal
depths: the last block's own output would give patch tokens no gradient in a network that classifies by its class token.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from salience.engine.inside.hooks import INPUT, as_feature_maps, first_tensor
from salience.errors import BoxError
from salience.types import LayerInfo

REDUCTION = 1.5  # sides that differ by less are of one resolution: an unpadded convolution reduces nothing
NOT_MODULES = (
    "expected a network made of modules to look into, got one that was exported or scripted: "
    "load the module itself, or choose a method that needs only scores or the image's gradient"
)
WEIGHTED = (nn.Conv2d, nn.Linear)
PASSING = (nn.Identity, nn.Dropout)


@dataclass(eq=False)
class _Call:
    """One call of a module during the pass."""

    name: str
    module: nn.Module
    input: Tensor | None = None
    output: Tensor | None = None
    side: tuple[int, int] = (1, 1)  # of input and output; 1 without places
    before: int = 0  # layers with weights that had run when this one started, and when it ended
    after: int = 0
    inner: list[_Call] = field(default_factory=list)


def find_layers(module: nn.Module, run: Callable[[], object], size: tuple[int, int]) -> LayerInfo:
    """Find the layers by running once; `run` must push one image through `module`.

    >>> module = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3, padding=1))
    >>> find_layers(module, lambda: module(torch.ones(1, 3, 16, 16)), (16, 16))
    LayerInfo(blocks=('0', '2'), top='2', note='')
    """
    if isinstance(module, torch.jit.ScriptModule):
        raise BoxError(NOT_MODULES)
    root, calls = _trace(module, run, size)
    spatial = [call for call in calls if call.side[1] > 1 and not isinstance(call.module, PASSING)]
    if not spatial and isinstance(module, torch.fx.GraphModule):
        raise BoxError(NOT_MODULES)
    if not spatial:
        raise BoxError("expected layers with feature maps in the box, got none: take a convolutional network or a ViT")
    last = spatial[-1]
    names = {id(call.output): call.name for call in spatial}  # of modules with the same output, the last
    ends: list[tuple[str, int]] = []
    weights = 0
    for name, side, count in [*_find_reductions(root, names), (names[id(last.output)], last.side[1], last.after)]:
        if count == weights:
            continue  # nothing with weights since the last one: the image itself, or what a pooling left
        weights = count
        if ends and ends[-1][1] < REDUCTION * side:
            ends.pop()  # one resolution, one layer: the last
        ends.append((name, side))
    top = names[id(last.output)]
    if last.output is not None and last.output.ndim == 3 and len(ends) < 3:
        return _choose_token_layers(spatial, last, top)
    large = [name for name, side in ends if side >= 4]
    return LayerInfo(tuple(large if len(large) > 1 else [name for name, _ in ends] or [top]), top)


def _trace(module: nn.Module, run: Callable[[], object], size: tuple[int, int]) -> tuple[_Call, list[_Call]]:
    """Run once and record every call: the tree of calls, and the calls in the order in which they ended."""
    open_calls: list[_Call] = [_Call("", module)]
    ended: list[_Call] = []
    weights = 0

    def start_call(name: str) -> Callable[..., None]:
        def hook(inner: nn.Module, inputs: tuple[object, ...], named: dict[str, object]) -> None:
            value = first_tensor([each for each in (*inputs, *named.values()) if isinstance(each, torch.Tensor)])
            call = _Call(name, inner, input=value, before=weights)
            open_calls[-1].inner.append(call)
            open_calls.append(call)

        return hook

    def end_call(_inner: nn.Module, _inputs: object, output: object) -> None:
        nonlocal weights
        call = open_calls.pop()
        call.output = first_tensor(output)
        call.side = (_find_side(call.input, size), _find_side(call.output, size))
        weights += _has_weights(call.module) and call.side[1] > 1
        call.after = weights
        ended.append(call)

    handles = []
    for name, inner in module.named_modules():
        handles.append(inner.register_forward_pre_hook(start_call(name), with_kwargs=True))
        handles.append(inner.register_forward_hook(end_call))
    try:
        run()
    finally:
        for handle in handles:
            handle.remove()
    return open_calls[0].inner[0], ended[:-1]


def _has_weights(module: nn.Module) -> bool:
    return isinstance(module, WEIGHTED) or getattr(module, "kernel", None) is not None  # the latter are Keras's


def _find_side(value: Tensor | None, size: tuple[int, int]) -> int:
    features = None if value is None else as_feature_maps(value, size)
    return 1 if features is None else min(features.shape[-2:])


def _find_reductions(call: _Call, names: dict[int, str]) -> Iterator[tuple[str, int, int]]:
    """Yield the input of each reduction: its name, its side, and how many layers with weights came before."""
    if call.side[0] < REDUCTION * call.side[1]:
        return  # a block: a skip connection may bypass what is inside
    chain = isinstance(call.module, nn.Sequential) or not call.name or call.side[0] >= 3 * call.side[1]
    reductions: list[tuple[str, int, int]] = []
    if call.inner and chain:
        before: _Call | None = None
        for each in call.inner:
            if before is not None and before.side[1] >= REDUCTION * each.side[0] > REDUCTION:
                # reduced by a function between the two
                reductions.append((names[id(before.output)], before.side[1], before.after))
            reductions += _find_reductions(each, names)
            before = each if each.side[1] > 1 else before
    if not reductions or reductions[0][2] == call.before:  # only a normalisation lies between
        reductions[:1] = [(names.get(id(call.input), call.name + INPUT), call.side[0], call.before)]
    yield from reductions


def _choose_token_layers(spatial: list[_Call], last: _Call, top: str) -> LayerInfo:
    """Name the input of the attention of four blocks at equal depths."""
    groups: dict[tuple[str, type], list[_Call]] = defaultdict(list)
    for call in spatial:
        if call.output is not None and call.output.ndim == 3 and call.side == (last.side[1],) * 2 and call.inner:
            groups[call.name.rpartition(".")[0], type(call.module)].append(call)
    blocks = max(groups.values(), key=len, default=[])
    if len(blocks) < 2:
        return LayerInfo((top,), top)
    chosen = [blocks[math.ceil(len(blocks) * part / 4) - 1] for part in (1, 2, 3, 4)]
    note = (
        f"the box is a transformer without reductions: its layers are what goes into the attention of blocks "
        f"{', '.join(call.name for call in dict.fromkeys(chosen))}, for after the last one patch tokens may get no gradient"
    )
    return LayerInfo(tuple(dict.fromkeys(map(_find_entry, chosen))), top, note)


def _find_entry(block: _Call) -> str:
    first = block.inner[0]
    while first.inner:
        first = first.inner[0]
    normalised = "norm" in type(first.module).__name__.lower() and first.input is block.input
    return first.name if normalised else block.name + INPUT
