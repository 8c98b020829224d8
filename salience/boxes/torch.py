"""Any torch module as a box: its own preprocessing, its head, its class names, and the lane that its passes run in."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import cached_property
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from salience.engine import maps
from salience.engine.slope import slope
from salience.engine.tap import maps as feature_maps
from salience.engine.tap import survey, tap
from salience.errors import BoxError, SettingError, UnknownName
from salience.picture import Preparation
from salience.types import Images, Probabilities, Target

Head = Literal["softmax", "sigmoid", "binary", "none"]
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# A faster lane must be this near to exact: the mean difference of the five likeliest classes' probabilities over the
# check images, and the rank agreement of the same numbers. Maps then agree at 0.99 and above (docs/results/lanes.md).
TOLERANCE, AGREEMENT = 0.02, 0.97


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
        half = "bfloat16" if self.device.type == "cpu" else "float16"
        self._lanes = (f"channels-last {half}", "channels-last", "exact")
        if lane not in ("auto", *self._lanes):
            raise UnknownName.of("lane", lane, ("auto", *self._lanes))
        self.lane = "exact" if lane == "auto" else lane
        self._settled = lane != "auto" or self._dtype != torch.float32
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
        version = tuple((key, value.data_ptr(), value._version) for key, value in state.items())
        if getattr(self, "_stamp", None) != version:
            digest = hashlib.sha256(repr((self.head, replace(self.preparation, source=""), self.channels)).encode())
            for key, value in state.items():
                digest.update(key.encode())
                digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
            self._stamp, self._fingerprint = version, digest.hexdigest()[:16]
        return self._fingerprint

    def __call__(self, images: Images) -> Probabilities:
        """Score a batch in the box's lane."""
        with torch.no_grad():
            return self._activated(self._run(images, self.lane))

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
        if self._settled:
            return
        self._settled = True
        exact, slow = self._timed(images, "exact")
        top = exact.mean(0).topk(min(5, exact.shape[1])).indices
        for lane in self._lanes[:-1]:
            try:
                scores, fast = self._timed(images, lane)
            except (RuntimeError, NotImplementedError):  # an operator without a kernel of that type
                continue
            apart = float((scores - exact)[:, top].abs().mean())
            alike = maps.agreement(scores[:, top], exact[:, top])
            agrees = apart <= TOLERANCE and alike >= AGREEMENT
            self.check = {"lane": lane, "mean difference": apart, "rank agreement": alike, "speed-up": slow / fast}
            if agrees and fast < slow:
                self.lane = lane
                return
            self.check["refused"] = "it is no faster" if agrees else "its scores differ from exact"

    def _timed(self, images: Images, lane: str) -> tuple[Probabilities, float]:
        took = []
        for _ in range(2):  # the first call also prepares kernels
            began = time.perf_counter()
            with torch.no_grad():
                scores = self._activated(self._run(images, lane)).cpu()
            took.append(time.perf_counter() - began)
        return scores, min(took)

    def _run(self, images: Images, lane: str) -> Tensor:
        mean, std = (images.new_tensor(each)[:, None, None] for each in (self.preparation.mean, self.preparation.std))
        ready = torch.addcmul(-mean / std, images, 1 / std)  # a new tensor, so an in-place first layer harms nobody
        if self.channels == 1:
            ready = ready.mean(1, keepdim=True)
        fast = nullcontext()
        if lane == "exact":
            ready = ready.to(self._dtype)
        else:
            ready = ready.contiguous(memory_format=torch.channels_last)
            if lane != "channels-last":
                fast = torch.autocast(self.device.type, torch.bfloat16 if "bfloat16" in lane else torch.float16)  # type: ignore[assignment]  # both are contexts
        with quiet(self.module), fast:
            return _unwrapped(self.module(ready))

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


@contextmanager
def quiet(module: nn.Module) -> Iterator[None]:
    """Put a module into eval mode for a while; modes and the random state come back, whatever happens."""
    training = [inner for inner in module.modules() if inner.training]
    state = torch.get_rng_state()
    try:
        for inner in training:
            inner.training = False
        yield
    finally:
        for inner in training:
            inner.training = True
        torch.set_rng_state(state)


def _unwrapped(output: Any) -> Tensor:
    """Find the logits in what a module returns: a tensor, a tuple, a dictionary, an object with `.logits`."""
    for _ in range(3):
        if isinstance(output, torch.Tensor):
            return output.flatten(1) if output.ndim > 2 else output
        if hasattr(output, "logits"):
            output = output.logits
        elif isinstance(output, dict):
            output = output.get("logits", next(iter(output.values())))
        elif isinstance(output, (tuple, list)) and output:
            output = output[0]
    raise BoxError(f"expected logits from the module, got {type(output).__name__}: wrap it to return a tensor (n classes)")


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

        base = None if "size" in options else published_preparation(module.config._name_or_path)
        classes = classes or labels_of(module)
    ready, rest = prepared(base, options)
    return TorchBox(module, ready, classes, name=name, **rest)


def prepared(base: Preparation | None, options: dict[str, Any]) -> tuple[Preparation, dict[str, Any]]:
    """Split options into a preparation (over what is published) and what is the box's own. Text is read as numbers."""
    rest = dict(options)
    given: dict[str, Any] = {}
    if "size" in rest:
        lengths = [int(part) for part in _numbers(rest.pop("size"))]
        given["size"] = (lengths[0], lengths[-1])
    if "resize" in rest:
        lengths = [int(part) for part in _numbers(rest.pop("resize"))]
        given["resize"] = lengths[0] if len(lengths) == 1 else tuple(lengths)
    for key in ("mean", "std"):
        if key in rest:
            values = _numbers(rest.pop(key))
            given[key] = tuple(values * 3 if len(values) == 1 else values)
    if "filter" in rest:
        given["filter"] = rest.pop("filter")
    if "channels" in rest:
        rest["channels"] = int(rest["channels"])
    if base is None and "size" not in given:
        raise BoxError("expected the size of the images that this network takes, got none: give size=224 (and mean, std)")
    if base is None:
        return Preparation(**given), rest
    return (replace(base, **given, source=f"{base.source}, changed") if given else base), rest


def _numbers(value: Any) -> list[float]:
    parts = value.replace("x", ",").split(",") if isinstance(value, str) else value if isinstance(value, Sequence) else [value]
    try:
        return [float(part) for part in parts]
    except (TypeError, ValueError):
        raise SettingError(f"expected a number or several with commas between, got {value!r}") from None


def read_weights(module: nn.Module, path: str) -> None:
    """Load a weights file (safetensors, or a checkpoint read with `weights_only`) strictly, in float32."""
    try:
        if path.endswith(".safetensors"):
            from safetensors.torch import load_file

            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
            state = state.get("state_dict", state)
        module.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in state.items()}, strict=True)
    except FileNotFoundError:
        raise BoxError(f"expected weights at {path}, got nothing there: check the path") from None
    except Exception as problem:
        reason = " ".join(str(problem).split())[:300]
        raise BoxError(f"expected weights for {type(module).__name__} in {path}, got something else: {reason}") from problem


def load(name: str, **options: Any) -> TorchBox:
    """`torch:FILE.pt2` or `torch:FILE.pt`: a network saved with `torch.export.save` or `torch.jit.save`."""
    try:
        module = torch.export.load(name).module() if name.endswith(".pt2") else torch.jit.load(name, map_location="cpu")
    except Exception as problem:
        reason = " ".join(str(problem).split())[:200]
        raise BoxError(f"expected a saved network in {name}, got {reason}: save it with torch.export.save") from problem
    return wrap(module, name=name, **options)
