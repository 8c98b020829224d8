"""Network files of OpenVINO (and of what it reads), as a whole or in part."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from salience.boxes._graph.graph import Graph, Node
from salience.boxes._graph.network import Part, colours_last
from salience.errors import BoxError, UnknownName
from salience.runtime.backends import OPENVINO
from salience.runtime.blending import with_scaling
from salience.runtime.openvino import Compiled, get_core, has_bfloat16, import_openvino

WEIGHTED = frozenset({"Convolution", "GroupConvolution", "ConvolutionBackpropData", "MatMul"})


class OpenvinoNetwork:
    """A file that OpenVINO reads: its own (.xml beside .bin), .onnx, .tflite, .pb."""

    blending: tuple[str, ...] = ("exact", *OPENVINO)

    def __init__(self, path: str, output: str | None = None) -> None:
        self.path, self.made = path, dict[tuple[str, ...], Part]()
        self.backends: tuple[str, ...] = OPENVINO[:1] if has_bfloat16() else ()
        if not Path(path).exists():
            raise BoxError(f"expected a network file at {path}, got nothing there: check the path")
        try:
            self.model = get_core().read_model(path)
        except RuntimeError as problem:
            reason = " ".join(str(problem).split())[:200]
            raise BoxError(f"expected a network that OpenVINO reads in {path}, got {reason}") from problem
        if len(self.model.inputs) != 1:
            said = ", ".join(each.get_any_name() for each in self.model.inputs)
            raise BoxError(f"expected a network with one input, the images, got {len(self.model.inputs)}: {said}")
        image = self.model.inputs[0]
        shape = image.get_partial_shape()
        lengths = shape if shape.rank.is_static else import_openvino().PartialShape([-1] * 4)
        self.shape = tuple(each.get_length() if each.is_static else None for each in lengths)
        self.kind = np.dtype(image.get_element_type().to_dtype())
        with contextlib.suppress(RuntimeError):  # where what is inside lets there be any number of images
            self.model.reshape([-1, *(each or -1 for each in self.shape[1:])])
        results = {each.get_any_name() if each.names else str(at): each for at, each in enumerate(self.model.outputs)}
        if output is not None and output not in results:
            raise UnknownName.of("output of the network", output, results)
        end = results[output] if output else self.model.outputs[0]
        answer = _name(end.get_node().input_value(0))
        self.graph = Graph(tuple(_read_nodes(self.model)), _name(image), answer)

    def part(self, inputs: Sequence[str], outputs: Sequence[str], backend: str) -> Part:
        """Return the part of the network between tensors, ready to run on one array an input.

        Without inputs it takes images, a scale and a shift (`with_scaling`).
        """
        openvino = import_openvino()
        model = self.model.clone() if inputs else with_scaling(self.model.clone(), last=colours_last(self.shape))
        ops = [each for each in model.get_ordered_ops() if each.get_type_name() != "Result"]
        tensors = {name: each for op in ops for each in op.outputs() for name in _names(each)}
        given = [] if inputs else model.get_parameters()
        for name in inputs:
            if name in (self.graph.image, *self.model.inputs[0].names):
                given.append(model.get_parameters()[0])
                continue
            cut = tensors[name]
            given.append(openvino.opset13.parameter(cut.get_partial_shape(), cut.get_element_type()))
            for use in cut.get_target_inputs():
                use.replace_source_output(given[-1].output(0))
        results = [openvino.opset13.result(tensors[name]) for name in outputs]
        precision = "bf16" if backend == OPENVINO[0] else "f32"
        return Compiled(openvino.Model(results, given), precision)

    @cached_property
    def digest(self) -> str:
        """A hash of the files."""
        found = hashlib.sha256(Path(self.path).read_bytes())
        weights = Path(self.path).with_suffix(".bin")
        if Path(self.path).suffix == ".xml" and weights.exists():
            found.update(weights.read_bytes())
        return found.hexdigest()


def _name(tensor: Any) -> str:
    node, number = tensor.get_node(), tensor.get_index()
    return str(node.get_friendly_name()) + (f".{number}" if number else "")


def _names(tensor: Any) -> list[str]:
    return [_name(tensor), *tensor.get_names()]


def _read_nodes(model: Any) -> Iterator[Node]:
    fixed = set[str]()
    for op in model.get_ordered_ops():
        kind, inputs = op.get_type_name(), op.input_values()
        names, made = [_name(each) for each in inputs], [_name(each) for each in op.outputs()]
        if kind in ("Parameter", "Result"):
            continue
        if all(each in fixed for each in names) and kind not in ("If", "Loop", "TensorIterator"):
            fixed.update(made)
            continue
        weights = [each for each, name in zip(inputs, names, strict=True) if name in fixed] if kind in WEIGHTED else []
        kernel = tuple(weights[0].get_shape()) if weights else ()
        yield Node(kind, op.get_friendly_name(), tuple(names), tuple(made), kernel)
