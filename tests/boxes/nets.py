"""Small networks in files, written node by node, and exports of torch modules."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import nn

from salience.engine.perturb import masks
from salience.engine.query import loop
from salience.engine.query.run import start_run
from salience.methods.mc_rise import McRise
from tests.helpers import noise

FLOAT = onnx.TensorProto.FLOAT


def written(
    path: Path,
    nodes: list[tuple[Any, ...]],
    weights: dict[str, Any],
    shape: tuple[Any, ...] | None = ("n", 3, 32, 32),
    kind: int = FLOAT,
    outputs: tuple[str, ...] = ("y",),
) -> str:
    """Write a network from `x`; a node is (operation, inputs, outputs, attributes)."""
    made = [onnx.helper.make_node(op, i.split(), o.split(), name=f"{op}_{o}", **more) for op, i, o, more in nodes]
    held = [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()]
    graph = onnx.helper.make_graph(
        made,
        "net",
        [onnx.helper.make_tensor_value_info("x", kind, shape)],
        [onnx.helper.make_tensor_value_info(each, FLOAT, None) for each in outputs],
        held,
    )
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=9), path)
    return str(path)


def blends(box: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Score blends of two images as methods do, and one painted over as MC-RISE does; and the same made by torch."""
    ahead, behind = noise(2, 3, *box.size, seed=3, dtype=torch.float32)
    drawn = noise(5, *box.size, seed=4, dtype=torch.float32)
    drawn[1], drawn[2] = 0, 1
    painted = next(McRise(cells=3).sample_lots(7, box.size))
    asked: list[tuple[Any, torch.Tensor]] = [(masks.FullMasks(drawn), behind), (painted, torch.zeros_like(ahead))]
    with start_run(batch=3):
        found = [scores.clone() for lot, fill in asked for _, _, scores in loop.score_masked(box, ahead, 0, [lot], fill)]
    paint = painted.paint(ahead.new_empty(7, *ahead.shape), torch.ones(3, 1, 1), torch.zeros(3, 1, 1))
    shown = torch.cat([torch.lerp(behind, ahead, drawn[:, None]), paint + painted.rasterise(ahead)[:, None] * ahead])
    return torch.cat(found), box(shown)[:, 0]


def colour(path: Path, *, end: str = "", **more: Any) -> str:
    """Write `toy:colour` as a file: 1×1 filters, ReLU, pooling; `end` is an activation."""
    filters = (1.5 * np.eye(3) - 0.5)[:, :, None, None].astype(np.float32)
    weights = {"filters": filters, "forty": np.float32(40), "flat": np.array([0, -1])}
    nodes = [
        ("Conv", "x filters", "found", {}),
        ("Relu", "found", "kept", {}),
        ("GlobalAveragePool", "kept", "pooled", {}),
        ("Reshape", "pooled flat", "row", {}),
        ("Mul", "row forty", "logits" if end else "y", {}),
    ]
    return written(path, nodes + ([(end, "logits", "y", {})] if end else []), weights, **more)


def exported(module: nn.Module, path: Path, side: int = 32) -> str:
    """Export a torch module, for any number of images."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own deprecations
        example = torch.zeros(2, 3, side, side)
        dynamic = ({0: torch.export.Dim.AUTO},)
        torch.onnx.export(module.eval(), (example,), path, dynamo=True, dynamic_shapes=dynamic, verbose=False)
    return str(path)
