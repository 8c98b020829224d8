"""OpenVINO: networks compiled for this processor, run in parallel streams.

The package reports each of its imports to its makers unless its helper `openvino_telemetry` is absent; here it is
made to seem so (docs/decisions/0010-openvino.md).
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Sequence
from functools import cache
from threading import Lock
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from salience.engine.query import torch_threads
from salience.errors import BoxError

Array = Shaped[np.ndarray, "..."]
Rows = Shaped[np.ndarray, "n ..."]


def to_rows(numbers: Tensor) -> Rows:
    """Give a tensor as OpenVINO takes it: in single precision, one number after the other.

    >>> to_rows(torch.zeros(2, 3, dtype=torch.float64)).dtype
    dtype('float32')
    """
    given: Rows = numbers.detach().float().contiguous().numpy()
    return given


def import_openvino() -> Any:
    """Import OpenVINO in silence.

    >>> import_openvino().__name__
    'openvino'
    """
    silent = "openvino" not in sys.modules
    kept = sys.modules.get("openvino_telemetry")
    if silent:
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # Python's way to say that there is none
    try:
        import openvino
    except ImportError as problem:
        raise BoxError("expected the package openvino, got none: install openvino") from problem
    finally:
        if silent:
            del sys.modules["openvino_telemetry"]
        if silent and kept is not None:
            sys.modules["openvino_telemetry"] = kept
    return openvino


@cache
def get_core() -> Any:
    """Return OpenVINO's Core, one a process.

    >>> "CPU" in get_core().available_devices
    True
    """
    return import_openvino().Core()


def has_bfloat16() -> bool:
    """Say whether this processor computes in sixteen bits.

    >>> isinstance(has_bfloat16(), bool)
    True
    """
    return "BF16" in get_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def convert(module: nn.Module, images: Float[Tensor, "n _ h w"]) -> Any:
    """Turn a module into a network of OpenVINO, in memory, for any number of images of that shape.

    >>> convert(nn.ReLU(), torch.rand(2, 3, 8, 8)).inputs[0].partial_shape
    <PartialShape: [?,3,8,8]>
    """
    import_openvino()
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # tracing is called deprecated, and warns of shapes that become numbers
        traced = torch.jit.trace(module, images.float().contiguous(), check_trace=False)
    frontend = FrontEndManager().load_by_framework("pytorch")
    decoder = TorchScriptPythonDecoder(traced, shared_memory=False)  # referenced here: the frontend does not
    network = frontend.convert(frontend.load(decoder))
    network.reshape([-1, *images.shape[1:]])
    return network


def keep_sums_precise(network: Any) -> None:
    """Let what is added up on the way to the answer stay in single precision where products are of sixteen bits.

    OpenVINO rounds nothing between the last product and an output. So what goes into that product becomes an output
    too: in a transformer all sums of its blocks lead there. What takes another way is as it was.

    >>> network = convert(nn.Sequential(nn.Flatten(), nn.Linear(12, 2)), torch.rand(2, 3, 2, 2))
    >>> keep_sums_precise(network)
    >>> len(network.outputs)  # the logits, and what goes into the last product
    2
    """
    last = network.outputs[0].get_node()
    while last.get_type_name() != "MatMul":
        before = [each.get_node() for each in last.input_values()]
        before = [each for each in before if each.get_type_name() not in ("Constant", "Convert")]
        if len(before) != 1 or before[0].get_type_name() == "Convolution":
            return
        last = before[0]
    network.add_results([import_openvino().opset13.result(last.input_value(0))])


def deal_out(given: Rows, beside: Sequence[Array], parts: int) -> list[tuple[Array, ...]]:
    """Deal out what has a row an image; what has a single row goes with each share.

    >>> shares = deal_out(np.zeros((5, 3)), [np.zeros((1, 3))], 2)
    >>> [(len(rows), len(one)) for rows, one in shares]
    [(3, 1), (2, 1)]
    """
    dealt = (np.array_split(each, parts) if len(each) == len(given) else [each] * parts for each in (given, *beside))
    return list(zip(*dealt, strict=True))


class Compiled:
    """A network for this processor, of as many threads as torch has; images are dealt out to its streams.

    >>> network = Compiled(convert(nn.ReLU(), torch.rand(2, 3, 8, 8)))
    >>> network(np.ones((5, 3, 8, 8), np.float32))[0].shape
    (5, 3, 8, 8)
    """

    def __init__(self, network: Any, precision: str | None = None, *, whole: bool = False) -> None:
        self.threads, self.lock, self.whole = torch_threads.count(), Lock(), whole  # whole: a batch is not dealt out
        self.how = {} if precision is None else {"INFERENCE_PRECISION_HINT": precision}
        if isinstance(network, bytes):
            self.returned = 1  # whole networks alone are kept
            self._load(get_core().import_model(network, "CPU", self._settings()))
            return
        self.returned = len(network.outputs)
        if precision == "bf16":
            keep_sums_precise(network)
        self._load(get_core().compile_model(network, "CPU", self._settings()))

    def __call__(self, *inputs: Array) -> list[Array]:
        """Return all outputs."""
        return self.submit(*inputs)()

    def submit(self, *inputs: Array, beside: Sequence[Array] = ()) -> Callable[[], list[Array]]:
        """Submit a batch, and return what waits for all outputs; `inputs` must stay as they are until then.

        One input, with a row an image, is dealt out; what is `beside` it goes with each share, dealt out too where it has a
        row an image. A second batch may be submitted before the first is waited for.
        """
        torch_threads.use_one()
        with self.lock:
            if self.threads != torch_threads.count():
                self.threads = torch_threads.count()
                self._load(get_core().import_model(self.export(), "CPU", self._settings()))
            free, parts = self.free, min(self.streams, len(inputs[0])) if len(inputs) == 1 and not self.whole else 1
            dealt = deal_out(inputs[0], (*inputs[1:], *beside), parts)
            requests = [free.pop() if free else self.network.create_infer_request() for _ in dealt]
        for request, share in zip(requests, dealt, strict=True):
            request.start_async(dict(enumerate(share)), share_inputs=True)

        def wait(_given: Any = dealt) -> list[Array]:
            found = []
            for request in requests:
                try:
                    request.wait()
                except RuntimeError:
                    self.threads = 0  # it is made anew: what failed once on a shape fails on all others too
                    raise
                found.append([each.data for each in request.output_tensors[: self.returned]])
            together = zip(*found, strict=True)
            copied: list[Array] = [rows[0].copy() if len(rows) == 1 else np.concatenate(rows) for rows in together]
            free.extend(requests)  # one that failed is not used again
            return copied

        return wait

    def export(self) -> bytes:
        """Export the compiled network as bytes; they are good for this processor and this version."""
        made: Any = self.network.export_model()
        return made if isinstance(made, bytes) else bytes(made.getvalue())

    def _settings(self) -> dict[str, Any]:
        # Pinned threads of several processes would sit on the same cores.
        settings = {"PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_NUM_THREADS": self.threads, "ENABLE_CPU_PINNING": False}
        return settings | self.how

    def _load(self, network: Any) -> None:
        self.network, self.free = network, list[Any]()
        self.streams = network.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")
