"""A plain function as a box. It may take numpy HWC or torch NCHW, and may live behind anything."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from salience.boxes._hash import hash_value
from salience.boxes._options import split_options
from salience.errors import BoxError, SettingError
from salience.picture import Preparation
from salience.types import BlackBox, Images


class FunctionBox(BlackBox):
    """A function from a batch of images to scores.

    `takes` says which batch: "torch" `(n 3 h w)` float32 in 0…1, "numpy" `(n h w 3)` float32 in 0…1, or "uint8"
    `(n h w 3)` uint8. It is never guessed. The function does its own normalisation and returns probabilities.
    """

    def __init__(
        self,
        function: Callable[[Any], Any],
        preparation: Preparation,
        classes: Sequence[str],
        *,
        takes: Literal["torch", "numpy", "uint8"] = "numpy",
        name: str = "",
        mean: tuple[float, ...] = (0.5, 0.5, 0.5),
    ) -> None:
        if takes not in ("torch", "numpy", "uint8"):
            raise SettingError(f"expected takes as 'torch', 'numpy' or 'uint8', got {takes!r}")
        self.function, self.preparation, self.takes = function, preparation, takes
        self.classes, self.size, self.mean = tuple(classes), preparation.size, mean
        self.name = name or getattr(function, "__name__", type(function).__name__)

    @property
    def fingerprint(self) -> str:
        """A hash of the function, with all that it closes over and reads by name, and of what it takes and answers."""
        about = (self.name, self.takes, self.classes, self.preparation, self._hash)
        return hashlib.sha256(repr(about).encode()).hexdigest()[:16]

    @cached_property
    def _hash(self) -> str:
        """A hash of the function as it was when it became a box: what it counts or caches later is not what it answers."""
        return hash_value(self.function)

    def __call__(self, images: Images) -> Float[Tensor, "*scores"]:
        """Hand a copy to the function, so that it may write into its argument, and read its scores."""
        given: Any = images.detach().clone()
        if self.takes != "torch":
            given = np.ascontiguousarray(given.permute(0, 2, 3, 1).float().numpy())
            if self.takes == "uint8":
                given = (given * 255).round().astype(np.uint8)
        with torch.no_grad():
            scores = self.function(given)
        try:  # a copy, for an array may be read-only
            found = scores if isinstance(scores, torch.Tensor) else torch.from_numpy(np.array(scores))
            return found.detach().cpu().to(images.dtype)
        except (TypeError, ValueError, RuntimeError) as problem:
            raise BoxError(f"expected an array of scores from {self.name}, got {type(scores).__name__}") from problem

    def __repr__(self) -> str:
        return f"<box {self.name}: {len(self.classes)} classes, takes {self.takes}, {self.preparation}>"


def recognises(thing: Any, _options: Mapping[str, Any]) -> bool:
    """Say whether it can be called."""
    return callable(thing)


def wrap(function: Any, *, classes: Sequence[str] | None = None, **options: Any) -> FunctionBox:
    """Make a box of a function. `size` is needed; `classes` too, unless one pass over a grey image may count them."""
    mean = options.pop("mean", None)
    ready, rest = split_options(None, options if mean is None else options | {"mean": mean})
    colours = ready.mean if mean is not None else (0.5, 0.5, 0.5)
    box = FunctionBox(function, Preparation(ready.size, ready.resize, ready.filter), classes or (), mean=colours, **rest)
    _ = box._hash  # noqa: SLF001  # before the function is called for the first time
    if classes is None:
        try:
            scores = box(torch.full((1, 3, *ready.size), 0.5))
        except Exception as problem:
            raise BoxError(
                f"expected {box.name} to score a grey image, got {type(problem).__name__}: {problem}"
            ) from problem
        if scores.ndim != 2:
            raise BoxError(f"expected scores of shape (n classes) from {box.name}, got {tuple(scores.shape)}")
        box.classes = tuple(f"class {index}" for index in range(scores.shape[1]))
    return box


def load(name: str, **_options: Any) -> Any:
    """Functions are given as objects, or by `py:module:attribute`."""
    raise BoxError(f"expected a function object, got the text {name!r}: write py:module:attribute")
