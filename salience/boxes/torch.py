"""Any torch module as a box: its own preprocessing, its head, its class names, and the backend that its passes run in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from salience.boxes import _inspect
from salience.boxes._memory import make_key
from salience.boxes._names import read_class_names
from salience.boxes._options import OWN, read_options, split_options
from salience.boxes._recognise import comes_from
from salience.boxes._reinitialise import list_weighted, reinitialise
from salience.boxes._stranger import Stranger, count_shown
from salience.boxes._torch_layers import TorchLayers
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
from salience.types import (
    Head,
    TrainableBox,
)


class TorchBox(TorchLayers, TrainableBox, Stranger):
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
        self.automatic = backend == "auto" and find_weight_dtype(self.module) == torch.float32
        self.backend_chosen = not self.automatic
        self.check: dict[str, Any] = {}  # what `choose_backend` found
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
        head = self.head if self.answers == "probability" else "none"  # it answers with what the head is given
        version = (head, self.channels, self.preparation, self.output, *stamp_state(state))
        if getattr(self, "_stamped", None) != version:
            said = (head, replace(self.preparation, source=""), self.channels)
            about = repr(said if self.output is None else (*said, self.output))
            self._stamped, self._fingerprint = version, hash_weights(about, state)
        return self._fingerprint

    def with_logits(self) -> TorchBox:
        """Give the same box without its last activation: it answers with logits, in the backend that was chosen."""
        box = copy(self)
        box.answers, box.backend_chosen = "logit", True
        return box

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
    names: Any = None,
    published: Mapping[str, str] | None = None,
    given: Iterable[str] | None = None,
) -> TorchBox:
    """Make a box of a module, of options over what its library publishes: `published` says what that is, and where.

    `names` of the classes are the library's, `classes` the user's, and win. `given` are the options that its user named,
    if these are not all.
    """
    ready, rest = split_options(base, dict(options))
    given, published, chosen = options if given is None else given, dict(published or {}), read_class_names(classes)
    if chosen is not None:
        published.pop("classes", None)
    chosen = chosen or read_class_names(names)
    return TorchBox(module, ready, chosen, name=name, given=given, published=published, **read_options(rest, OWN))


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
    return make_box(module, None, options, classes=classes, name=name)


def load(name: str, **options: Any) -> TorchBox:
    """`torch:FILE.pt2` or `torch:FILE.pt`: a network saved with `torch.export.save` or `torch.jit.save`."""
    return wrap(load_saved(name), name=name, **options)
