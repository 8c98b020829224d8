"""Read a torch module's inner activations. Hooks live only inside the `with`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from salience.errors import BoxError, UnknownName

Hook = Callable[[nn.Module, Any, Any], Any]


@contextmanager
def tap(module: nn.Module, layers: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """Collect what the named layers put out, keyed by name; of a layer that runs twice, the last time."""
    named = dict(module.named_modules())
    for layer in layers:
        if layer not in named:
            raise UnknownName.of("layer", layer, [name for name in named if name])
    seen: dict[str, Tensor] = {}
    handles = [named[layer].register_forward_hook(_keep(seen, layer)) for layer in layers]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def _keep(seen: dict[str, Tensor], layer: str) -> Hook:
    def hook(_module: nn.Module, _inputs: Any, output: Any) -> Any:
        value = _first(output)
        if value is None:
            return None
        seen[layer] = value
        onward = value.clone()  # what follows may write in place, as many a ReLU does
        return onward if output is value else _with_first(output, onward)

    return hook


def _first(output: Any) -> Tensor | None:
    value = output[0] if isinstance(output, (tuple, list)) and output else output
    return value if isinstance(value, torch.Tensor) else None


def _with_first(output: Any, value: Tensor) -> Any:
    make = getattr(type(output), "_make", type(output))  # a named tuple is made otherwise than a tuple
    return make([value, *output[1:]])


def maps(output: Tensor, size: tuple[int, int]) -> Float[Tensor, "n c y x"] | None:
    """View a layer's output as feature maps, or None where it has none.

    Handles (n c y x), channels-last (n y x c), and tokens (n t c) with any number of prefix tokens in front of a grid
    in the proportions of the image.
    """
    if output.ndim == 4:
        _, one, two, three = output.shape
        if one * size[1] == two * size[0] and one > 1 and two * size[1] != three * size[0]:
            return output.permute(0, 3, 1, 2)
        fits = abs(two * size[1] - three * size[0]) <= max(size)  # else it is (n heads tokens c) and the like
        return output if fits else None
    if output.ndim != 3:
        return None
    for slack in (0, max(size)):  # sides that the patch does not divide give grids a row or column off
        for prefix in range(17):
            tokens = output.shape[1] - prefix
            rows = round(math.sqrt(max(tokens, 0) * size[0] / size[1]))
            if rows > 1 and tokens % rows == 0 and abs(tokens // rows * size[0] - rows * size[1]) <= slack:
                grid = output[:, prefix:]
                return grid.reshape(len(grid), rows, tokens // rows, -1).permute(0, 3, 1, 2)
    return None


def survey(module: nn.Module, run: Callable[[], object], size: tuple[int, int]) -> tuple[str, ...]:
    """Find the layers worth looking at by running once: the last at each resolution, or for tokens four blocks evenly.

    `run` is called without arguments and must push an image through `module`.
    """
    order: list[tuple[str, tuple[int, int], bool]] = []
    handles = []
    for name, inner in module.named_modules():
        if name and not isinstance(inner, nn.Dropout):
            handles.append(inner.register_forward_hook(_note(order, name, size)))
    try:
        run()
    finally:
        for handle in handles:
            handle.remove()
    grids = [(name, grid, tokens) for name, grid, tokens in order if min(grid) > 1]
    if not grids:
        raise BoxError("expected layers with feature maps in the box, got none: take a convolutional network or a ViT")
    if all(tokens for _, _, tokens in grids[len(grids) // 2 :]):
        blocks = [name for name, _, tokens in grids if tokens and name.split(".")[-1].isdigit()]
        blocks = blocks or [name for name, _, tokens in grids if tokens]
        return tuple(dict.fromkeys(blocks[math.ceil(len(blocks) * part / 4) - 1] for part in (1, 2, 3, 4)))
    last = {grid: name for name, grid, _ in grids}
    return tuple(name for _, name in sorted(last.items(), key=lambda item: -item[0][0] * item[0][1]))


def _note(order: list[tuple[str, tuple[int, int], bool]], name: str, size: tuple[int, int]) -> Hook:
    def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
        value = _first(output)
        seen = None if value is None else maps(value, size)
        if value is not None and seen is not None:
            order.append((name, (seen.shape[-2], seen.shape[-1]), value.ndim == 3))

    return hook
