"""Differentiate a score with respect to the image and to inner layers, and leave nothing behind."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from salience.engine import target as targets
from salience.engine.tap import tap
from salience.types import Images, Probabilities, Target


def slope(
    module: nn.Module,
    logits: Callable[[Images], Probabilities],
    images: Images,
    target: Target,
    layers: Sequence[str] = (),
) -> tuple[Images, dict[str, Tensor]]:
    """Return the gradient of the target's logit at the images, and at what each named layer puts out.

    `torch.autograd.grad` writes to no `.grad`, so the module's own gradients stay as they were.
    """
    with torch.inference_mode(False), torch.enable_grad(), tap(module, layers) as seen:
        leaf = images.detach().clone().requires_grad_()
        score = targets.pick(target, logits(leaf)).sum()
        wanted = [leaf, *(seen[layer] for layer in layers)]
        slopes = torch.autograd.grad(score, wanted, allow_unused=True)
    slopes = tuple(torch.zeros_like(at) if each is None else each for each, at in zip(slopes, wanted, strict=True))
    return slopes[0], dict(zip(layers, slopes[1:], strict=True))
