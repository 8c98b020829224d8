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

from salience.boxes import _inspect
from salience.boxes._hash import hash_value
from salience.boxes._names import read_class_names
from salience.boxes._options import read_options, split_options
from salience.boxes._stranger import Stranger
from salience.errors import BoxError, SettingError
from salience.picture import Preparation
from salience.runtime.outputs import read_output
from salience.types import Head, Images

OPTIONS = ("takes", "name", "channels", "output", "batch")


class FunctionBox(Stranger):
    """A function from a batch of images to scores.

    `takes` says which batch: "torch" `(n c h w)` float32 in 0…1, "numpy" `(n h w c)` float32 in 0…1, or "uint8"
    `(n h w c)` uint8, with `channels` for c. It is never guessed. The function does its own normalisation and returns
    probabilities.
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
        channels: int = 3,
        output: str | None = None,
        batch: int | None = None,
    ) -> None:
        if takes not in ("torch", "numpy", "uint8"):
            raise SettingError(f"expected takes as 'torch', 'numpy' or 'uint8', got {takes!r}")
        self.function, self.preparation, self.takes = function, preparation, takes
        self.module: Any = function
        self.input_type: torch.dtype | None = None
        self._classes, self.size, self.mean = tuple(classes) or None, preparation.size, mean
        self.name = name or getattr(function, "__name__", type(function).__name__)
        self.channels, self.output, self.batch, self.met = channels, output, batch, False
        self.head: Head = "none"
        self.given = frozenset({"output"} if output else ())
        self.published = dict.fromkeys(("channels", "head", "normalisation"), "as a function says it")

    @property
    def fingerprint(self) -> str:
        """A hash of the function, with all that it closes over and reads by name, and of what it takes and answers."""
        about = (self.name, self.takes, self.classes, self.preparation, self._hash)
        return hashlib.sha256(repr((*about, self.output) if self.output else about).encode()).hexdigest()[:16]

    @cached_property
    def _hash(self) -> str:
        """A hash of the function as it was when it became a box: what it counts or caches later is not what it answers."""
        return hash_value(self.function)

    def __call__(self, images: Images) -> Float[Tensor, "*scores"]:
        """Hand a copy to the function, so that it may write into its argument, and read its scores."""
        if self.batch and len(images) > self.batch:
            return torch.cat([self(each) for each in images.split(self.batch)])
        scores = self._call(images)
        try:  # a copy, for an array may be read-only
            rows = read_output(_to_tensors(scores), self.output, len(images))
            return rows.detach().cpu().to(images.dtype, copy=True)  # the function may use its buffer again
        except (TypeError, ValueError, RuntimeError, BoxError) as problem:
            raise BoxError(f"expected an array of scores from {self.name}, got {type(scores).__name__}") from problem

    def _call(self, images: Images) -> Any:
        given: Any = images.detach().mean(1, keepdim=True) if self.channels == 1 else images.detach().clone()
        if self.takes != "torch":
            given = np.ascontiguousarray(given.permute(0, 2, 3, 1).float().numpy())
            if self.takes == "uint8":
                given = (given * 255).round().astype(np.uint8)
        with torch.no_grad():
            return self.function(given)

    def put_out(self, images: Images) -> Any:
        """Return all that the function answers for images in 0…1."""
        return _to_tensors(self._call(images))

    @property
    def classes(self) -> tuple[str, ...]:  # type: ignore[override]  # they are counted when it is met
        """The name of each class; numbered where nobody gave names."""
        return self._classes or ()

    def meet(self) -> None:
        """Find out what the function answers, once."""
        if not self.met:
            _inspect.meet(self)
            self.met = True

    def __repr__(self) -> str:
        return f"<box {self.name}: {len(self.classes)} classes, takes {self.takes}, {self.preparation}>"


def _to_tensors(answer: Any) -> Any:
    """Make tensors of arrays, lists of numbers and tables, in whatever they are held."""
    if isinstance(answer, torch.Tensor):
        return answer if answer.layout == torch.strided else answer.to_dense()
    if isinstance(answer, Mapping):
        return {key: _to_tensors(each) for key, each in answer.items()}
    if isinstance(answer, tuple) and any(hasattr(each, "shape") for each in answer):
        return tuple(map(_to_tensors, answer))
    try:
        found = np.array(answer)
        return torch.from_numpy(found.astype(np.float64) if found.dtype.kind in "iub" else found)
    except (TypeError, ValueError):
        return answer


def recognises(thing: Any, _options: Mapping[str, Any]) -> bool:
    """Say whether it can be called."""
    return callable(thing)


def wrap(function: Any, *, classes: Any = None, **options: Any) -> FunctionBox:
    """Make a box of a function. `size` is needed; classes are numbered where none are given.

    Options: `size`, `resize`, `filter`, `takes`, `mean` (what hidden pixels show), `channels`, `output`, `batch`.
    """
    mean = options.pop("mean", None)
    ready, rest = split_options(None, options if mean is None else options | {"mean": mean})
    colours = ready.mean if mean is not None else (0.5,) * int(options.get("channels", 3))
    prepared, chosen = Preparation(ready.size, ready.resize, ready.filter), read_options(rest, OPTIONS)
    if chosen.get("channels", 3) not in (1, 3):
        prepared = prepared.with_channels(chosen["channels"])
    box = FunctionBox(function, prepared, read_class_names(classes) or (), mean=colours, **chosen)
    _ = box._hash  # noqa: SLF001  # before the function is called for the first time
    if classes is None:
        box.meet()
    return box


def load(name: str, **_options: Any) -> Any:
    """Functions are given as objects, or by `py:module:attribute`."""
    raise BoxError(f"expected a function object, got the text {name!r}: write py:module:attribute")
