"""`keras:FILE.keras`: a Keras 3 model on its torch backend, so that its layers and gradients are torch's."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from salience.boxes import torch
from salience.boxes._recognise import comes_from
from salience.boxes.torch import TorchBox
from salience.errors import BoxError


class Keras(nn.Module):
    """A Keras model as a torch module: channels first, layers known by name.

    >>> from types import SimpleNamespace
    >>> layer = nn.Softmax(1)
    >>> layer.name = "answer"
    >>> model = SimpleNamespace(layers=[layer], input_shape=(None, 8, 8, 3), output_shape=(None, 10))
    >>> Keras(model).describe()
    {'channels': 3, 'size': (8, 8)}
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model, self.shape = model, find_shape(model)
        self.last = _has_channels_last(model)
        for layer in _layers(model):  # Keras does not tell torch of them
            self.add_module(layer.name.replace(".", "_"), layer)

    def forward(self, images: Float[Tensor, "n _ h w"]) -> Any:
        """Return what the model puts out."""
        return self.model(images.permute(0, 2, 3, 1) if self.last else images, training=False)

    def describe(self) -> dict[str, Any]:
        """Say what the model says of itself: the size and the channels of its images."""
        if self.shape is None:
            return {}
        *size, channels = self.shape if self.last else (*self.shape[1:], self.shape[0])
        return ({"channels": channels} if channels else {}) | ({"size": tuple(size)} if all(size) else {})


def find_shape(model: Any) -> tuple[int | None, ...] | None:
    """Return the shape of a model's images; None where it was not built, BoxError where it takes something else.

    >>> from types import SimpleNamespace
    >>> find_shape(SimpleNamespace(input_shape=(None, 8, 8, 3)))
    (8, 8, 3)
    """
    try:
        shape = model.input_shape
    except (AttributeError, ValueError):  # it was not called yet
        return None
    if isinstance(shape, (list, dict)) and len(shape) == 1:
        (shape,) = shape.values() if isinstance(shape, dict) else shape
    if isinstance(shape, (list, dict)) or (isinstance(shape, tuple) and shape and isinstance(shape[0], tuple)):
        raise BoxError(
            f"expected a Keras model with one input, the images, got one with {len(shape)}: "
            "make a model of the images alone, with the others held fixed"
        )
    if shape is not None and len(shape) != 4:
        raise BoxError(f"expected a Keras model of images (height width channels), got one of shape {tuple(shape[1:])}")
    return None if shape is None else tuple(shape[1:])


def _has_channels_last(model: Any) -> bool:
    """Say whether images are (h w c): as the first layer that says so has it, else as Keras has it by default."""
    said = next((each.data_format for each in _layers(model) if getattr(each, "data_format", None)), "channels_last")
    return bool(said != "channels_first")


def recognises(thing: Any, _options: Mapping[str, Any]) -> bool:
    """Say whether it is a model of Keras."""
    return comes_from(thing, "keras")


def wrap(model: Any, *, classes: Any = None, name: str = "", **options: Any) -> TorchBox:
    """Make a box of a model; options are those of a torch module, and win over what the model says of itself."""
    module = Keras(model)
    described = {key: value for key, value in module.describe().items() if key not in options}
    return torch.make_box(
        module,
        None,
        described | options,
        given=options,
        classes=classes,
        name=name or getattr(model, "name", ""),
        published=dict.fromkeys(described, "the model"),
    )


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
