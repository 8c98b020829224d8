"""Read a torch module's inner activations. Hooks live only inside the `with`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor, nn

from salience.errors import BoxError, UnknownName


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


def _keep(seen: dict[str, Tensor], layer: str):  # type: ignore[no-untyped-def]  # torch types its hooks loosely
    def hook(_module: nn.Module, _inputs: object, output: object) -> None:
        value = output[0] if isinstance(output, (tuple, list)) and output else output
        if isinstance(value, torch.Tensor):
            seen[layer] = value

    return hook


def maps(output: Tensor, size: tuple[int, int]) -> Float[Tensor, "n c y x"] | None:
    """View a layer's output as feature maps, or None where it has none.

    Handles (n c y x), channels-last (n y x c), and tokens (n t c) with any number of prefix tokens in front of a grid
    in the proportions of the image.
    """
    if output.ndim == 4:
        _, one, two, three = output.shape
        if one * size[1] == two * size[0] and one > 1 and two * size[1] != three * size[0]:
            return output.permute(0, 3, 1, 2)
        return output
    if output.ndim != 3:
        return None
    for prefix in range(17):
        tokens = output.shape[1] - prefix
        rows = round(math.sqrt(max(tokens, 0) * size[0] / size[1]))
        if rows > 1 and tokens % rows == 0 and abs(tokens // rows * size[0] - rows * size[1]) <= max(size):
            grid = output[:, prefix:].unflatten(1, (rows, tokens // rows))
            return grid.permute(0, 3, 1, 2)
    return None


def survey(module: nn.Module, run: object, size: tuple[int, int]) -> tuple[str, ...]:
    """Find the layers worth looking at by running once: the last at each resolution, or for tokens four blocks evenly.

    `run` is called without arguments and must push an image through `module`.
    """
    order: list[tuple[str, tuple[int, int], bool]] = []
    handles = []
    for name, inner in module.named_modules():
        if name and not isinstance(inner, nn.Dropout):
            handles.append(inner.register_forward_hook(_note(order, name, size)))
    try:
        run()  # type: ignore[operator]  # any callable without arguments
    finally:
        for handle in handles:
            handle.remove()
    grids = [(name, grid, tokens) for name, grid, tokens in order if min(grid) > 1]
    if not grids:
        raise BoxError("expected layers with feature maps in the box, got none: this method needs a convolutional network or a vision transformer")
    if all(tokens for _, _, tokens in grids[len(grids) // 2 :]):
        blocks = [name for name, _, tokens in grids if tokens and name.split(".")[-1].isdigit()]
        blocks = blocks or [name for name, _, tokens in grids if tokens]
        return tuple(dict.fromkeys(blocks[math.ceil(len(blocks) * part / 4) - 1] for part in (1, 2, 3, 4)))
    last: dict[tuple[int, int], str] = {}
    for name, grid, _ in grids:
        last[grid] = name
    return tuple(name for _, name in sorted(last.items(), key=lambda item: -item[0][0] * item[0][1]))


def _note(order: list[tuple[str, tuple[int, int], bool]], name: str, size: tuple[int, int]):  # type: ignore[no-untyped-def]  # as above
    def hook(_module: nn.Module, _inputs: object, output: object) -> None:
        value = output[0] if isinstance(output, (tuple, list)) and output else output
        if isinstance(value, torch.Tensor):
            seen = maps(value, size)
            if seen is not None:
                order.append((name, (seen.shape[-2], seen.shape[-1]), value.ndim == 3))

    return hook
