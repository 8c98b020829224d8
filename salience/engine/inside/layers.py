"""Find the layers of any classifier that are worth reading: the end of each block.

A convolutional network is a chain of blocks with a reduction of resolution between them. Inside a block a skip
connection may carry a signal past any layer; all that follows depends on the input of a reduction. So the layers
are the inputs of the reductions, and the last feature maps before the places are pooled (Sattarzadeh et al. 2021,
section 3). One pass with hooks shows which module reduces; a tensor is named by the outermost module that puts it out.

A plain vision transformer never reduces. There the layers are the inputs of the attention of four blocks at equal
depths: the last block's own output would give patch tokens no gradient in a network that classifies by its class token.

What was found by its shape is then tested for standing between picture and answer (`influence`). A name that does not
gives way to the next module inwards that puts the same tensor out; a tensor of which no name does, to an earlier one.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace

import torch
from torch import nn

from salience.engine.inside.hooks import INPUT
from salience.engine.inside.influence import Answer, InfluenceTest
from salience.engine.inside.trace import PASSING, Call, Key, Trace, trace_calls
from salience.errors import BoxError
from salience.types import LayerInfo

REDUCTION = 1.5  # sides that differ by less are of one resolution: an unpadded convolution reduces nothing
NOT_MODULES = (
    "expected a network made of modules to look into, got one that was exported or scripted: "
    "load the module itself, or choose a method that needs only scores or the image's gradient"
)


def find_layers(
    module: nn.Module, run: Callable[[], object], size: tuple[int, int], answer: Answer | None = None
) -> LayerInfo:
    """Find the layers by running once; `run` must push one image through `module`.

    `answer` pushes another image and returns its scores; without it, layers are chosen by their shapes alone.

    >>> module = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3, padding=1))
    >>> find_layers(module, lambda: module(torch.ones(1, 3, 16, 16)), (16, 16))
    LayerInfo(blocks=('0', '2'), top='2', note='')
    """
    if isinstance(module, torch.jit.ScriptModule):
        raise BoxError(NOT_MODULES)
    trace = trace_calls(module, run, size)
    names = _name_outputs(trace)
    if not names and isinstance(module, torch.fx.GraphModule):
        raise BoxError(NOT_MODULES)
    if not names:
        raise BoxError("expected layers with feature maps in the box, got none: take a convolutional network or a ViT")
    info = _choose_layers(trace, names)
    return info if answer is None else _test_layers(trace, info, InfluenceTest(module, trace, answer, size))


def _test_layers(trace: Trace, info: LayerInfo, test: InfluenceTest) -> LayerInfo:
    """Keep what stands between picture and answer; where something does not, test every module and choose again."""
    needed = _list_needed(info)
    names = dict(zip(needed, test.choose_names([trace.list_names(name) for name in needed]), strict=True))
    if all(names.values()):
        return _rename(info, names)
    chosen = _choose_again(trace, test) if test.gives_gradients else info
    if chosen is not info:
        names = {name: name if test.stands(name) else None for name in _list_needed(chosen)}
    renamed = _rename(chosen, names)
    return renamed if renamed.blocks else info


def _choose_again(trace: Trace, test: InfluenceTest) -> LayerInfo:
    """Choose among the tensors that have influence; where some of these have none at their places, among the others."""
    info = LayerInfo((), "")
    keys = list(_name_outputs(trace))
    for anywhere in (True, False):
        found = test.choose_names([[*trace.outputs[key], *trace.inputs[key]] for key in keys], anywhere=anywhere)
        names = {key: name for key, name in zip(keys, found, strict=True) if name}
        if not names:
            break
        _drop_tensors(trace.root, set(keys) - set(names))
        info = _leave_block(trace, _choose_layers(trace, names), test)
        if all(test.stands(name) for name in _list_needed(info)):
            break
    return info


def _leave_block(trace: Trace, info: LayerInfo, test: InfluenceTest) -> LayerInfo:
    """Where the last layer lies inside a block whose end has no influence, take what goes into the block, if that has."""
    block = next((call for call in _find_calls_around(trace.root, info.top) if call.lost), None)
    entry = _find_entry(block) if block else info.top
    if block is None or test.choose_names([[entry]]) != [entry]:
        return info
    before = (name for name in info.blocks if not name.startswith(f"{block.name}."))
    return replace(info, blocks=(*before, entry), top=entry)


def _find_calls_around(call: Call, name: str) -> list[Call]:
    """List the calls that lead to the one of that name, the outermost first; none where there is no such call."""
    if call.name == name:
        return [call]
    inner = next((calls for each in call.inner if (calls := _find_calls_around(each, name))), [])
    return [call, *inner] if inner else []


def _list_needed(info: LayerInfo) -> list[str]:
    return list(dict.fromkeys([*info.blocks, *([] if info.note or not info.top else [info.top])]))


def _drop_tensors(call: Call, dropped: Collection[Key]) -> bool:
    """Take from a call what has no influence, as if it had no places; say whether anything is left in it."""
    left = any([_drop_tensors(each, dropped) for each in call.inner])  # noqa: C419  # all of them
    gives = call.output_key not in dropped
    takes = call.input_key not in dropped and (gives or left)
    call.lost |= not gives and call.side[0] < REDUCTION * call.side[1]
    call.side = (call.side[0] if takes else 1, call.side[1] if gives else 1)
    return left or call.side[1] > 1


def _rename(info: LayerInfo, names: Mapping[str, str | None]) -> LayerInfo:
    blocks = tuple(dict.fromkeys(name for name in map(names.get, info.blocks) if name))
    return LayerInfo(blocks, names.get(info.top) or "".join(blocks[-1:]) if info.top in names else info.top, info.note)


def _name_outputs(trace: Trace) -> dict[Key, str]:
    """Name each tensor of feature maps by the last module that put it out, which is the outermost."""
    spatial = [call for call in trace.calls if call.side[1] > 1 and not isinstance(call.module, PASSING)]
    last = {call.output_key: call.name for call in spatial}
    return {key: trace.outputs[key][0] if trace.outputs.get(key) else name for key, name in last.items()}


def _choose_layers(trace: Trace, names: Mapping[Key, str]) -> LayerInfo:
    """Choose by shapes, among the tensors that have names."""
    spatial = [call for call in trace.calls if call.side[1] > 1 and not isinstance(call.module, PASSING)]
    last = spatial[-1]
    top = names[last.output_key]
    ends: list[tuple[str, int]] = []
    weights = 0
    for name, side, count in [*_find_reductions(trace.root, names), (top, last.side[1], last.after)]:
        if count == weights:
            continue  # nothing with weights since the last one: the image itself, or what a pooling left
        weights = count
        if ends and ends[-1][1] < REDUCTION * side:
            ends.pop()  # one resolution, one layer: the last
        ends.append((name, side))
    if last.output is not None and last.output.ndim == 3 and len(ends) < 3:
        return _choose_token_layers(spatial, last, top)
    large = [name for name, side in ends if side >= 4]
    return LayerInfo(tuple(large if len(large) > 1 else [name for name, _ in ends] or [top]), top)


def _find_reductions(call: Call, names: Mapping[Key, str]) -> Iterator[tuple[str, int, int]]:
    """Yield the input of each reduction: its name, its side, and how many layers with weights came before."""
    if call.side[0] < REDUCTION * call.side[1]:
        return  # a block: a skip connection may bypass what is inside
    chain = isinstance(call.module, nn.Sequential) or not call.name or call.side[0] >= 3 * call.side[1]
    reductions: list[tuple[str, int, int]] = []
    if call.inner and chain:
        before: Call | None = None
        for each in call.inner:
            if before is not None and before.side[1] >= REDUCTION * each.side[0] > REDUCTION:
                # reduced by a function between the two
                reductions.append((names[before.output_key], before.side[1], before.after))
            reductions += _find_reductions(each, names)
            before = each if each.side[1] > 1 else before
    if not reductions or reductions[0][2] == call.before:  # only a normalisation lies between
        reductions[:1] = [(find_name(names, call.input_key) or call.name + INPUT, call.side[0], call.before)]
    yield from reductions


def find_name(names: Mapping[Key, str], key: Key) -> str | None:
    """Find the name of a tensor; of one that a function wrote into since it was put out, what it was called before.

    >>> find_name({(7, 0): "conv"}, (7, 1))
    'conv'
    """
    return names.get(key) or next((name for (number, _), name in reversed(list(names.items())) if number == key[0]), None)


def _choose_token_layers(spatial: list[Call], last: Call, top: str) -> LayerInfo:
    """Name the input of the attention of four blocks at equal depths."""
    groups: dict[tuple[str, type], list[Call]] = defaultdict(list)
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


def _find_entry(block: Call) -> str:
    first = block.inner[0]
    while first.inner:
        first = first.inner[0]
    normalised = "norm" in type(first.module).__name__.lower() and first.input is block.input
    return first.name if normalised else block.name + INPUT
