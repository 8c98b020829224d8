"""Run a network once and write down every call of a module: what went in, what came out, and what each tensor is called.

A tensor has several names: an outer module passes on what an inner one put out. `Trace.list_names` gives them from the
outside inwards, and then those of the modules that it goes into.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor, nn

from salience.engine.inside.hooks import INPUT, as_feature_maps, first_tensor

Key = tuple[int, int]  # of a tensor at a time: its id, and how often it was written in place
WEIGHTED = (nn.Conv2d, nn.Linear)
PASSING = (nn.Identity, nn.Dropout)


@dataclass(eq=False)
class Call:
    """One call of a module during the pass.

    >>> Call("layer1", nn.Identity()).side
    (1, 1)
    """

    name: str
    module: nn.Module
    input: Tensor | None = None
    output: Tensor | None = None
    input_key: Key = (0, 0)
    output_key: Key = (0, 0)
    side: tuple[int, int] = (1, 1)  # of input and output; 1 without places
    before: int = 0  # layers with weights that had run when this one started, and when it ended
    after: int = 0
    lost: bool = False  # a block of one resolution whose output has no influence at its places
    inner: list[Call] = field(default_factory=list)


@dataclass(eq=False)
class Trace:
    """The calls of one pass: as a tree, and in the order in which they ended.

    >>> module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU())
    >>> trace = trace_calls(module, lambda: module(torch.ones(1, 3, 8, 8)), (8, 8))
    >>> [call.name for call in trace.calls]
    ['0', '1']
    """

    root: Call
    calls: list[Call]

    @cached_property
    def counts(self) -> Counter[str]:
        """How often each module was called."""
        return Counter(call.name for call in self.calls)

    @cached_property
    def keys(self) -> dict[str, Key]:
        """Which tensor a name stands for; of a module that was called twice, the last."""
        outputs = {call.name: call.output_key for call in self.calls}
        return outputs | {call.name + INPUT: call.input_key for call in self.calls}

    @cached_property
    def tensors(self) -> dict[str, Tensor | None]:
        """What was read at each name."""
        outputs = {call.name: call.output for call in self.calls}
        return outputs | {call.name + INPUT: call.input for call in self.calls}

    @cached_property
    def outputs(self) -> dict[Key, list[str]]:
        """The modules that put a tensor out, the outermost first; without those called twice, for a name is one tensor."""
        names: dict[Key, list[str]] = defaultdict(list)
        for call in reversed(self.calls):
            if call.output is not None and self.counts[call.name] == 1 and not isinstance(call.module, PASSING):
                names[call.output_key].append(call.name)
        return names

    @cached_property
    def inputs(self) -> dict[Key, list[str]]:
        """The modules that a tensor goes into, the outermost and the first of them first."""
        names: dict[Key, list[str]] = defaultdict(list)
        for call in iterate_calls(self.root):
            if call.input is not None and call.name and self.counts[call.name] == 1:
                names[call.input_key].append(call.name + INPUT)
        return names

    def list_names(self, name: str) -> list[str]:
        """List what else the tensor of that name is called; the name itself comes first."""
        key = self.keys.get(name, (0, 0))
        return list(dict.fromkeys([name, *self.outputs.get(key, []), *self.inputs.get(key, [])]))


def trace_calls(module: nn.Module, run: Callable[[], object], size: tuple[int, int]) -> Trace:
    """Run once and record every call; `run` must push one image through `module`.

    >>> module = nn.Sequential(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()), nn.Flatten())
    >>> trace = trace_calls(module, lambda: module(torch.ones(1, 3, 8, 8)), (8, 8))
    >>> trace.list_names("0")
    ['0', '0.1', '1:in']
    """
    open_calls: list[Call] = [Call("", module)]
    ended: list[Call] = []
    weights = 0

    def start_call(name: str) -> Callable[..., None]:
        def hook(inner: nn.Module, inputs: tuple[object, ...], named: dict[str, object]) -> None:
            value = first_tensor([each for each in (*inputs, *named.values()) if isinstance(each, torch.Tensor)])
            call = Call(name, inner, input=value, input_key=_make_key(value), before=weights)
            open_calls[-1].inner.append(call)
            open_calls.append(call)

        return hook

    def end_call(_inner: nn.Module, _inputs: object, output: object) -> None:
        nonlocal weights
        call = open_calls.pop()
        call.output = first_tensor(output)
        call.output_key = _make_key(call.output)
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
    return Trace(open_calls[0].inner[0], ended[:-1])


def iterate_calls(call: Call) -> Iterator[Call]:
    """Yield a call and all inside it, in the order in which they started.

    >>> [each.name for each in iterate_calls(Call("all", nn.Identity(), inner=[Call("first", nn.Identity())]))]
    ['all', 'first']
    """
    yield call
    for each in call.inner:
        yield from iterate_calls(each)


def count_writes(value: Tensor) -> int:
    """Count how often a tensor was written in place: the only sign of it; 0 for one of inference mode, which keeps no count.

    >>> count_writes(torch.zeros(2).add_(1))
    1
    """
    return 0 if value.is_inference() else value._version  # noqa: SLF001  # torch has no other name for it


def _make_key(value: Tensor | None) -> Key:
    return (0, 0) if value is None else (id(value), count_writes(value))  # a ReLU in place makes another tensor of it


def _has_weights(module: nn.Module) -> bool:
    return isinstance(module, WEIGHTED) or getattr(module, "kernel", None) is not None  # the latter are Keras's


def _find_side(value: Tensor | None, size: tuple[int, int]) -> int:
    """Return the shorter side of feature maps; 1 for what has no places, or not one row, as there is one picture."""
    if value is None or len(value.shape) < 3 or len(value) != 1:
        return 1
    features = as_feature_maps(value, size)
    return 1 if features is None else min(features.shape[-2:])
