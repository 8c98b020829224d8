"""ONNX files, read with `onnx` and run by ONNX Runtime, as a whole or in part."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from salience.boxes._graph.graph import Graph, Node
from salience.boxes._graph.network import Array, Part
from salience.boxes._graph.openvino import OpenvinoNetwork
from salience.engine.query import torch_threads
from salience.errors import BoxError, UnknownName
from salience.runtime.backends import OPENVINO

CPU = ("CPUExecutionProvider",)
WEIGHTED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul", "QLinearConv", "ConvInteger", "MatMulInteger"})


class OnnxNetwork:
    """An ONNX file."""

    blending: tuple[str, ...] = OPENVINO

    def __init__(self, path: str, providers: Sequence[str], output: str | None = None) -> None:
        try:
            import onnx
            import onnxruntime
        except ImportError as problem:
            raise BoxError(
                f"expected the package {problem.name} for onnx: boxes, got none: install salience[onnx]"
            ) from problem
        self.path, self.made = path, dict[tuple[str, ...], Part]()
        self.other: OpenvinoNetwork | None = None  # the same file in OpenVINO, for its backends
        self.providers = _choose_providers(providers, onnxruntime.get_available_providers())
        self.backends: tuple[str, ...] = OPENVINO if self.providers == CPU and find_spec("openvino") else ()
        if not Path(path).exists():
            raise BoxError(f"expected an ONNX file at {path}, got nothing there: check the path")
        try:
            self.model = onnx.load(path)
            self.types = _read_types(onnx.shape_inference.infer_shapes(self.model).graph)
        except Exception as problem:
            reason = " ".join(str(problem).split())[:200]
            raise BoxError(f"expected an ONNX network in {path}, got {reason}: export it anew") from problem
        inner = self.model.graph
        self.constants = {each.name: each for each in inner.initializer}
        images = [each for each in inner.input if each.name not in self.constants]
        if len(images) != 1:
            said = ", ".join(each.name for each in images)
            raise BoxError(f"expected a network with one input, the images, got {len(images)}: {said}")
        self.kind = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(images[0].type.tensor_type.elem_type))
        lengths = images[0].type.tensor_type.shape.dim
        self.shape = tuple(each.dim_value or None for each in lengths)
        if lengths:
            lengths[0].dim_param = "n"  # any number of images, where what is inside lets that be
        for each in inner.output:
            each.type.tensor_type.ClearField("shape")
        inner.ClearField("value_info")
        self.graph = Graph(
            tuple(self._read_nodes()), images[0].name, _choose_output([each.name for each in inner.output], output)
        )

    def part(self, inputs: Sequence[str], outputs: Sequence[str], backend: str) -> Part:
        """Return the part of the network between tensors, ready to run on one array an input."""
        if backend in OPENVINO:
            self.other = self.other or OpenvinoNetwork(self.path)
            return self.other.part(inputs, outputs, backend)
        return Session(lambda: self._cut(inputs, outputs), self.providers, inputs, outputs)

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
            plain = onnx.helper.make_tensor_value_info(name, self.types.get(name, onnx.TensorProto.FLOAT), None)
            part.graph.input.append(whole.get(name, plain))
        part.graph.output.extend(onnx.ValueInfoProto(name=name) for name in outputs)
        return bytes(part.SerializeToString())

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
            kernel: tuple[int, ...] = ()
            if node.op_type in WEIGHTED:
                weights = [each for each in node.input if each in fixed]
                shapes = [tuple(self.constants[each].dims) for each in weights if each in self.constants]
                kernel = max(shapes, key=len) if shapes else (0,) * bool(weights)
            inputs = tuple(each for each in node.input if each)
            yield Node(node.op_type, node.name, inputs, tuple(each for each in node.output if each), kernel)


class Session:
    """Part of a network in ONNX Runtime, of as many threads as torch has now."""

    def __init__(
        self, write: Callable[[], bytes], providers: Sequence[str], inputs: Sequence[str], outputs: Sequence[str]
    ) -> None:
        self.write, self.providers, self.inputs, self.outputs = write, list(providers), tuple(inputs), list(outputs)
        self.threads = 0
        self.inner: Any = None

    def __call__(self, *arrays: Array) -> list[Array]:
        """Run."""
        if self.threads != torch_threads.count():
            import onnxruntime

            self.threads, how = torch_threads.count(), onnxruntime.SessionOptions()
            how.intra_op_num_threads, how.inter_op_num_threads, how.log_severity_level = self.threads, 1, 3
            self.inner = onnxruntime.InferenceSession(self.write(), how, providers=self.providers)
        torch_threads.use_one()
        found: list[Array] = self.inner.run(self.outputs, dict(zip(self.inputs, arrays, strict=True)))
        return found


def _choose_providers(asked: Sequence[str], there: Sequence[str]) -> tuple[str, ...]:
    """Take providers by name, with or without the ending; none asked: the processor."""
    found = []
    for name in asked or ("CPU",):
        full = next((each for each in there if each.lower() in (name.lower(), f"{name.lower()}executionprovider")), None)
        if full is None:
            raise UnknownName.of("provider of ONNX Runtime", name, there)
        found.append(full)
    return tuple(found)


def _choose_output(outputs: Sequence[str], asked: str | None) -> str:
    if asked is not None and asked not in outputs:
        raise UnknownName.of("output of the network", asked, outputs)
    return asked or outputs[0]


def _read_types(graph: Any) -> dict[str, int]:
    return {each.name: each.type.tensor_type.elem_type for each in (*graph.value_info, *graph.input, *graph.output)}
