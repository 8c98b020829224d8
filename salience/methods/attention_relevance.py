"""Attention relevance. Chefer, Gur and Wolf, Generic Attention-model Explainability, ICCV 2021."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from salience.engine.inside import attention
from salience.estimates import BatchedMethod, Estimate
from salience.types import Images, OpenBox, Target


@dataclass(frozen=True)
class AttentionRelevance(BatchedMethod):
    """Let relevance flow through the attentions of a transformer that raise the class's logit.

    R ← R + Ā_l R, from the first block to the last, R = I at first;   Ā_l = mean over heads of ReLU(∂logit/∂A_l ⊙ A_l)
    saliency = the answer's row of R

    A_l is the attention of block l. The row's patches are laid out on their grid and enlarged bilinearly. Cost: one
    forward and one backward pass.

    Departs from the paper: which tokens answer is found by a gradient: the class token in most networks; where patches
    are averaged, the mean of their rows.

    >>> import salience, timm
    >>> box = salience.load(timm.create_model("test_vit").eval())
    >>> AttentionRelevance()(box, torch.rand(3, 160, 160), target=0).shape
    torch.Size([160, 160])
    """

    def many(self, box: OpenBox, images: Images, targets: Sequence[Target]) -> list[Estimate]:
        """Explain each image for its target; one image may have several targets."""
        return attention.explain(box, images, targets, "attention-relevance", _mix)


def _mix(matrix: Float[Tensor, "m heads t t"], gradients: Float[Tensor, "m heads t t"]) -> Float[Tensor, "m t t"]:
    return torch.eye(matrix.shape[-1], device=matrix.device) + (gradients * matrix).relu().mean(1)
