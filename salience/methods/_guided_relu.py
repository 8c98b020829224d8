"""Clip gradients at ReLUs: before one, only positive gradients are passed on.

Calls are intercepted, not modules: a ReLU is recognised as a module, a function or a method, in place or not, used
twice or once, in a network of modules or one that was exported. Nothing is written to the network, so nothing has to be
restored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode

RELUS = {"relu", "relu_", "relu6"}
CLAMPS = {"hardtanh", "hardtanh_", "clamp", "clamp_", "clamp_min", "clamp_min_"}  # a ReLU, if they clamp at 0


class GuidedRelu(TorchFunctionMode):
    """Inside the `with`, a gradient that reaches a ReLU's output goes on without its negative part."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0  # ReLUs so far

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run the call, and hook what a ReLU gives."""
        named = kwargs or {}
        out = func(*args, **named)
        if is_relu(func, args, named) and out.requires_grad:
            self.count += 1
            out.register_hook(keep_positive)
        return out


def is_relu(func: Callable[..., Any], args: tuple[Any, ...], named: Mapping[str, Any]) -> bool:
    """Say whether a call is a ReLU, with or without a ceiling."""
    name = getattr(func, "__name__", "").partition(".")[0]  # an exported network says relu.default
    if name in CLAMPS:
        floor = args[1] if len(args) > 1 else named.get("min_val", named.get("min"))
        return isinstance(floor, (int, float)) and floor == 0
    return name in RELUS


def keep_positive(gradient: Tensor) -> Tensor:
    """Set negative gradients to 0."""
    return gradient.clamp(min=0)
