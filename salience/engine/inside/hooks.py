"""Record, or replace, a torch module's inner activations. Hooks exist only inside the `with`.

A *layer* is the output of a named module (`layer3`), or its input (`layer3:in`), where no module's output is the tensor
in question.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from threading import local
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from salience.engine.query.one_pass import take_turn
from salience.errors import BoxError, NoGradientsError, SettingError, UnknownName

Change = Callable[[Tensor], Tensor]
INPUT = ":in"
PARALLEL = (nn.DataParallel, nn.parallel.DistributedDataParallel)
NO_GRADIENTS = (
    "expected a network that gives gradients, got scores that torch cannot differentiate (it computes in inference mode or "
    "without gradients, or is quantised): choose a method that needs only scores, such as rise, occlusion or recipro-cam"
)


class Recorded(local, MutableMapping[str, Tensor]):
    """The tensors that layers gave in the last pass of this thread, by name: lots are passed side by side.

    >>> len(Recorded())
    0
    """

    def __init__(self) -> None:
        self.tensors: dict[str, Tensor] = {}

    def __getitem__(self, layer: str) -> Tensor:
        return self.tensors[layer]

    def __setitem__(self, layer: str, value: Tensor) -> None:
        self.tensors[layer] = value

    def __delitem__(self, layer: str) -> None:
        del self.tensors[layer]

    def __iter__(self) -> Iterator[str]:
        return iter(self.tensors)

    def __len__(self) -> int:
        return len(self.tensors)


@contextmanager
def record_activations(
    module: nn.Module, layers: Sequence[str], change: Mapping[str, Change] | None = None, *, gradients: bool = False
) -> Iterator[Recorded]:
    """Collect the tensors at the named layers, keyed by name; of a layer that runs twice, the last one.

    `change` replaces a layer's tensor by a function of it. With `gradients`, gradients are recorded from the first layer
    on: what comes before it runs without.

    >>> module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU())
    >>> with record_activations(module, ["0"]) as recorded:
    ...     _ = module(torch.ones(1, 3, 8, 8))
    >>> recorded["0"].shape
    torch.Size([1, 8, 6, 6])
    """
    named = dict(module.named_modules())
    for layer in layers:
        if layer.removesuffix(INPUT) not in named or not layer:
            raise UnknownName.of("layer", layer, [name for name in named if name])
    with take_turn():
        yield from _record(named, layers, change or {}, gradients)


def _record(
    named: Mapping[str, nn.Module], layers: Sequence[str], change: Mapping[str, Change], gradients: bool
) -> Iterator[Recorded]:
    recorded = Recorded()
    handles: list[Any] = []
    try:
        for layer in layers:
            inner, replace = (
                named[layer.removesuffix(INPUT)],
                _make_hook(recorded, layer, change.get(layer), gradients),
            )
            if layer.endswith(INPUT):
                handles.append(inner.register_forward_pre_hook(_pre_hook(replace), with_kwargs=True))
            else:
                handles.append(inner.register_forward_hook(_forward_hook(replace)))
        yield recorded
    finally:
        for handle in handles:
            handle.remove()


def unwrap(module: nn.Module) -> nn.Module:
    """Take what `torch.compile` or a parallel wrapper was put around.

    >>> unwrap(nn.DataParallel(nn.ReLU()))
    ReLU()
    """
    inner = getattr(module, "_orig_mod", module)
    return inner.module if isinstance(inner, PARALLEL) else inner


def find_layer_name(module: nn.Module, layer: nn.Module) -> str:
    """Find the name of a layer that is given as a module.

    >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU())
    >>> find_layer_name(net, net[1])
    '1'
    """
    inner = unwrap(module)
    name = next((name for name, each in inner.named_modules() if each is layer), "")
    if not name:
        raise SettingError(
            f"expected a layer inside {type(inner).__name__}, got {type(layer).__name__} from elsewhere: give its name"
        )
    return name


def _make_hook(recorded: Recorded, layer: str, change: Change | None, gradients: bool) -> Change:
    def replace(value: Tensor) -> Tensor:
        if gradients and (value.is_inference() or not (value.is_floating_point() or value.is_complex())):
            raise NoGradientsError(NO_GRADIENTS)
        if gradients:
            torch.set_grad_enabled(True)  # the caller of the module restores the mode
            value = value if value.requires_grad else value.detach().requires_grad_()
        recorded[layer] = value
        return value.clone() if change is None else change(value)  # the next module may write in place, as many a ReLU does

    return replace


def _forward_hook(replace: Change) -> Callable[[nn.Module, Any, Any], Any]:
    def hook(_module: nn.Module, _inputs: Any, output: Any) -> Any:
        value = first_tensor(output)
        if value is None:
            return None
        replaced = replace(value)
        return replaced if output is value else _replace_first(output, replaced)

    return hook


def _pre_hook(replace: Change) -> Callable[[nn.Module, Any, Any], Any]:
    def hook(_module: nn.Module, inputs: Any, named: Any) -> Any:
        value = first_tensor(inputs)
        if value is not None:
            return (replace(value), *inputs[1:]), named
        key = next((key for key, each in named.items() if isinstance(each, torch.Tensor)), None)
        return None if key is None else (inputs, {**named, key: replace(named[key])})

    return hook


def first_tensor(output: Any) -> Tensor | None:
    """Return the tensor that a module passes on: its output, or the first part of it.

    >>> first_tensor((torch.ones(2), None))
    tensor([1., 1.])
    """
    value = output[0] if isinstance(output, (tuple, list)) and output else output
    if isinstance(value, torch.Tensor):
        return value
    value = getattr(output, "last_hidden_state", None)  # transformers' outputs
    return value if isinstance(value, torch.Tensor) else None


def _replace_first(output: Any, value: Tensor) -> Any:
    if not isinstance(output, (tuple, list)):
        return type(output)(**{**output, "last_hidden_state": value})
    make = getattr(type(output), "_make", type(output))  # a named tuple is made otherwise than a tuple
    return make([value, *output[1:]])


def as_feature_maps(output: Tensor, size: tuple[int, int]) -> Float[Tensor, "n c y x"] | None:
    """View a layer's output as feature maps, or None where it has none.

    Handles (n c y x), channels-last (n y x c), and tokens (n t c) with any number of prefix tokens in front of a grid
    in the proportions of the image.

    >>> as_feature_maps(torch.ones(1, 197, 768), (224, 224)).shape  # tokens of a ViT-B/16
    torch.Size([1, 768, 14, 14])
    """
    output = output.dequantize() if output.is_quantized else output
    if output.ndim == 4:
        return output.permute(0, 3, 1, 2) if is_channels_last(output, size) else output if _fits(output, size) else None
    found = find_token_grid(output, size)
    if found is None:
        return None
    prefix, rows, columns = found
    return output[:, prefix:].reshape(len(output), rows, columns, -1).permute(0, 3, 1, 2)


def expect_ran(layer: str, output: Tensor | None) -> Tensor:
    """Return what the layer put out; BoxError when it did not run.

    >>> expect_ran("layer5", None)
    Traceback (most recent call last):
    salience.errors.BoxError: expected layer 'layer5' to run, got nothing from it: choose another layer
    """
    if output is None:
        raise BoxError(f"expected layer {layer!r} to run, got nothing from it: choose another layer")
    return output


def expect_maps(layer: str, output: Tensor | None, size: tuple[int, int]) -> Float[Tensor, "n c y x"]:
    """View what the layer put out as feature maps; BoxError when it has none.

    >>> expect_maps("head", torch.ones(1, 1000), (224, 224))
    Traceback (most recent call last):
    salience.errors.BoxError: expected feature maps at layer 'head', got shape (1, 1000): choose another layer
    """
    found = as_feature_maps(expect_ran(layer, output), size)
    if found is None:
        shape = tuple(expect_ran(layer, output).shape)
        raise BoxError(f"expected feature maps at layer {layer!r}, got shape {shape}: choose another layer")
    return found


def from_feature_maps(features: Float[Tensor, "m c y x"], output: Tensor, size: tuple[int, int]) -> Tensor:
    """Lay feature maps out again as `output` was, with its prefix tokens.

    >>> from_feature_maps(torch.ones(1, 768, 14, 14), torch.ones(1, 197, 768), (224, 224)).shape
    torch.Size([1, 197, 768])
    """
    if output.is_quantized:
        values = from_feature_maps(features, output.dequantize(), size)
        return torch.quantize_per_tensor(values.float(), output.q_scale(), output.q_zero_point(), output.dtype)
    if output.ndim == 4:
        return (features.permute(0, 2, 3, 1) if is_channels_last(output, size) else features).to(output)
    prefix, _, _ = find_token_grid(output, size) or (0, 0, 0)
    front = output[:1, :prefix].expand(len(features), -1, -1)
    return torch.cat([front, features.flatten(2).mT.to(output)], dim=1)


def is_channels_last(output: Float[Tensor, "_ _ _ _"], size: tuple[int, int]) -> bool:
    """Say whether a layer's output is (n y x c): its second and third sides have the image's proportions.

    >>> is_channels_last(torch.ones(1, 7, 7, 512), (224, 224))
    True
    """
    _, one, two, three = output.shape
    return one * size[1] == two * size[0] and one > 1 and two * size[1] != three * size[0]


def _fits(output: Tensor, size: tuple[int, int]) -> bool:
    return abs(output.shape[2] * size[1] - output.shape[3] * size[0]) <= max(size)  # else (n heads tokens c) and the like


def find_token_grid(output: Tensor, size: tuple[int, int]) -> tuple[int, int, int] | None:
    """Find how many tokens of (n t c) stand in front of the grid, and its rows and columns.

    >>> find_token_grid(torch.ones(1, 197, 768), (224, 224))  # a class token, then 14 by 14
    (1, 14, 14)
    """
    if output.ndim != 3:
        return None
    for tolerance in (0, max(size)):  # sides that the patch does not divide give grids a row or column off
        for prefix in range(17):
            tokens = output.shape[1] - prefix
            rows = round(math.sqrt(max(tokens, 0) * size[0] / size[1]))
            if rows > 1 and tokens % rows == 0 and abs(tokens // rows * size[0] - rows * size[1]) <= tolerance:
                return prefix, rows, tokens // rows
    return None
