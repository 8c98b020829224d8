"""ONNX files, read with `onnx` and run by ONNX Runtime, as a whole or in part."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from salience.boxes._graph.graph import Graph, Node
from salience.boxes._graph.lots import expect_pictures, shorten
from salience.boxes._graph.network import Part
from salience.boxes._graph.openvino import OpenvinoNetwork
from salience.boxes._graph.quantised import Array, Quantisation, find_quantisation
from salience.boxes._graph.session import Session
from salience.errors import BoxError, UnknownName
from salience.runtime.backends import OPENVINO

CPU = ("CPUExecutionProvider",)
WEIGHTED = (
    *("Conv", "ConvTranspose", "Gemm", "MatMul", "FusedConv", "FusedGemm"),
    *("QLinearConv", "QLinearMatMul", "QGemm", "ConvInteger", "MatMulInteger"),
)


class OnnxNetwork:
    """An ONNX file."""

    blending: tuple[str, ...] = OPENVINO
    whole = False

    def __init__(self, path: str, providers: Sequence[str]) -> None:
        onnxruntime = _import_packages()
        self.path, self.made = path, dict[tuple[str, ...], Part]()
        self.other: OpenvinoNetwork | None = None  # the same file in OpenVINO, for its backends
        self.providers = _choose_providers(providers, onnxruntime.get_available_providers())
        self.backends: tuple[str, ...] = OPENVINO if self.providers == CPU and find_spec("openvino") else ()
        self.model, self.types = _read_model(path)
        inner = self.model.graph
        self.constants = {each.name: each for each in inner.initializer}
        images = [each for each in inner.input if each.name not in self.constants]
        if len(images) != 1:
            said = ", ".join(each.name for each in images)
            raise BoxError(
                f"expected a network with one input, the images, got {len(images)}: {said}: hold the others fixed"
            )
        self.shape, self.kind = _read_input(path, images[0])
        lengths = images[0].type.tensor_type.shape.dim
        if lengths:
            lengths[0].dim_param = "n"  # any number of images, where what is inside lets that be
        self.makers = {output: node for node in inner.node for output in node.output}
        nodes = tuple(self._read_nodes())
        self.outputs = self._read_outputs({each for node in nodes for each in node.outputs})
        if not self.outputs:
            raise BoxError(f"expected an output of numbers that depend on the images in {path}, got none: export it anew")
        for each in inner.output:
            each.type.tensor_type.ClearField("shape")
        inner.ClearField("value_info")
        self.graph = Graph(nodes, images[0].name, next(iter(self.outputs.values())))

    def find_quantisation(self, tensor: str) -> Quantisation | None:
        """Find what the numbers of a tensor stand for; None where they stand for themselves."""
        return find_quantisation(self.makers, self._scales, tensor)

    @cached_property
    def _scales(self) -> dict[str, Array]:
        """The constants that are small enough to be scales."""
        from onnx import numpy_helper

        held = {name: each for name, each in self.constants.items() if len(each.dims) < 2}
        for name, node in self.makers.items():
            if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value":
                held[name] = node.attribute[0].t
        return {name: numpy_helper.to_array(each) for name, each in held.items() if len(each.dims) < 2}

    def _read_outputs(self, made: set[str]) -> dict[str, str]:
        """Read the outputs that depend on the images, in a form that torch has; numbers that are not whole come first."""
        found = dict[str, str]()
        for each in self.model.graph.output:
            node = self.makers.get(each.name)
            if node is not None and node.op_type == "SequenceConstruct":
                found |= {f"{each.name}.{at}": name for at, name in enumerate(node.input)}
            else:  # what scikit-learn's exports make a dictionary of
                found[each.name] = node.input[0] if node is not None and node.op_type == "ZipMap" else each.name
        kinds = {name: self._find_kind(tensor) for name, tensor in found.items() if tensor in made}
        usable = [name for name, kind in kinds.items() if kind in "fiub"]
        return {name: found[name] for name in sorted(usable, key=lambda name: kinds[name] != "f")}

    def _find_kind(self, tensor: str) -> str:
        """Return numpy's letter for the type of a tensor: "f" for numbers that are not whole, "" where torch has none."""
        import onnx

        kind = self.types.get(tensor, onnx.TensorProto.FLOAT)
        if kind in (onnx.TensorProto.UNDEFINED, onnx.TensorProto.STRING):
            return ""
        return str(np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind)).kind)

    def part(self, inputs: Sequence[str], outputs: Sequence[str], backend: str) -> Part:
        """Return the part of the network between tensors, ready to run on one array an input."""
        if backend in OPENVINO:
            self.other = self.other or OpenvinoNetwork(self.path)
            return self.other.part(inputs, outputs, backend)
        return Session(lambda: self._cut(inputs, outputs), self.providers, inputs, outputs, self.path)

    def _cut(self, inputs: Sequence[str], outputs: Sequence[str]) -> bytes:
        """Write the part as a network of its own."""
        import onnx

        made = {output: node for node in self.model.graph.node for output in node.output}
        wanted, left = set[int](), [each for each in outputs if each not in inputs]
        while left:
            node = made.get(left.pop())
            if node is not None and id(node) not in wanted:
                wanted.add(id(node))
                left += [each for each in node.input if each not in inputs]
        nodes = [node for node in self.model.graph.node if id(node) in wanted]
        used = {each for node in nodes for each in node.input}
        part = onnx.ModelProto(ir_version=self.model.ir_version, opset_import=self.model.opset_import)
        part.functions.extend(self.model.functions)
        part.graph.name = "part"
        part.graph.node.extend(nodes)
        part.graph.initializer.extend(each for name, each in self.constants.items() if name in used and name not in inputs)
        whole = {each.name: each for each in self.model.graph.input}
        for name in inputs:
            plain = onnx.helper.make_tensor_value_info(name, self._find_type(name), None)
            part.graph.input.append(whole.get(name, plain))
        part.graph.output.extend(onnx.ValueInfoProto(name=name) for name in outputs)
        return bytes(part.SerializeToString())

    def _find_type(self, tensor: str) -> int:
        """Return ONNX's number of a tensor's type; behind an operator that `onnx` does not know its scale says it."""
        import onnx

        held = None if self.types.get(tensor) else self.find_quantisation(tensor)
        known = self.types.get(tensor) or onnx.TensorProto.FLOAT
        return known if held is None else int(onnx.helper.np_dtype_to_tensor_dtype(np.asarray(held.zero).dtype))

    @cached_property
    def digest(self) -> str:
        """Hash the network, its weights included."""
        return hashlib.sha256(self.model.SerializeToString(deterministic=True)).hexdigest()

    def _read_nodes(self) -> Iterator[Node]:
        fixed = set(self.constants)
        for node in self.model.graph.node:
            if not [each for each in node.input if each and each not in fixed] and node.op_type not in (
                "If",
                "Loop",
                "Scan",
            ):
                fixed.update(node.output)
                continue
            kernel = self._read_kernel(node, fixed) if node.op_type in WEIGHTED else ()
            inputs = tuple(each for each in node.input if each)
            yield Node(node.op_type, node.name, inputs, tuple(each for each in node.output if each), kernel)

    def _read_kernel(self, node: Any, fixed: set[str]) -> tuple[int, ...]:
        """Return the shape of the weights of a node, also where these are eight-bit numbers."""
        weights = [self._find_stored(each) for each in node.input if each in fixed]
        shapes = [tuple(self.constants[each].dims) for each in weights if each in self.constants]
        return max(shapes, key=len) if shapes else (0,) * bool(weights)

    def _find_stored(self, name: str) -> str:
        node = self.makers.get(name)
        return node.input[0] if node is not None and node.op_type == "DequantizeLinear" else name


