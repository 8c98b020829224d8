"""Layers of eight-bit numbers: what each number stands for, and which number stands for a value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Shaped

Array = Shaped[np.ndarray, "..."]

# Where an operator of whole numbers has the scale of what it makes, among its inputs; the zero point is the next.
SCALES = {
    "QuantizeLinear": 1,
    "QLinearConv": 6,
    "QLinearMatMul": 6,
    "QLinearAdd": 6,
    "QLinearMul": 6,
    "QGemm": 7,
    "QLinearWhere": 7,
    "QLinearConcat": 0,
    "QLinearGlobalAveragePool": 3,
    "QLinearAveragePool": 3,
    "QLinearLeakyRelu": 3,
    "QLinearReduceMean": 3,
    "QLinearSigmoid": 3,
    "QLinearSoftmax": 3,
}
# What leaves numbers as they are, or picks some of them.
PASSING = (
    *("MaxPool", "Relu", "Clip", "Resize", "Pad", "Concat", "Expand", "Slice", "Gather", "Split"),
    *("Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Identity", "DepthToSpace", "SpaceToDepth"),
)


@dataclass(frozen=True)
class Quantisation:
    """A number q stands for (q − zero) · scale.

    >>> held = Quantisation(np.array(0.5), np.array(10, np.uint8))
    >>> held.read(np.array([10, 12], np.uint8)), held.write(np.array([0.0, 1.0]))
    (array([0., 1.], dtype=float32), array([10, 12], dtype=uint8))
    """

    scale: Array  # one for all, or one a channel
    zero: Array

    def read(self, numbers: Array) -> Array:
        """Return what numbers stand for."""
        scale, zero = self._spread(numbers.ndim)
        found: Array = (numbers.astype(np.float32) - zero) * scale
        return found

    def write(self, values: Array) -> Array:
        """Return the numbers that stand for values; what is beyond the first or the last becomes that."""
        scale, zero = self._spread(values.ndim)
        kind = np.asarray(self.zero).dtype
        bounds = np.iinfo(kind)
        found: Array = (np.rint(values / scale) + zero).clip(bounds.min, bounds.max).astype(kind)
        return found

    def _spread(self, axes: int) -> tuple[Array, Array]:
        """Lay scale and zero point out along the channels."""
        shape = (-1, *(1,) * (axes - 2)) if np.size(self.scale) > 1 else ()
        scale, zero = (np.asarray(each, np.float32).reshape(shape) for each in (self.scale, self.zero))
        return scale, zero


def find_quantisation(makers: Mapping[str, Any], constants: Mapping[str, Array], tensor: str) -> Quantisation | None:
    """Find what the numbers of a tensor stand for: its maker says so, or what it was picked from; None for plain numbers.

    `makers` are ONNX's nodes by what they make.
    """
    node = makers.get(tensor)
    while node is not None and node.op_type in PASSING and node.input:
        node = makers.get(node.input[0])
    at = None if node is None else SCALES.get(node.op_type)
    if node is None or at is None or len(node.input) <= at or node.input[at] not in constants:
        return None
    zero = node.input[at + 1] if len(node.input) > at + 1 else ""
    return Quantisation(constants[node.input[at]], constants.get(zero, np.zeros((), np.uint8)))
