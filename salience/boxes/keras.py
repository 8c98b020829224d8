"""`keras:FILE.keras`: a Keras 3 model on its torch backend, so that its layers and gradients are torch's."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from salience.boxes import torch
from salience.boxes._recognise import comes_from
from salience.boxes.torch import TorchBox
from salience.errors import BoxError
from salience.types import Head

LEAST = 1e-30  # a probability whose logarithm is taken


class Keras(nn.Module):
    """A Keras model as a torch module: channels first, layers known by name, an answer in logits.

    Where the model ends in a softmax or a sigmoid, that is undone: logits are log p, or log p − log (1 − p).

    >>> from types import SimpleNamespace
    >>> layer = nn.Softmax(1)
    >>> layer.name = "answer"
    >>> model = SimpleNamespace(layers=[layer], input_shape=(None, 8, 8, 3), output_shape=(None, 10))
    >>> Keras(model).describe()
    {'head': 'softmax', 'channels': 3, 'size': (8, 8)}
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model, self.last = model, model.input_shape[-1] in (1, 3)
        for layer in _layers(model):  # Keras does not tell torch of them
            self.add_module(layer.name.replace(".", "_"), layer)
        end = model.layers[-1]
        self.end = getattr(getattr(end, "activation", None), "__name__", type(end).__name__).lower()

    def forward(self, images: Float[Tensor, "n _ h w"]) -> Tensor:
        """Return logits."""
        found: Tensor = self.model(images.permute(0, 2, 3, 1) if self.last else images, training=False)
        if self.end == "softmax":
            return found.clamp(min=LEAST).log()
        return found.logit(eps=1e-7) if self.end == "sigmoid" else found

    def describe(self) -> dict[str, Any]:
        """Say what the model says of itself: what its logits are of, and the size and colours of its images."""
        one = self.model.output_shape[-1] == 1
        head: Head = "binary" if one else "sigmoid" if self.end == "sigmoid" else "softmax"
        shape = self.model.input_shape[1:] if self.last else (*self.model.input_shape[2:], self.model.input_shape[1])
        return {"head": head, "channels": shape[2]} | ({"size": shape[:2]} if all(shape[:2]) else {})


def recognises(thing: Any, _options: Mapping[str, Any]) -> bool:
    """Say whether it is a model of Keras."""
    return comes_from(thing, "keras")


def wrap(model: Any, *, classes: Sequence[str] | None = None, name: str = "", **options: Any) -> TorchBox:
    """Make a box of a model; options are those of a torch module, and win over what the model says of itself."""
    module = Keras(model)
    return torch.wrap(module, classes=classes, name=name, **module.describe() | options)


def load(name: str, **options: Any) -> TorchBox:
    """Load the file; options are those of a torch module. Pixels are given in 0…1: `std=0.00392157` makes it 0…255."""
    if "keras" not in sys.modules:
        os.environ.setdefault("KERAS_BACKEND", "torch")
    try:
        import keras
    except ImportError as problem:
        raise BoxError("expected the package keras for keras: boxes, got none: install keras") from problem
    if keras.config.backend() != "torch":
        raise BoxError(f"expected Keras on torch, got {keras.config.backend()}: set KERAS_BACKEND=torch, or give a function")
    try:
        model = keras.saving.load_model(name)
    except Exception as problem:
        reason = " ".join(str(problem).split())[:200]
        raise BoxError(f"expected a Keras model in {name}, got {reason}: save it with model.save('net.keras')") from problem
    return wrap(model, name=name, **options)


def _layers(model: Any) -> Iterator[Any]:
    """Yield the layers, those of models inside too."""
    for layer in model.layers:
        yield layer
        if hasattr(layer, "layers"):
            yield from _layers(layer)