def _import_packages() -> Any:
    try:
        import onnx  # noqa: F401  # its absence has a sentence of its own
        import onnxruntime
    except ImportError as problem:
        raise BoxError(f"expected the package {problem.name} for onnx: boxes, got none: install salience[onnx]") from problem
    return onnxruntime


def _read_model(path: str) -> tuple[Any, dict[str, int]]:
    """Read a file, and the types of its tensors."""
    import onnx

    if not Path(path).is_file():  # a pipe would wait for ever
        raise BoxError(f"expected an ONNX file at {path}, got nothing there: check the path")
    try:
        model = onnx.load(path)
        return model, _read_types(onnx.shape_inference.infer_shapes(model).graph)
    except Exception as problem:
        what = "copy the file of its weights beside it" if "external" in str(problem).lower() else "export it anew"
        raise BoxError(f"expected an ONNX network in {path}, got {shorten(problem)}: {what}") from problem


def _read_input(path: str, image: Any) -> tuple[tuple[int | None, ...], np.dtype[Any]]:
    """Read the shape and the type of the images; a shape that the file leaves out is ()."""
    import onnx

    taken = image.type.tensor_type
    text = taken.elem_type in (onnx.TensorProto.UNDEFINED, onnx.TensorProto.STRING)
    kind = None if text else np.dtype(onnx.helper.tensor_dtype_to_np_dtype(taken.elem_type))
    lengths = tuple(each.dim_value or None for each in taken.shape.dim)
    return lengths, expect_pictures(path, lengths if taken.HasField("shape") else None, kind)


def _choose_providers(asked: Sequence[str], there: Sequence[str]) -> tuple[str, ...]:
    """Take providers by name, with or without the ending; none asked: the processor."""
    found = []
    for name in asked or ("CPU",):
        full = next((each for each in there if each.lower() in (name.lower(), f"{name.lower()}executionprovider")), None)
        if full is None:
            raise UnknownName.of("provider of ONNX Runtime", name, there)
        found.append(full)
    return tuple(found)


def _read_types(graph: Any) -> dict[str, int]:
    return {each.name: each.type.tensor_type.elem_type for each in (*graph.value_info, *graph.input, *graph.output)}
