"""Any torch module as a box: its own preprocessing, its head, its class names, and the backend that its passes run in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from salience.boxes import _inspect
from salience.boxes._memory import make_key, remember
from salience.boxes._names import read_class_names
from salience.boxes._options import OWN, read_options, split_options
from salience.boxes._recognise import comes_from
from salience.boxes._reinitialise import list_weighted, reinitialise
from salience.boxes._stranger import Stranger, count_shown
from salience.engine import seeding
from salience.engine.inside.gradients import differentiate
from salience.engine.inside.hooks import expect_maps, from_feature_maps, record_activations
from salience.engine.inside.layers import find_layers
from salience.picture import Preparation
from salience.runtime import backends, heads
from salience.runtime.module import (
    FromPixels,
    find_weight_dtype,
    hash_weights,
    load_saved,
    run_eagerly,
    stamp_state,
)
from salience.runtime.outputs import read_output
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


class TorchBox(TorchRuntime, OpenBox, TrainableBox, Stranger):
    """A torch module that classifies images.

    `head` says what the module puts out: "softmax" and "sigmoid" (many labels) logits, "binary" one logit (two
    classes, the second is the logit's), "probabilities", "label-probabilities" and "probability" what these become,
    "none" scores that are used as they are. `output` names the one that has the scores, where there are several. What
    is not `given`, and not `published` by the library that the module comes from, `meet` finds out. `backend` is "exact",
    "torch channels-last", "torch bfloat16" (float16 on a GPU), "openvino" or "openvino bfloat16" (compiled for a CPU), or
    "auto": the fastest of these whose scores agree with exact on a check batch. And "torch compile", "torch compile
    bfloat16" (float16), which nobody checks and which take long to make.

    The module is in eval mode during a call only; its modes, gradients, hooks and the process's random state are
    afterwards as they were, also after an error.
    """

    def __init__(
        self,
        module: nn.Module,
        preparation: Preparation,
        classes: Sequence[str] | None = None,
        *,
        head: Head | None = None,
        name: str = "",
        backend: str = "auto",
        channels: int | None = None,
        output: str | None = None,
        batch: int | None = None,
        given: Iterable[str] = (),
        published: Mapping[str, str] | None = None,
    ) -> None:
        heads.expect_head(head or "softmax")
        named = {"head": head, "channels": channels, "output": output, "batch": batch}
        self.published = {key: value for key, value in (published or {}).items() if key not in given}
        chosen = (key for key, value in named.items() if value is not None and key not in self.published)
        self.given = frozenset((*given, *chosen))
        self.module, self.preparation, self.head = module, preparation, head or "softmax"
        self.name, self.channels, self.output, self.batch = name or type(module).__name__, channels or 3, output, batch
        self.met = False
        black = preparation.source == "given" and not any(preparation.mean)  # without a normalisation it is not the mean
        self.size, self.mean = preparation.size, tuple(0.5 if black else each for each in preparation.mean)
        self.backend = backends.resolve_backend(backend, backends.list_all_backends(self.device))
        self.backend_chosen = backend != "auto" or find_weight_dtype(self.module) != torch.float32
        self.check: dict[str, Any] = {}  # what `choose_backend` found
        self._layer_info: LayerInfo | None = None
        self._classes = None if classes is None else tuple(classes)

    @property
    def classes(self) -> tuple[str, ...]:  # type: ignore[override]  # they are counted when they are first asked for
        """The name of each class; numbered where nobody gave names."""
        if self._classes is None:
            with torch.no_grad():
                grey = torch.zeros(1, count_shown(self), *self.size, device=self.device)
                count = self._activate(self._run(grey, "exact")).shape[1]
            self._classes = tuple(f"class {index}" for index in range(count))
        return self._classes

    def meet(self) -> None:
        """Find out what the module takes and puts out, once."""
        if not self.met:
            _inspect.meet(self, make_key(self))
            self.met = True

    @property
    def fingerprint(self) -> str:
        """A hash of weights, head and preprocessing; computed anew when a weight was written to."""
        state = self.module.state_dict(keep_vars=True)
        version = (self.head, self.channels, self.preparation, self.output, *stamp_state(state))
        if getattr(self, "_stamped", None) != version:
            said = (self.head, replace(self.preparation, source=""), self.channels)
            about = repr(said if self.output is None else (*said, self.output))
            self._stamped, self._fingerprint = version, hash_weights(about, state)
        return self._fingerprint

    def logits(self, images: Images) -> Probabilities:
        """Score before the last activation, exactly; gradients flow back to `images`."""
        return heads.widen(self._run(images, "exact"), self.head)

    def layer_info(self) -> LayerInfo:
        """Find the end of each block, and the last feature maps."""
        if self._layer_info is None:
            self._layer_info = remember(make_key(self), "layers", self._find_layers, asdict, LayerInfo.of)
        return self._layer_info

    def _find_layers(self) -> LayerInfo:
        with torch.inference_mode(False), torch.no_grad(), run_eagerly(self.module) as inner:
            black = torch.zeros(1, count_shown(self), *self.size, device=self.device)
            noise = torch.rand(black.shape, generator=seeding.generator(0, "layers")).to(black)
            return find_layers(inner, lambda: self._run(black, "exact"), self.size, lambda: self._run(noise, "exact"))

    def with_logits(self) -> TorchBox:
        """Give the same box without its last activation: it answers with logits, in the backend that was chosen."""
        box = copy(self)
        box.answers, box.backend_chosen = "logit", True
        return box

    def layers(self) -> tuple[str, ...]:
        """Name the end of each block; for tokens, what goes into the attention of four blocks evenly spread."""
        return self.layer_info().blocks

    def activations(self, images: Images, layers: Sequence[str]) -> dict[str, Tensor]:
        """Return the activations of the named layers as feature maps (n c y x)."""
        with torch.no_grad(), run_eagerly(self.module) as inner, record_activations(inner, layers) as seen:
            self._run(images, "exact")
        return {layer: expect_maps(layer, seen.get(layer), self.size).float() for layer in layers}

    def forward_from(self, image: Float[Tensor, "1 c h w"], layer: str, features: Features) -> Float[Tensor, "m k"]:
        """Score one image whose activations at the layer were replaced, m times: what is before it runs once.

        Where what comes after the layer also takes from before it, and does not fit one image to m, all m run whole.
        """
        with torch.no_grad(), run_eagerly(self.module) as inner:
            try:
                scores = self._run_changed(inner, image, layer, features)
            except RuntimeError as problem:
                if len(features) == 1 or isinstance(problem, torch.OutOfMemoryError):
                    raise
                scores = None
            if scores is None or len(scores) != len(features):
                scores = self._run_changed(inner, image.expand(len(features), -1, -1, -1), layer, features)
            return self._activate(scores)

    def _run_changed(self, inner: nn.Module, images: Images, layer: str, features: Features) -> Tensor:
        def change(value: Tensor) -> Tensor:
            return from_feature_maps(features.to(value), value, self.size)

        with record_activations(inner, [layer], {layer: change}):
            return self._run(images, "exact")

    def differentiate(
        self, images: Images, targets: Sequence[Target] | None, layers: Sequence[str], of: Scale = "logit"
    ) -> ActivationsAndGradients:
        """Score images, one target each (None: the likeliest class), or several of one image, and differentiate."""
        with run_eagerly(self.module) as inner:
            activate = partial(heads.apply_head, head=self.head, of=of)
            return differentiate(inner, self.logits, activate, images, targets, layers)

    def list_weighted(self) -> tuple[str, ...]:
        """Name the modules that hold weights, in the order in which an image meets them."""
        image = torch.zeros(1, count_shown(self), *self.size, device=self.device)
        with torch.no_grad(), run_eagerly(self.module) as inner:
            return list_weighted(inner, lambda: self._run(image, "exact"))

    def reinitialise(self, names: Sequence[str], seed: int = 0) -> TorchBox:
        """Give a box, in a like backend, with new random weights in the named modules; this one stays as it is."""
        box = self.with_logits()
        with run_eagerly(self.module) as inner:
            box.module, box.answers, box.name = reinitialise(inner, names, seed), self.answers, f"{self.name}, redrawn"
        box.backend = backends.find_uncompiled(self.backend)  # compiling takes longer than the passes of such a box
        return box

    def as_trainable(self, only: Sequence[str] = ()) -> nn.Module:
        """Give the module as one from images in 0…1 to logits, to be trained: all of it, or parts by their names."""
        return FromPixels(
            self.module, self.normalise, lambda raw: heads.widen(read_output(raw, self.output), self.head), only
        )

    def __repr__(self) -> str:
        return f"<box {self.name}: {len(self.classes)} classes, {self.preparation}, backend {self.backend}>"


def make_box(
    module: nn.Module,
    base: Preparation | None,
    options: Mapping[str, Any],
    *,
    classes: Any = None,
    name: str = "",
    published: Mapping[str, str] | None = None,
    given: Iterable[str] | None = None,
) -> TorchBox:
    """Make a box of a module, of options over what its library publishes: `published` says what that is, and where.

    `given` are the options that its user named, if these are not all.
    """
    ready, rest = split_options(base, dict(options))
    given = options if given is None else given
    return TorchBox(module, ready, classes, name=name, given=given, published=published, **read_options(rest, OWN))


def recognises(thing: Any, _options: Mapping[str, Any]) -> bool:
    """Say whether it is a torch module, or a program that torch exported."""
    return comes_from(thing, "torch.nn") or comes_from(thing, "torch.export")


def wrap(module: Any, *, classes: Any = None, name: str = "", **options: Any) -> TorchBox:
    """Make a box of a module.

    Options: `size` (a side or height and width; needed), `resize`, `filter`, `mean`, `std`, `head`, `backend`, `channels`,
    `output`, `batch`. Modules of timm, transformers and torchvision (with `weights=`) are wrapped by their own kinds,
    which know the rest.
    """
    if not isinstance(module, nn.Module):  # an exported program
        module, name = module.module(), name or "exported"
    return make_box(module, None, options, classes=read_class_names(classes), name=name)


def load(name: str, **options: Any) -> TorchBox:
    """`torch:FILE.pt2` or `torch:FILE.pt`: a network saved with `torch.export.save` or `torch.jit.save`."""
    return wrap(load_saved(name), name=name, **options)
