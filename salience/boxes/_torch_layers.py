"""What goes on inside a torch module: its layers, their activations, and gradients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn

from salience.boxes._memory import make_key, remember
from salience.boxes._stranger import count_shown
from salience.engine import seeding
from salience.engine.inside.gradients import differentiate, expect_targets, join_batches
from salience.engine.inside.hooks import expect_maps, from_feature_maps, record_activations
from salience.engine.inside.layers import find_layers
from salience.runtime import heads
from salience.runtime.module import run_eagerly
from salience.runtime.torch import TorchRuntime
from salience.types import ActivationsAndGradients, Features, Images, LayerInfo, OpenBox, Probabilities, Scale, Target


class TorchLayers(TorchRuntime, OpenBox):
    """A torch module whose layers are read and replaced by hooks; one that takes few images at once gets no more."""

    _layer_info: LayerInfo | None = None

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

    def layers(self) -> tuple[str, ...]:
        """Name the end of each block; for tokens, what goes into the attention of four blocks evenly spread."""
        return self.layer_info().blocks

    def activations(self, images: Images, layers: Sequence[str]) -> dict[str, Tensor]:
        """Return the activations of the named layers as feature maps (n c y x)."""
        batches = [self._record(each, layers) for each in images.split(self.batch or len(images))]
        return {layer: torch.cat([batch[layer] for batch in batches]) for layer in layers}

    def _record(self, images: Images, layers: Sequence[str]) -> dict[str, Tensor]:
        with torch.no_grad(), run_eagerly(self.module) as inner, record_activations(inner, layers) as recorded:
            self._run(images, "exact")
        return {layer: expect_maps(layer, recorded.get(layer), self.size).float() for layer in layers}

    def forward_from(self, image: Float[Tensor, "1 c h w"], layer: str, features: Features) -> Float[Tensor, "m k"]:
        """Score one image whose activations at the layer were replaced, m times: what is before it runs once.

        Where what comes after the layer also takes from before it, and does not fit one image to m, all m run whole.
        """
        batches = features.split(self.batch or len(features))
        with torch.no_grad(), run_eagerly(self.module) as inner:
            return torch.cat([self._activate(self._run_from(inner, image, layer, each)) for each in batches])

    def _run_from(self, inner: nn.Module, image: Images, layer: str, features: Features) -> Tensor:
        try:
            scores = self._run_changed(inner, image, layer, features)
        except RuntimeError as problem:
            if len(features) == 1 or isinstance(problem, torch.OutOfMemoryError):
                raise
            scores = None
        if scores is None or len(scores) != len(features):
            scores = self._run_changed(inner, image.expand(len(features), -1, -1, -1), layer, features)
        return scores

    def _run_changed(self, inner: nn.Module, images: Images, layer: str, features: Features) -> Tensor:
        def change(value: Tensor) -> Tensor:
            return from_feature_maps(features, value, self.size)

        with record_activations(inner, [layer], {layer: change}):
            return self._run(images, "exact")

    def differentiate(
        self, images: Images, targets: Sequence[Target] | None, layers: Sequence[str], of: Scale = "logit"
    ) -> ActivationsAndGradients:
        """Score images, one target each (None: the likeliest class), or several of one image, and differentiate."""
        batches = images.split(self.batch or len(images))
        if len(batches) == 1:
            return self._differentiate(images, targets, layers, of)
        expect_targets(targets, len(images))
        size = len(batches[0])
        shares = [None if targets is None else targets[at : at + size] for at in range(0, len(images), size)]
        pairs = zip(batches, shares, strict=True)
        return join_batches([self._differentiate(part, share, layers, of) for part, share in pairs])

    def _differentiate(
        self, images: Images, targets: Sequence[Target] | None, layers: Sequence[str], of: Scale
    ) -> ActivationsAndGradients:
        with run_eagerly(self.module) as inner:
            activate = partial(heads.apply_head, head=self.head, of=of)
            return differentiate(inner, self.logits, activate, images, targets, layers)
