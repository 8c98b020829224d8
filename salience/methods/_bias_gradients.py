"""What each bias of a network adds to a score, place by place.

Calls are intercepted, not modules: a bias is recorded wherever a convolution, a linear layer or a batch norm runs, as a
module or a function, used twice or once. So is the ceiling of a ReLU6: where it is reached, the layer gives a constant,
which is a bias. Nothing is written to the network, so nothing has to be restored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from salience.engine.inside.hooks import as_feature_maps

BIASED = {"linear", "batch_norm", "relu6", "hardtanh"} | {
    f"conv{kind}{n}d" for kind in ("", "_transpose") for n in (1, 2, 3)
}

Fold = Callable[[Tensor], Tensor]
"""Maps what a layer's biases add (n c y x) to one small map an image (n y x)."""
Contributions = list[tuple[Tensor | None, Tensor]]
"""Of one call, for each backward pass: the small maps if it has places, and what each row adds."""


class BiasGradients(TorchFunctionMode):
    """Records, inside the `with`, what the biases add in a pass; maps are folded in the backward pass."""

    def __init__(self, size: tuple[int, int], fold: Fold) -> None:
        super().__init__()
        self.size, self.fold = size, fold
        self.calls: list[Contributions] = []
        self.differentiated = False  # whether this pass has been differentiated

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run the call, and hook what has a bias."""
        out = func(*args, **(kwargs or {}))
        name = getattr(func, "__name__", "").partition(".")[0].rstrip("_")  # an exported network says conv2d.default
        if name not in BIASED or not out.requires_grad:
            return out
        bias = _find_bias(name, out, args, kwargs or {}, functional_form=func is not functional.batch_norm)
        if bias is not None:
            if self.differentiated:  # a pass after gradients is the next one, also if the last one ran out of memory
                self.calls.clear()
                self.differentiated = False
            self.calls.append([])
            out.register_hook(self._make_hook(bias.detach(), self.calls[-1]))
        return out

    def _make_hook(self, bias: Tensor, records: Contributions) -> Callable[[Tensor], None]:
        def hook(gradient: Tensor) -> None:
            self.differentiated = True
            exact = gradient if gradient.dtype == torch.float64 else gradient.float()
            products = exact * bias.to(exact)
            places = as_feature_maps(products, self.size)
            small = None if places is None or min(places.shape[-2:]) < 2 else self.fold(places)
            records.append((small, products.flatten(1).sum(1)))

        return hook

    def iterate_contributions(self, batch: int) -> Iterator[tuple[Float[Tensor, "m y x"] | None, Float[Tensor, " m"]]]:
        """Yield for each call of a layer its small maps, and what it adds to each score."""
        for contributions in self.calls:
            if not contributions or len(contributions[0][1]) % batch:
                continue  # the score does not depend on it, or its rows are no images
            total = torch.cat([each.unflatten(0, (batch, -1)).sum(1) for _, each in contributions])
            # windows of tokens are no maps
            small = [each for each, _ in contributions if each is not None and len(each) == batch]
            yield torch.cat(small) if small else None, total


def _find_bias(
    name: str, out: Tensor, args: tuple[Any, ...], named: Mapping[str, Any], *, functional_form: bool
) -> Tensor | None:
    """Return the bias of a call, shaped to be multiplied with its output; None where it has none."""
    if name in {"relu6", "hardtanh"}:
        low, high = (
            (0.0, 6.0)
            if name == "relu6"
            else (_get_argument(args, named, 1, "min_val"), _get_argument(args, named, 2, "max_val"))
        )
        return (out >= high).to(out) * high if low == 0 and high is not None else None
    if name == "batch_norm":
        places = (3, 4, 1, 2) if functional_form else (1, 2, 3, 4)  # torch.batch_norm begins with the weight
        names = ("running_mean", "running_var", "weight", "bias")
        mean, variance, weight, bias = (_get_argument(args, named, *each) for each in zip(places, names, strict=True))
        if mean is not None and not _get_argument(args, named, 5, "training"):
            bias = _mean_shift(mean, variance, weight, _get_argument(args, named, 7, "eps")) + (0 if bias is None else bias)
        axes = out.ndim - 2
    else:
        bias = _get_argument(args, named, 2, "bias")
        axes = 0 if name == "linear" else _get_argument(args, named, 1, "weight").ndim - 2
    return None if bias is None else bias.reshape(-1, *[1] * axes)  # places come after channels


def _get_argument(args: tuple[Any, ...], named: Mapping[str, Any], place: int, name: str) -> Any:
    return args[place] if len(args) > place else named.get(name)


def _mean_shift(mean: Tensor, variance: Tensor, weight: Tensor | None, eps: float | None) -> Tensor:
    """Return the means that a batch norm takes away, as a bias."""
    exact = variance if variance.dtype == torch.float64 else variance.float()
    return -mean.to(exact) * (exact + (1e-5 if eps is None else eps)).rsqrt() * (1 if weight is None else weight)
