"""Any torch module as a box: its own preprocessing, its head, its class names, and the backend that its passes run in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import replace
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from salience.boxes._options import split_options
from salience.boxes._recognise import comes_from
from salience.boxes._reinitialise import list_weighted, reinitialise
from salience.engine.inside.gradients import differentiate
from salience.engine.inside.hooks import expect_maps, from_feature_maps, record_activations
from salience.engine.inside.layers import find_layers
from salience.picture import Preparation
from salience.runtime import backends, heads
from salience.runtime.module import FromPixels, find_logits, find_weight_dtype, hash_weights, load_saved, run_eagerly
from salience.runtime.torch import TorchRuntime
from salience.types import (
    ActivationsAndGradients,
    Features,
    Head,
    Images,
    LayerInfo,
    OpenBox,
    Probabilities,
    Scale,
    Target,
    TrainableBox,
)


class TorchBox(TorchRuntime, OpenBox, TrainableBox):
    """A torch module that classifies images.

    `head` says what the module puts out: "softmax" and "sigmoid" (many labels) logits, "binary" one logit (two
    classes, the second is the logit's), "none" scores that are used as they are. `backend` is "exact", "torch
    channels-last", "torch bfloat16" (float16 on a GPU), "openvino" or "openvino bfloat16" (the module compiled for a CPU,
    where the package is installed), or "auto": the fastest of these whose scores agree with exact on a check batch. And
    "torch compile", "torch compile bfloat16" (float16), which nobody checks and which take long to make.

    The module is in eval mode during a call only; its modes, gradients, hooks and the process's random state are
    afterwards as they were, also after an error.
    """

    def __init__(
        self,
        module: nn.Module,
        preparation: Preparation,
        classes: Sequence[str] | None = None,
        *,
        head: Head = "softmax",
        name: str = "",
        backend: str = "auto",
        channels: int = 3,
    ) -> None:
        heads.expect_head(head)
        self.module, self.preparation, self.head = module, preparation, head
        self.name, self.channels = name or type(module).__name__, channels
        self.size, self.mean = preparation.size, preparation.mean
        if preparation.source == "given" and preparation.mean == (0.0, 0.0, 0.0):
            self.mean = (0.5, 0.5, 0.5)  # without a normalisation black is not the mean
        self.backend = backends.resolve_backend(backend, backends.list_all_backends(self.device))
        self.backend_chosen = backend != "auto" or find_weight_dtype(self.module) != torch.float32
        self.check: dict[str, Any] = {}  # what `choose_backend` found
        self._layer_info: LayerInfo | None = None
        self._classes = None if classes is None else tuple(classes)

    @cached_property
    def classes(self) -> tuple[str, ...]:  # type: ignore[override]  # they are counted when they are first asked for
        """The name of each class; numbered where nobody gave names."""
        if self._classes is not None:
            return self._classes
        with torch.no_grad():
            count = self._activate(self._run(torch.zeros(1, 3, *self.size, device=self.device), "exact")).shape[1]
        return tuple(f"class {index}" for index in range(count))

    @property
    def fingerprint(self) -> str:
        """A hash of weights, head and preprocessing; computed anew when a weight was written to."""
        state = self.module.state_dict(keep_vars=True)
        version = tuple((key, value.data_ptr(), value._version) for key, value in state.items())  # noqa: SLF001  # the only sign of a write in place
        if getattr(self, "_stamp", None) != version:
            about = repr((self.head, replace(self.preparation, source=""), self.channels))
            self._stamp, self._fingerprint = version, hash_weights(about, state)
        return self._fingerprint

    def logits(self, images: Images) -> Probabilities:
        """Score before the last activation, exactly; gradients flow back to `images`."""
        return heads.widen(self._run(images, "exact"), self.head)

    def layer_info(self) -> LayerInfo:
        """Find the end of each block, and the last feature maps."""
        if self._layer_info is None:
            image = torch.zeros(1, 3, *self.size, device=self.device)
            with torch.no_grad(), run_eagerly(self.module) as inner:
                self._layer_info = find_layers(inner, lambda: self._run(image, "exact"), self.size)
        return self._layer_info

    def with_logits(self) -> TorchBox:
        """Give the same box without its last activation: it answers with logits, in the backend that was chosen."""
        box = copy(self)
        box.head, box.backend_chosen = "none", True
        return box

    def layers(self) -> tuple[str, ...]:
        """Name the end of each block; for tokens, what goes into the attention of four blocks evenly spread."""
        return self.layer_info().blocks

    def activations(self, images: Images, layers: Sequence[str]) -> dict[str, Tensor]:
        """Return the activations of the named layers as feature maps (n c y x)."""
        with torch.no_grad(), run_eagerly(self.module) as inner, record_activations(inner, layers) as seen:
            self._run(images, "exact")
        return {layer: expect_maps(layer, seen.get(layer), self.size).float() for layer in layers}

    def forward_from(self, image: Float[Tensor, "1 3 h w"], layer: str, features: Features) -> Float[Tensor, "m k"]:
        """Score one image whose activations at the layer were replaced, m times: what is before it runs once."""

        def change(value: Tensor) -> Tensor:
            return from_feature_maps(features.to(value), value, self.size)

        with torch.no_grad(), run_eagerly(self.module) as inner, record_activations(inner, [layer], {layer: change}):
            return self._activate(self._run(image, "exact"))

    def differentiate(
        self, images: Images, targets: Sequence[Target] | None, layers: Sequence[str], of: Scale = "logit"
    ) -> ActivationsAndGradients:
        """Score images, one target each (None: the likeliest class), or several of one image, and differentiate."""
        with run_eagerly(self.module) as inner:
            return differentiate(
                inner, self.logits, lambda raw: heads.apply_head(raw, self.head, of), images, targets, layers
            )

    def list_weighted(self) -> tuple[str, ...]:
        """Name the modules that hold weights, in the order in which an image meets them."""
        image = torch.zeros(1, 3, *self.size, device=self.device)
        with torch.no_grad(), run_eagerly(self.module) as inner:
            return list_weighted(inner, lambda: self._run(image, "exact"))

    def reinitialise(self, names: Sequence[str], seed: int = 0) -> TorchBox:
        """Give a box, in a like backend, with new random weights in the named modules; this one stays as it is."""
        box = self.with_logits()
        with run_eagerly(self.module) as inner:
            box.module, box.head, box.name = reinitialise(inner, names, seed), self.head, f"{self.name}, redrawn"
        box.backend = backends.find_uncompiled(self.backend)  # compiling takes longer than the passes of such a box
        return box

    def as_trainable(self, only: Sequence[str] = ()) -> nn.Module:
        """Give the module as one from images in 0…1 to logits, to be trained: all of it, or parts by their names."""
        return FromPixels(self.module, self.normalise, lambda raw: heads.widen(find_logits(raw), self.head), only)

    def __repr__(self) -> str:
        return f"<box {self.name}: {len(self.classes)} classes, {self.preparation}, backend {self.backend}>"


def recognises(thing: Any, _options: Mapping[str, Any]) -> bool:
    """Say whether it is a torch module."""
    return comes_from(thing, "torch.nn")


def wrap(module: nn.Module, *, classes: Sequence[str] | None = None, name: str = "", **options: Any) -> TorchBox:
    """Make a box of a module.

    Options: `size` (a side or height and width; needed), `resize`, `filter`, `mean`, `std`, `head`, `backend`, `channels`.
    Modules of timm, transformers and torchvision (with `weights=`) are wrapped by their own kinds, which know the rest.
    """
    ready, rest = split_options(None, options)
    return TorchBox(module, ready, classes, name=name, **rest)


def load(name: str, **options: Any) -> TorchBox:
    """`torch:FILE.pt2` or `torch:FILE.pt`: a network saved with `torch.export.save` or `torch.jit.save`."""
    return wrap(load_saved(name), name=name, **options)
