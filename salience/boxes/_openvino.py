"""OpenVINO: networks compiled for this processor, asked in parallel streams.

The package reports each of its imports to its makers unless its helper `openvino_telemetry` is absent; here it is
made to seem so (docs/decisions/0010-openvino.md).
"""

from __future__ import annotations

import sys
import warnings
from functools import cache
from threading import Lock
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from salience.errors import BoxError

Rows = Shaped[np.ndarray, "n ..."]


def imported() -> Any:
    """Import OpenVINO in silence."""
    silent = "openvino" not in sys.modules
    kept = sys.modules.get("openvino_telemetry")
    if silent:
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # Python's way to say that there is none
    try:
        import openvino
    except ImportError as problem:
        raise BoxError("expected the package openvino, got none: install salience[openvino]") from problem
    finally:
        if silent:
            del sys.modules["openvino_telemetry"]
        if silent and kept is not None:
            sys.modules["openvino_telemetry"] = kept
    return openvino


@cache
def core() -> Any:
    """Return the one thing through which OpenVINO is asked for anything."""
    return imported().Core()


def has_bfloat16() -> bool:
    """Say whether this processor computes in sixteen bits."""
    return "BF16" in core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def converted(module: nn.Module, images: Float[Tensor, "n _ h w"]) -> Any:
    """Turn a module into a network of OpenVINO, in memory, for any number of images of that shape."""
    imported()
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # tracing is called deprecated, and warns of shapes that become numbers
        traced = torch.jit.trace(module, images[:2].contiguous(), check_trace=False)
    frontend = FrontEndManager().load_by_framework("pytorch")
    decoder = TorchScriptPythonDecoder(traced, shared_memory=False)  # held: the frontend does not
    network = frontend.convert(frontend.load(decoder))
    network.reshape([-1, *images.shape[1:]])
    return network


class Compiled:
    """A network for this processor, of as many threads as torch has now; images are dealt out to its streams."""

    def __init__(self, network: Any, precision: str | None = None) -> None:
        self.threads, self.lock = torch.get_num_threads(), Lock()
        self.how = {} if precision is None else {"INFERENCE_PRECISION_HINT": precision}
        if isinstance(network, bytes):
            self._ready(core().import_model(network, "CPU", self._settings()))
        else:
            self._ready(core().compile_model(network, "CPU", self._settings()))

    def __call__(self, *inputs: Rows) -> list[Rows]:
        """Return all outputs; one input, with a row an image, is dealt out."""
        found: dict[int, list[Rows]] = {}

        def keep(request: Any, number: int) -> None:
            found[number] = [each.data.copy() for each in request.output_tensors]

        with self.lock:
            if self.threads != torch.get_num_threads():
                self.threads = torch.get_num_threads()
                self._ready(core().import_model(self.blob(), "CPU", self._settings()))
            self.queue.set_callback(keep)
            parts = min(len(self.queue), len(inputs[0])) if len(inputs) == 1 else 1
            dealt = [(each,) for each in np.array_split(inputs[0], parts)] if parts > 1 else [inputs]
            try:
                for number, share in enumerate(dealt):
                    self.queue.start_async(dict(enumerate(share)), number, share_inputs=True)
                self.queue.wait_all()
            except RuntimeError:
                self._ready(self.network)  # a queue that failed once fails ever after
                raise
        return [np.concatenate(rows) for rows in zip(*(found[number] for number in sorted(found)), strict=True)]

    def blob(self) -> bytes:
        """Return the compiled network in a form that can be kept; it is good for this processor and this version."""
        made: Any = self.network.export_model()
        return made if isinstance(made, bytes) else bytes(made.getvalue())

    def _settings(self) -> dict[str, Any]:
        # Pinned threads of several processes would sit on the same cores.
        pace = {"PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_NUM_THREADS": self.threads, "ENABLE_CPU_PINNING": False}
        return pace | self.how

    def _ready(self, network: Any) -> None:
        self.network = network
        self.queue = imported().AsyncInferQueue(network, network.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))
