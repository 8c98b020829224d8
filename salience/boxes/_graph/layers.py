"""Find the layers of a graph that are worth explaining, as `engine/inside/layers.py` does for modules.

Of all necks of one resolution the last is seen by whatever reduces it. A normalisation before the reduction, and a
1×1 convolution that only widens, the start of an inverted bottleneck, belong to what follows and are stepped over.
A transformer without reductions has what goes into the attention of four of its blocks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from salience.boxes._graph.graph import Graph, Node
from salience.boxes._graph.network import Parts
from salience.boxes._stranger import count_shown, make_pictures
from salience.engine.inside.hooks import as_feature_maps
from salience.engine.inside.layers import REDUCTION
from salience.errors import BoxError
from salience.types import GreyBox, Images, LayerInfo

# What is dequantised is a layer of its own: an activation may be hidden in the bounds of eight bits.
PASSING = frozenset({"Identity", "Dropout", "Cast", "Convert", "Pad", "QuantizeLinear"})
NORMAL = frozenset({"LayerNormalization", "MVN", "Transpose", "Sub", "Subtract", "Div", "Divide"})
LEAST = 1e-3  # of the way from one picture's answer to another's that a layer has to move it
SCALING = frozenset({"Mul", "Multiply", "Add"})
ATTENTION = frozenset({"Softmax", "SoftMax", "Attention", "MultiHeadAttention", "ScaledDotProductAttention"})


def find_layers(graph: Graph, seen: Mapping[str, Tensor], size: tuple[int, int]) -> tuple[LayerInfo, dict[str, str]]:
    """Return the layers, and what goes into each of a transformer's layers before it is normalised.

    `seen` is what the necks hold for one image; those that are missing are passed over.
    """
    sides = {name: _side(seen[name], size) for name in graph.necks if name in seen}
    spatial = [name for name, side in sides.items() if side > 1 and _op(graph, name) not in PASSING]
    if not spatial or not graph.weights[spatial[-1]]:
        raise BoxError("expected layers with feature maps in the box, got none: take a convolutional network or a ViT")
    groups: list[list[str]] = []
    for name in spatial:
        if groups and sides[groups[-1][0]] < REDUCTION * sides[name] and sides[name] < REDUCTION * sides[groups[-1][0]]:
            groups[-1].append(name)
        else:
            groups.append([name])
    top, done = spatial[-1], 0
    ends: list[tuple[str, int]] = []
    for group in groups:
        if len(graph.weights[group[-1]]) > done:  # else nothing with weights since: the image itself, or a pooling
            done = len(graph.weights[group[-1]])
            ends.append((top if group[-1] == top else _find_end(graph, group), sides[group[0]]))
    if seen[top].ndim == 3 and len(ends) < 3:
        return _choose_token_layers(graph, [name for name in groups[-1] if seen[name].ndim == 3], top)
    large = [name for name, side in ends if side >= 4]
    return LayerInfo(tuple(large if len(large) > 1 else [name for name, _ in ends]), top), {}


def find_tested_layers(box: GreyBox, parts: Parts) -> tuple[LayerInfo, dict[str, str]]:
    """Find layers among the necks that change with the picture; a top that does not move the answer gives way to others.

    Where one neck moves the answer, those before it do, for they move it too.
    """
    graph = parts.network.graph
    one, other = make_pictures(box.size, count_shown(box))[:2].split(1)
    here, there = parts.read_values(one, graph.necks), parts.read_values(other, graph.necks)
    changes = zip(graph.necks, here, there, strict=True)
    moving = {name: value for name, value, changed in changes if not torch.equal(value, changed)}
    logits = box.with_logits()
    answers = logits(torch.cat([one, other]))
    while True:
        info, before = find_layers(graph, moving, box.size)
        if info.note or torch.equal(answers[0], answers[1]) or _moves(logits, info.top, one, other, answers):
            return info, before
        del moving[info.top]


def _moves(logits: GreyBox, layer: str, one: Images, other: Images, answers: Tensor) -> bool:
    """Say whether the answer to a picture moves where the layer holds what it holds for another."""
    try:
        features = logits.activations(other, [layer])[layer]
        changed = logits.forward_from(one, layer, features)
    except Exception:  # noqa: BLE001  # what cannot be replaced is no layer, whatever the library raises
        return False
    return bool((changed[0] - answers[0]).abs().max() > LEAST * (answers[1] - answers[0]).abs().max())


def _side(value: Tensor, size: tuple[int, int]) -> int:
    found = as_feature_maps(value, size)
    return 1 if found is None else min(found.shape[-2:])


def _op(graph: Graph, name: str) -> str:
    return graph.maker[name].op if name in graph.maker else ""


def _find_end(graph: Graph, group: list[str]) -> str:
    """Return the last neck of a resolution, without what belongs to the reduction."""
    left = list(group)
    while len(left) > 1 and _is_normalisation(graph, graph.maker[left[-1]]):
        left.pop()
    kernels = [graph.path[number].kernel for number in graph.weights[left[-1]]]
    before = [name for name in left if len(graph.weights[name]) == len(kernels) - 1]
    kernel = kernels[-1] if kernels else ()
    if before and len(kernel) == 4 and kernel[2:] == (1, 1) and kernel[0] > kernel[1]:
        return before[-1]
    return left[-1]


def _is_normalisation(graph: Graph, node: Node) -> bool:
    """Say whether a node only brings its input to another scale; what is added to a layer with weights is its bias."""
    given = graph.data[node.outputs[0]]
    return node.op in NORMAL or (
        node.op in SCALING and len(given) == 1 and not (given[0] in graph.maker and graph.maker[given[0]].kernel)
    )


def _choose_token_layers(graph: Graph, stream: list[str], top: str) -> tuple[LayerInfo, dict[str, str]]:
    """Name what goes into the attention of four blocks at equal depths."""
    at = {output: number for number, node in enumerate(graph.path) for output in node.outputs}
    uses = [name for inputs in graph.data.values() for name in set(inputs)]
    forks = [name for name in stream if uses.count(name) > 1 and _op(graph, name) not in NORMAL]
    entries: dict[str, str] = {}
    for name, following in zip(forks, [*forks[1:], top], strict=True):
        block = graph.path[at[name] + 1 : at[following] + 1]
        if any(node.op in ATTENTION for node in block):
            first = next((node for node in block if node.kernel), None)
            entries[graph.data[first.outputs[0]][0] if first else name] = name
    layers = list(entries)
    if len(layers) < 2:
        return LayerInfo((top,), top), {}
    chosen = tuple(dict.fromkeys(layers[math.ceil(len(layers) * part / 4) - 1] for part in (1, 2, 3, 4)))
    numbers = ", ".join(str(layers.index(name)) for name in chosen)
    note = (
        f"the box is a transformer without reductions: its layers are what goes into the attention of blocks {numbers}, "
        "for after the last one patch tokens may go nowhere"
    )
    return LayerInfo(chosen, top, note), entries
