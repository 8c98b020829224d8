"""Any torch module as a box: its own preprocessing, its head, its class names, and the lane that its passes run in."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import cached_property
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from salience.boxes import _lanes
from salience.boxes._module import quiet, unwrapped
from salience.boxes._options import prepared
from salience.engine.slope import slope
from salience.engine.tap import maps as feature_maps
from salience.engine.tap import survey, tap
from salience.errors import BoxError, SettingError
from salience.picture import Preparation
from salience.types import Images, Probabilities, Target

Head = Literal["softmax", "sigmoid", "binary", "none"]


class TorchBox:
    """A torch module that classifies images.

    `head` says what the module puts out: "softmax" and "sigmoid" (many labels) logits, "binary" one logit (two
    classes, the second is the logit's), "none" scores that are used as they are. `lane` is "exact", "channels-last",
    "channels-last bfloat16" (float16 on a GPU), or "auto": the fastest whose scores agree with exact on a check batch.

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
        lane: str = "auto",
        channels: int = 3,
    ) -> None:
        if head not in get_args(Head):
            raise SettingError(f"expected a head, one of {', '.join(get_args(Head))}, got {head!r}")
        self.module, self.preparation, self.head = module, preparation, head
        self.name = name or type(module).__name__
        self.channels = channels
        self.size, self.mean = preparation.size, preparation.mean
        if preparation.source == "given" and preparation.mean == (0.0, 0.0, 0.0):
            self.mean = (0.5, 0.5, 0.5)  # without a normalisation black is not the mean
        self.lane = _lanes.first(lane, self.device)
        self.settled = lane != "auto" or self._dtype != torch.float32
        self.check: dict[str, Any] = {}  # what `settle` found
        self._classes = None if classes is None else tuple(classes)

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """The name of each class; numbered where nobody gave names."""
        if self._classes is not None:
            return self._classes
        with torch.no_grad():
            count = self._activated(self._run(torch.zeros(1, 3, *self.size, device=self.device), "exact")).shape[1]
        return tuple(f"class {index}" for index in range(count))

    @property
    def device(self) -> torch.device:
        """Where the module's weights are now."""
        first = next(self.module.parameters(), next(self.module.buffers(), None))
        return torch.device("cpu") if first is None else first.device

    @property
    def fingerprint(self) -> str:
        """A hash of weights, head and preprocessing; computed anew when a weight was written to."""
        state = self.module.state_dict(keep_vars=True)
        version = tuple((key, value.data_ptr(), value._version) for key, value in state.items())  # noqa: SLF001  # the only sign of a write in place
        if getattr(self, "_stamp", None) != version:
            digest = hashlib.sha256(repr((self.head, replace(self.preparation, source=""), self.channels)).encode())
            for key, value in state.items():
                digest.update(key.encode())
                digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
            self._stamp, self._fingerprint = version, digest.hexdigest()[:16]
        return self._fingerprint

    def __call__(self, images: Images) -> Probabilities:
        """Score a batch in the box's lane."""
        return self._scored(images, self.lane)

    def logits(self, images: Images) -> Probabilities:
        """Score before the last activation, exactly; gradients flow back to `images`."""
        return self._widened(self._run(images, "exact"))

    def layers(self) -> tuple[str, ...]:
        """Name the last layer at each resolution; for tokens, four blocks evenly spread."""
        if not hasattr(self, "_layers"):
            image = torch.zeros(1, 3, *self.size, device=self.device)
            with torch.no_grad():
                self._layers = survey(self.module, lambda: self._run(image, "exact"), self.size)
        return self._layers

    def tap(self, images: Images, layers: Sequence[str]) -> dict[str, Tensor]:
        """Return the activations of the named layers as feature maps (n c y x)."""
        with torch.no_grad(), tap(self.module, layers) as seen:
            self._run(images, "exact")
        found = {layer: feature_maps(output, self.size) for layer, output in seen.items()}
        for layer in layers:
            if found.get(layer) is None:
                raise BoxError(f"expected feature maps from layer {layer!r}, got none: choose of {', '.join(self.layers())}")
        return {layer: found[layer].float() for layer in layers}  # type: ignore[union-attr]  # None was refused above

    def slope(self, images: Images, target: Target, layers: Sequence[str] = ()) -> tuple[Images, dict[str, Tensor]]:
        """Differentiate the target's logit with respect to the images and to the named layers."""
        return slope(self.module, self.logits, images, target, layers)

    def settle(self, images: Images) -> None:
        """Choose the fastest lane that agrees with exact on `images`, once; `check` says what was found."""
        if self.settled:
            return
        self.settled = True
        self.lane, self.check = _lanes.choose(self._scored, images)

    def _scored(self, images: Images, lane: str) -> Probabilities:
        with torch.no_grad():
            return self._activated(self._run(images, lane))

    def _run(self, images: Images, lane: str) -> Tensor:
        mean, std = (images.new_tensor(each)[:, None, None] for each in (self.preparation.mean, self.preparation.std))
        ready = torch.addcmul(-mean / std, images, 1 / std)  # a new tensor, so an in-place first layer harms nobody
        if self.channels == 1:
            ready = ready.mean(1, keepdim=True)
        ready = ready.to(self._dtype)
        if lane != "exact":
            ready = ready.contiguous(memory_format=torch.channels_last)
        half = _lanes.dtype(lane)
        with quiet(self.module), nullcontext() if half is None else torch.autocast(self.device.type, half):
            return unwrapped(self.module(ready))

    @property
    def _dtype(self) -> torch.dtype:
        kinds = (value.dtype for value in self.module.parameters() if value.is_floating_point())
        return next(kinds, torch.float32)

    def _widened(self, raw: Tensor) -> Tensor:
        wide = raw if raw.dtype == torch.float64 else raw.float()
        wide = wide[:, None] if wide.ndim == 1 else wide
        if self.head == "binary":
            if wide.shape[1] != 1:
                raise BoxError(f"expected one logit for a binary head, got {wide.shape[1]}: use the softmax head")
            return torch.cat([-wide, wide], dim=1) / 2  # their softmax is (1 − σ, σ)
        return wide

    def _activated(self, raw: Tensor) -> Probabilities:
        wide = self._widened(raw)
        if self.head == "none":
            return wide
        return wide.sigmoid() if self.head == "sigmoid" else wide.softmax(1)

    def __repr__(self) -> str:
        return f"<box {self.name}: {len(self.classes)} classes, {self.preparation}, lane {self.lane}>"


