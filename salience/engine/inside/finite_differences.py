"""Gradients by finite differences: raise one feature map at a time by a step, and take the change of the score.

Raising map k by ε at every place changes the score by ε Σ over places of ∂score / ∂A_k: one pass a map through what
comes after the layer. For boxes that let features be replaced but do not differentiate.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from salience.engine.inside.loop import score_replaced
from salience.engine.query.ask import score_batch
from salience.engine.target import pick
from salience.types import Features, GreyBox, Images, Probabilities, Scores, Target

STEP = 0.05  # ε, in standard deviations of the layer


def estimate_gradients(
    box: GreyBox, image: Images, targets: Sequence[Target], maps: Mapping[str, Features]
) -> dict[str, Float[Tensor, "t f"]]:
    """Return, for each layer, the mean gradient over places of each target's log-probability along each feature map.

    >>> from salience.boxes import toy
    >>> box, image = toy.load("colour"), toy.picture()[None]
    >>> estimate_gradients(box, image, [0], box.activations(image, ["detect"]))["detect"].shape
    torch.Size([1, 3])
    """
    softmax = bool((score_batch(box, image).sum(1) - 1).abs() < 1e-3)  # else each class has a score of its own

    def make_log_target(target: Target) -> Callable[[Probabilities], Scores]:
        return lambda row: pick(target, row.double().log_softmax(1) if softmax else row.double())

    log_targets, logit_box = [make_log_target(each) for each in targets], box.with_logits()
    return {layer: _differentiate_layer(logit_box, image, log_targets, layer, each) for layer, each in maps.items()}


def count_passes(maps: Mapping[str, Features]) -> int:
    """Count the passes of `estimate_gradients`.

    >>> count_passes({"layer4": torch.ones(1, 512, 7, 7)})
    514
    """
    return 1 + sum(1 + each.shape[1] for each in maps.values())


def _differentiate_layer(
    box: GreyBox, image: Images, log_targets: Sequence[Target], layer: str, maps: Features
) -> Float[Tensor, "t f"]:
    channels = maps.shape[1]
    step = STEP * maps.std().clamp(min=1e-6)

    def raise_maps(part: slice) -> Features:
        numbers = torch.arange(-1, channels, device=maps.device)[part]  # the first raises none
        return maps + step * (numbers[:, None] == torch.arange(channels, device=maps.device))[:, :, None, None]

    scores = score_replaced(box, image, log_targets, layer, raise_maps, channels + 1)
    return ((scores[:, 1:] - scores[:, :1]) / (step * maps.shape[2] * maps.shape[3])).float()
