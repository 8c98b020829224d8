"""A network in a file as a grey box: scores, and what goes on inside, found in its graph; no gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from salience.boxes._graph import layers
from salience.boxes._graph.network import Array, Network, Parts
from salience.engine.inside.hooks import INPUT, expect_maps, from_feature_maps
from salience.errors import BoxError
from salience.picture import Preparation
from salience.runtime import backends, disk_cache, heads
from salience.runtime.blending import Scaling, make_blending
from salience.types import (
    BackendBox,
    BlendingBox,
    Features,
    GreyBox,
    Head,
    Image,
    Images,
    LayerInfo,
    PendingScores,
    Probabilities,
)


class FileBox(GreyBox, BlendingBox, BackendBox):
    """A network in a file.

    `head` says what the answer is, as for a torch box; none given, it is read from the graph: a last softmax or sigmoid
    is cut off and applied here, so that logits are at hand.
    """

    preparation: Preparation

    def __init__(
        self,
        network: Network,
        preparation: Preparation,
        classes: Sequence[str] | None = None,
        *,
        head: Head | None = None,
        name: str = "",
        backend: str = "auto",
    ) -> None:
        self.backend = backends.resolve_backend(backend, (*network.backends, "exact"))
        self.backend_chosen = backend != "auto" or not network.backends
        self.network, self.preparation, self.name = network, preparation, name
        self.size, self.mean = preparation.size, preparation.mean
        if preparation.mean == (0.0, 0.0, 0.0):
            self.mean = (0.5, 0.5, 0.5)  # without a normalisation black is not the mean
        self.parts = Parts(network, preparation)
        self.check: dict[str, Any] = {}  # what `choose_backend` found
        self.answer, self.head = self._find_answer(head)
        self._layer_info: tuple[LayerInfo, dict[str, str]] | None = None
        self._before: tuple[str, Tensor, list[Array]] | None = (
            None  # what `forward_from` ran last: layer, image, values there
        )
        count = self._score(torch.full((1, 3, *self.size), 0.5), "exact").shape[1]
        self.classes = tuple(classes or (f"class {index}" for index in range(count)))

    @property
    def fingerprint(self) -> str:
        """A hash of the file, the head and the preprocessing."""
        about = (self.network.digest, self.head, self.answer, replace(self.preparation, source=""))
        return disk_cache.make_key(about)[:16]

    def __call__(self, images: Images) -> Probabilities:
        """Score a batch in the box's backend."""
        return self.submit(images)()

    def submit(self, images: Images) -> PendingScores:
        """Submit a batch; what is returned waits for the scores."""
        pending = self.parts.submit(images, self.answer, self.backend)
        return lambda: self._activate(pending())

    def submit_blended(self, image: Image, baseline: Image) -> Callable[..., PendingScores] | None:
        """Return what submits masks for `baseline + mask · (image − baseline)`, where the network itself blends."""
        if self.in_flight == 1:
            return None

        def submit_masks(masks: Tensor, scaling: Scaling) -> PendingScores:
            pending = self.parts.submit_scaled(masks, scaling, self.answer, self.backend)
            return lambda: self._activate(pending())

        return make_blending(image, baseline, self.parts.scaling, submit_masks)

    @property
    def in_flight(self) -> int:
        """How many batches to have under way: two where it computes outside Python, so the next is made meanwhile."""
        return 2 if self.backend in self.network.blending else 1

    def layer_info(self) -> LayerInfo:
        """Find the end of each block, and the last feature maps."""
        return self._find_layers()[0]

    def layers(self) -> tuple[str, ...]:
        """Name the end of each block; for tokens, what goes into the attention of four blocks evenly spread."""
        return self.layer_info().blocks

    def with_logits(self) -> FileBox:
        """Give the same box without its last activation: it answers with logits, in the backend that was chosen."""
        box = copy(self)
        box.head, box.backend_chosen = "none", True
        return box

    def activations(self, images: Images, layers: Sequence[str]) -> dict[str, Tensor]:
        """Return the activations of the named layers (tensors of the file, or nodes) as feature maps (n c y x)."""
        tensors = list(dict.fromkeys(self._tensor(layer) for layer in layers))
        found = dict(zip(tensors, map(torch.from_numpy, self.parts.ask(tensors, [self.parts.prepare(images)])), strict=True))
        return {layer: expect_maps(layer, found[self._tensor(layer)], self.size).float() for layer in layers}

    def forward_from(self, image: Float[Tensor, "1 3 h w"], layer: str, features: Features) -> Float[Tensor, "m k"]:
        """Score one image whose activations at the layer were replaced, m times: what is before it runs once."""
        at, count = self._tensor(layer), len(features)
        if self.parts.single and count > 1:
            return torch.cat([self.forward_from(image, layer, each[None]) for each in features])
        beside = self.network.graph.list_beside(at)
        if self._before is None or self._before[0] != at or not torch.equal(self._before[1], image):
            self._before = at, image.clone(), self.parts.ask((at, *beside), [self.parts.prepare(image)])
        whole, *carried = map(torch.from_numpy, self._before[2])
        changed = from_feature_maps(features, whole, self.size).to(whole).contiguous().numpy()
        of_one = [each.is_floating_point() and each.ndim > 1 and len(each) == 1 for each in carried]
        passed = [np.repeat(each, count, 0) if one else each for each, one in zip(self._before[2][1:], of_one, strict=True)]
        if count > 1 and not all(of_one):  # shapes and the like speak of the number of images
            many = self.parts.ask(beside, [self.parts.prepare(image.expand(count, -1, -1, -1))])
            passed = [mine if one else other for mine, other, one in zip(passed, many, of_one, strict=True)]
        (raw,) = self.parts.ask([self.answer], [changed, *passed], (at, *beside))
        return self._activate(torch.from_numpy(raw))

    def choose_backend(self, images: Images, *, anew: bool = False) -> None:
        """Choose the fastest backend that agrees with exact on `images`, once; `check` says what was found."""
        if self.backend_chosen and not anew:
            return
        self.backend_chosen = True
        about = disk_cache.make_key(self.fingerprint, self.network.backends, disk_cache.describe_machine(self.device))
        self.backend, self.check = backends.choose_remembered(self._score, images, about, self.network.backends, anew=anew)

    def _score(self, images: Images, backend: str) -> Probabilities:
        return self._activate(self.parts.run(images, self.answer, backend))

    def _activate(self, raw: Tensor) -> Probabilities:
        return heads.apply_head(heads.widen(raw.flatten(1) if raw.ndim > 2 else raw, self.head), self.head, "probability")

    def _find_answer(self, head: Head | None) -> tuple[str, Head]:
        """Find the tensor that the answer is read from, and what it is."""
        graph = self.network.graph
        if head is not None:
            heads.expect_head(head)
            return graph.answer, head
        grey = self.parts.run(torch.full((1, 3, *self.size), 0.5), graph.answer).flatten(1)
        found = graph.find_activation()
        if found is not None:
            kind: Any = "binary" if grey.shape[1] == 1 else found[1]
            return found[0], kind
        if grey.shape[1] == 1:
            return graph.answer, "binary"
        return graph.answer, "none" if bool((grey >= 0).all()) and abs(float(grey.sum()) - 1) < 1e-3 else "softmax"

    def _find_layers(self) -> tuple[LayerInfo, dict[str, str]]:
        if self._layer_info is None:
            graph = self.network.graph
            seen = self.parts.ask(graph.necks, [self.parts.prepare(torch.zeros(1, 3, *self.size))])
            values = dict(zip(graph.necks, map(torch.from_numpy, seen), strict=True))
            self._layer_info = layers.find_layers(graph, values, self.size)
        return self._layer_info

    def _tensor(self, layer: str) -> str:
        """Return the tensor of a layer; `layer:in` is what goes into it, before a normalisation."""
        graph = self.network.graph
        if not layer.endswith(INPUT) or layer in graph.maker:
            return graph.find_tensor(layer)
        inner = graph.find_tensor(layer.removesuffix(INPUT))
        before = self._find_layers()[1].get(inner) or next(iter(graph.data.get(inner, ())), None)
        if before is None:
            raise BoxError(f"expected a layer that takes something in, got {layer!r}: choose another layer")
        return before

    def __repr__(self) -> str:
        return f"<box {self.name}: {len(self.classes)} classes, {self.preparation}, backend {self.backend}>"
