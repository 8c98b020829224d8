"""Part of an ONNX network in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from salience.boxes._graph.lots import shorten
from salience.boxes._graph.quantised import Array
from salience.engine.query import torch_threads
from salience.errors import BoxError

SILENT = 4  # ONNX Runtime's level of what is fatal: all else is raised too


class Session:
    """Part of a network in ONNX Runtime, of as many threads as torch has now."""

    def __init__(
        self,
        write: Callable[[], bytes],
        providers: Sequence[str],
        inputs: Sequence[str],
        outputs: Sequence[str],
        path: str,
    ) -> None:
        self.path, self.write, self.providers, self.inputs, self.outputs = (
            path,
            write,
            list(providers),
            tuple(inputs),
            list(outputs),
        )
        self.threads = 0
        self.inner: Any = None

    def __call__(self, *arrays: Array) -> list[Array]:
        """Run."""
        if self.threads != torch_threads.count():
            self.threads = torch_threads.count()
            self.inner = self._open()
        torch_threads.use_one()
        found: list[Array] = self.inner.run(self.outputs, dict(zip(self.inputs, arrays, strict=True)))
        return found

    def _open(self) -> Any:
        import onnxruntime

        how = onnxruntime.SessionOptions()
        how.intra_op_num_threads, how.inter_op_num_threads = self.threads, 1
        how.log_severity_level = SILENT
        try:
            return onnxruntime.InferenceSession(self.write(), how, providers=self.providers)
        except Exception as problem:
            reason, what = shorten(problem), "export it anew, with another opset, or load it as openvino:"
            raise BoxError(f"expected operators that ONNX Runtime runs in {self.path}, got {reason}: {what}") from problem
