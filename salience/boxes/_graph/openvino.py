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
from salience.boxes._graph.lots import expect_pictures, find_layout, shorten
from salience.boxes._graph.network import Part
from salience.boxes._graph.quantised import Quantisation
from salience.errors import BoxError, SalienceError
from salience.runtime.backends import OPENVINO
from salience.runtime.blending import with_scaling
from salience.runtime.openvino import Compiled, get_core, has_bfloat16, import_openvino

WEIGHTED = frozenset({"Convolution", "GroupConvolution", "ConvolutionBackpropData", "MatMul"})


class OpenvinoNetwork:
    """A file that OpenVINO reads: its own (.xml beside .bin), .onnx, .tflite, .pb."""

    blending: tuple[str, ...] = ("exact", *OPENVINO)

    whole = False

    def __init__(self, path: str) -> None:
        self.path, self.made = path, dict[tuple[str, ...], Part]()
        self.backends: tuple[str, ...] = OPENVINO[:1] if has_bfloat16() else ()
        self.model = _read_model(path)
        if len(self.model.inputs) != 1:
            said = ", ".join(each.get_any_name() for each in self.model.inputs)
            raise BoxError(
                f"expected a network with one input, the images, got {len(self.model.inputs)}: {said}: hold the others fixed"
            )
        self.shape, self.kind = _read_input(path, self.model.inputs[0])
        self.open = find_layout(self.shape).channels is None
        with contextlib.suppress(RuntimeError):  # where what is inside lets there be any number of images
            self.model.reshape([-1, *(each or -1 for each in self.shape[1:])])
        nodes = tuple(_read_nodes(self.model))
        made = {each for node in nodes for each in node.outputs}
        self.outputs = {name: each for name, each in _read_outputs(self.model).items() if each in made}
        if not self.outputs:
            raise BoxError(f"expected an output of numbers that depend on the images in {path}, got none: export it anew")
        self.graph = Graph(nodes, _name(self.model.inputs[0]), next(iter(self.outputs.values())))

    def find_quantisation(self, _tensor: str) -> Quantisation | None:
        """Find what the numbers of a tensor stand for: OpenVINO computes with numbers that stand for themselves."""
        return None

    def part(self, inputs: Sequence[str], outputs: Sequence[str], backend: str) -> Part:
        """Return the part of the network between tensors, ready to run on one array an input.

        Without inputs it takes images, a scale and a shift (`with_scaling`).
        """
        precision = "bf16" if backend == OPENVINO[0] else "f32"
        try:
            return Compiled(self._cut(inputs, outputs), precision, whole=self.whole)
        except SalienceError:
            raise
        except Exception as problem:
            if self.open:
                raise  # another number of channels may do
            reason = shorten(problem)
            raise BoxError(
                f"expected a network that OpenVINO runs in {self.path}, got {reason}: take another backend"
            ) from problem

    def _cut(self, inputs: Sequence[str], outputs: Sequence[str]) -> Any:
        """Make a network of a part."""
        openvino = import_openvino()
        layout = find_layout(self.shape)
        model = self.model.clone()
        model = model if inputs else with_scaling(model, last=layout.last, channels=layout.channels)
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
        return openvino.Model(results, given)

    @cached_property
    def digest(self) -> str:
        """A hash of the files."""
        found = hashlib.sha256(Path(self.path).read_bytes())
        weights = Path(self.path).with_suffix(".bin")
        if Path(self.path).suffix == ".xml" and weights.is_file():
            found.update(weights.read_bytes())
        return found.hexdigest()


def _read_model(path: str) -> Any:
    if not Path(path).is_file():  # a pipe would wait for ever
        raise BoxError(f"expected a network file at {path}, got nothing there: check the path")
    try:
        return get_core().read_model(path)
    except Exception as problem:
        raise BoxError(f"expected a network that OpenVINO reads in {path}, got {shorten(problem)}") from problem


def _read_input(path: str, image: Any) -> tuple[tuple[int | None, ...], np.dtype[Any]]:
    """Read the shape and the type of the images."""
    shape, kind = image.get_partial_shape(), image.get_element_type()
    known = shape.rank.is_static
    kind = None if kind.get_type_name() in ("string", "dynamic") else np.dtype(kind.to_dtype())
    lengths = tuple(each.get_length() if each.is_static else None for each in shape) if known else (None,) * 4
    return lengths, expect_pictures(path, lengths, kind)


def _read_outputs(model: Any) -> dict[str, str]:
    """Read what the outputs are called, and their tensors; numbers that are not whole come first."""
    found = {}
    for at, each in enumerate(model.outputs):
        name = each.get_any_name() if each.names else str(at)
        found[name] = _name(each.get_node().input_value(0)), each.get_element_type().is_real()
    return {name: tensor for name, (tensor, real) in sorted(found.items(), key=lambda item: not item[1][1])}


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