def wrap(module: nn.Module, *, classes: Sequence[str] | None = None, name: str = "", **options: Any) -> TorchBox:
    """Make a box of a module. What its library publishes need not be said: timm's and transformers' modules know it.

    Other options: `weights` (a torchvision weights enum, for its transforms and class names), `size` (a side or
    height and width), `resize`, `filter`, `mean`, `std`, `head`, `lane`, `channels`.
    """
    base: Preparation | None = None
    published = options.pop("weights", None)
    if published is not None:
        from salience.boxes.torchvision import preparation

        base, classes = preparation(published), classes or published.meta["categories"]
    elif hasattr(module, "pretrained_cfg"):
        from salience.boxes.timm import labels, preparation_of

        base, classes = preparation_of(module), classes or labels(module)
    elif hasattr(module, "config") and hasattr(module.config, "id2label"):
        from salience.boxes.hf import labels_of, published_preparation

        base = None if "size" in options else published_preparation(str(getattr(module.config, "_name_or_path", "")))
        classes = classes or labels_of(module)
    ready, rest = prepared(base, options)
    return TorchBox(module, ready, classes, name=name, **rest)


def load(name: str, **options: Any) -> TorchBox:
    """`torch:FILE.pt2` or `torch:FILE.pt`: a network saved with `torch.export.save` or `torch.jit.save`."""
    try:
        module = torch.export.load(name).module() if name.endswith(".pt2") else torch.jit.load(name, map_location="cpu")
    except Exception as problem:
        reason = " ".join(str(problem).split())[:200]
        raise BoxError(f"expected a saved network in {name}, got {reason}: save it with torch.export.save") from problem
    return wrap(module, name=name, **options)
