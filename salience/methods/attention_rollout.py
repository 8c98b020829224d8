"""Attention rollout. Abnar and Zuidema, Quantifying Attention Flow in Transformers, ACL 2020."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import Doc

from salience.engine import validate
from salience.engine.inside import attention
from salience.errors import SettingError
from salience.estimates import BatchedMethod, Estimate
from salience.types import Images, OpenBox, Target

Heads = Literal["mean", "max", "min"]
NOTE = "attention rollout does not depend on the target: its map is the same for every class"


@dataclass(frozen=True)
class AttentionRollout(BatchedMethod):
    """Multiply the attentions of a transformer: how much of each patch reaches the token that answers.

    R = Π_l S_l, the last first,   S_l = ½ A_l + ½ I, its rows divided by their sum;   saliency = the answer's row of R

    A_l is the attention of block l, one for all heads; I stands for the skip connection. The row's patches are laid out
    on their grid and enlarged bilinearly. Blind to the class. Cost: one forward and one backward pass.

    Departs from the paper: the answer's row is the class token's where that answers; where patches are averaged, the
    mean of their rows. A gradient shows which it is. Other ways than the mean to reduce the heads, and `discard`, are common
    additions to it.

    >>> import salience, timm
    >>> box = salience.load(timm.create_model("test_vit").eval())
    >>> AttentionRollout()(box, torch.rand(3, 160, 160), target=0).shape
    torch.Size([160, 160])
    """

    heads: Annotated[Heads, Doc("how the heads of a block become one: mean, max or min")] = "mean"
    discard: Annotated[float, Doc("share of each block's attentions, the lowest, that is set to 0")] = 0.0

    def __post_init__(self) -> None:
        if self.heads not in get_args(Heads):
            raise SettingError(f"expected a way to join heads, one of {', '.join(get_args(Heads))}, got {self.heads!r}")
        validate.expect_between("discard", self.discard, 0, 0.99)

    def many(self, box: OpenBox, images: Images, targets: Sequence[Target]) -> list[Estimate]:
        """Explain each image; one image may have several targets, whose maps are alike."""
        estimates = attention.explain(box, images, targets, "attention-rollout", self._mix)
        return [Estimate(each.saliency, evidence=each.evidence, notes=(NOTE, *each.notes)) for each in estimates]

    def _mix(self, matrix: Float[Tensor, "m heads t t"], _: Tensor) -> Float[Tensor, "m t t"]:
        reductions: dict[Heads, Callable[[int], Tensor]] = {"mean": matrix.mean, "max": matrix.amax, "min": matrix.amin}
        reduced = reductions[self.heads](1)
        count = int(self.discard * reduced[0].numel())
        if count:
            highest = reduced.flatten(1).kthvalue(count).values[:, None, None]
            reduced = reduced.masked_fill(reduced <= highest, 0)
        mixed: Tensor = reduced / 2 + torch.eye(reduced.shape[-1], device=reduced.device) / 2
        return mixed / mixed.sum(-1, keepdim=True)
