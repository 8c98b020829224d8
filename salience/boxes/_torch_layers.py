"""What goes on inside a torch module: its layers, their activations, and gradients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from threading import local

import torch
from jaxtyping import Float
from torch import Tensor

from salience.boxes._memory import make_key, remember
from salience.boxes._stranger import count_shown
from salience.engine import seeding
from salience.engine.inside.gradients import differentiate
from salience.engine.inside.hooks import expect_maps, from_feature_maps, record_activations
from salience.engine.inside.layers import find_layers
from salience.engine.query import lots
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
        with torch.no_grad(), run_eagerly(self.module) as inner, record_activations(inner, layers) as recorded:

            def run_part(part: slice) -> list[Tensor]:
                recorded.clear()
                self._run(images[part], "exact")
                return [expect_maps(layer, recorded.get(layer), self.size).float() for layer in layers]

            parts = self.run_parts(run_part, len(images))
        return {layer: torch.cat(each) for layer, each in zip(layers, zip(*parts, strict=True), strict=True)}

    def forward_from(self, image: Float[Tensor, "1 c h w"], layer: str, features: Features) -> Float[Tensor, "m k"]:
        """Score one image whose activations at the layer were replaced, m times: what is before it runs once.

        Where what comes after the layer also takes from before it, and does not fit one image to m, all m run whole.
        """
        replaced = local()  # lots are passed side by side

        def change(value: Tensor) -> Tensor:
            return from_feature_maps(replaced.features, value, self.size)

        def run_part(part: slice) -> Tensor:
            replaced.features = features[part]
            return self._activate(self._run_replaced(image, len(replaced.features)))

        with torch.no_grad(), run_eagerly(self.module) as inner, record_activations(inner, [layer], {layer: change}):
            return torch.cat(self.run_parts(run_part, len(features), lot=lots.REPLACED))

    def _run_replaced(self, image: Images, count: int) -> Tensor:
        try:
            scores = self._run(image, "exact")
        except RuntimeError as problem:
            if count == 1 or isinstance(problem, torch.OutOfMemoryError):
                raise
            scores = None
        return self._run_part(image.expand(count, -1, -1, -1), "exact") if scores is None or len(scores) != count else scores

    def differentiate(
        self, images: Images, targets: Sequence[Target] | None, layers: Sequence[str], of: Scale = "logit"
    ) -> ActivationsAndGradients:
        """Score images, one target each (None: the likeliest class), or several of one image, and differentiate."""
        with run_eagerly(self.module) as inner:
            activate = partial(heads.apply_head, head=self.head, of=of)
            return differentiate(inner, self.logits, activate, images, targets, layers, self.run_parts)
