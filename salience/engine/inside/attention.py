"""Record every attention matrix of a transformer, and its gradient, during a forward and backward pass.

Fused kernels never form the matrix, so while recording, `scaled_dot_product_attention` is computed step by step:
softmax(Q Kᵀ · scale + mask) V. Softmaxes that a network writes out itself are intercepted by a `TorchFunctionMode`,
which also disables the fused path of `nn.TransformerEncoderLayer`. Only the context that records is affected: other
threads run as before.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from salience.engine.inside import cams
from salience.engine.inside.loop import choose_layer, introspect
from salience.errors import BoxError
from salience.estimates import Estimate
from salience.types import IMAGE, Images, OpenBox, Target

PREFIX = 16  # class, distillation and register tokens that may stand in front of the grid
Mix = Callable[[Tensor, Tensor], Tensor]
"""Maps an attention and its gradients (m heads t t) to the weight of each token in each other (m t t)."""


@dataclass(frozen=True)
class Attention:
    """One attention of one forward pass; each backward pass adds to the gradients.

    >>> Attention(torch.ones(1, 2, 5, 5)).stack_gradients(3)[1].shape  # of three targets
    torch.Size([3, 2, 5, 5])
    """

    matrix: Float[Tensor, "n heads t s"]
    gradients: list[Tensor] = field(default_factory=list)  # d score / d matrix

    def stack_gradients(self, count: int) -> tuple[Float[Tensor, "m heads t s"], Float[Tensor, "m heads t s"]]:
        """Return the matrix and its gradients, one a target; 0 where the score does not depend on it."""
        matrix = self.matrix.float().expand(count, -1, -1, -1)
        return matrix, torch.cat(self.gradients).float() if self.gradients else torch.zeros_like(matrix)


@contextmanager
def record_attentions() -> Iterator[list[Attention]]:
    """Collect the attentions (n heads t s) of all forward passes inside, in their order.

    >>> layer = torch.nn.MultiheadAttention(8, num_heads=2, batch_first=True).eval()
    >>> with record_attentions() as attentions:
    ...     _ = layer(*[torch.ones(1, 5, 8)] * 3)
    >>> [attention.matrix.shape for attention in attentions]
    [torch.Size([1, 2, 5, 5])]
    """
    recorder = _Recorder()
    token = _current.set(recorder)
    try:
        with _AttentionPatch.install(), recorder:
            yield recorder.attentions
    finally:
        _current.reset(token)


def explain(box: OpenBox, images: Images, targets: Sequence[Target], name: str, mix: Mix) -> list[Estimate]:
    """Follow the answer back through all attentions to the patches: rows of the product of what `mix` gives.

    The answer is taken from the tokens whose row of the last attention gets a gradient: the class token, or all patches
    where they are averaged. Of several rows it is the mean.

    >>> from salience.boxes import toy
    >>> explain(toy.load("colour"), toy.picture()[None], [0], "attention-rollout", lambda matrix, _: matrix.mean(1))
    Traceback (most recent call last):
    salience.errors.BoxError: expected a transformer with attention over the whole picture for attention-rollout, ...
    """
    layer = choose_layer(box, images, None)
    estimates: list[Estimate] = []
    with record_attentions() as attentions:
        for _, batch, result in introspect(box, images, targets, [IMAGE, layer]):
            grid = (result.activations[layer].shape[-2], result.activations[layer].shape[-1])
            expect_whole(box, name, attentions, len(batch), grid)
            flow = _flow([each.stack_gradients(len(result.targets)) for each in attentions], mix)
            small = flow[:, -grid[0] * grid[1] :].unflatten(1, grid)
            evidence = {"grid": grid, "attentions": len(attentions)}
            estimates += [Estimate(each, evidence=evidence) for each in cams.enlarge(small, batch)]
            attentions.clear()
    return estimates


def expect_whole(box: OpenBox, name: str, attentions: Sequence[Attention], count: int, grid: tuple[int, int]) -> None:
    """Refuse a box in which not every attention is over the whole picture.

    >>> from salience.boxes import toy
    >>> expect_whole(toy.load("colour"), "attention-rollout", [Attention(torch.ones(1, 2, 17, 17))], count=1, grid=(4, 4))
    """
    tokens = {each.matrix.shape[-1] for each in attentions}
    whole = all(len(each.matrix) == count and each.matrix.shape[2] == each.matrix.shape[3] for each in attentions)
    if not whole or len(tokens) != 1 or not 0 <= min(tokens) - grid[0] * grid[1] <= PREFIX:
        raise BoxError(
            f"expected a transformer with attention over the whole picture for {name}, got none in {box.name}: use grad-cam"
        )


def _flow(blocks: Sequence[tuple[Tensor, Tensor]], mix: Mix) -> Float[Tensor, "m t"]:
    flow = torch.zeros_like(blocks[0][0][:, 0, 0])
    for matrix, gradients in reversed(blocks):
        answering = (gradients.abs().amax((1, 3)) > 0).float()
        started = flow.abs().sum(1, keepdim=True) > 0
        flow = torch.where(started, flow, answering / answering.sum(1, keepdim=True).clamp(min=1))
        flow = (flow[:, None] @ mix(matrix, gradients))[:, 0]
    return flow


class _Recorder(TorchFunctionMode):
    """Intercepts every call of torch and records the attentions."""

    def __init__(self) -> None:
        super().__init__()
        self.attentions: list[Attention] = []

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        named = kwargs or {}
        called = getattr(func, "__name__", "")
        try:
            if called == "scaled_dot_product_attention":
                return self.attend(*args, **named)
            if called == "multi_head_attention_forward" and named.get("need_weights") and args[0].ndim == 3:
                out, _ = func(*args, **named | {"need_weights": False})  # else its softmax would not be intercepted
                weights = self.attentions[-1].matrix
                return out, weights.mean(1) if named.get("average_attn_weights", True) else weights
            result = func(*args, **named)
        except (torch.OutOfMemoryError, MemoryError):
            self.attentions.clear()  # the pass is made again with fewer images
            raise
        if called == "softmax":
            self.record(result)
        return result

    def record(self, matrix: Tensor) -> None:
        """Record what may be an attention; one of a single query, as in a pooling at the end, mixes no tokens."""
        if matrix.ndim == 4 and min(matrix.shape[2:]) > 1:
            attention = Attention(matrix.detach())
            if matrix.requires_grad:
                matrix.register_hook(lambda gradient: attention.gradients.append(gradient.detach()))
            self.attentions.append(attention)

    def attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,  # noqa: ARG002  # boxes answer in eval mode
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Tensor:
        """Compute `scaled_dot_product_attention` as torch documents it, and record the matrix."""
        if enable_gqa:
            key, value = (each.repeat_interleave(query.shape[-3] // each.shape[-3], -3) for each in (key, value))
        scores = query @ key.mT * (query.shape[-1] ** -0.5 if scale is None else scale)
        if is_causal:
            attn_mask = torch.ones_like(scores, dtype=torch.bool).tril()
        if attn_mask is not None:
            scores = scores + attn_mask if attn_mask.dtype != torch.bool else scores.masked_fill(~attn_mask, -torch.inf)
        masked_out = scores.isneginf().all(-1, keepdim=True)  # a query that may attend to nothing gets 0
        # the exponential of log_softmax, for a softmax would be recorded a second time
        matrix = scores.masked_fill(masked_out, 0).log_softmax(-1).exp().masked_fill(masked_out, 0)
        self.record(matrix)
        return matrix @ value


_current: ContextVar[_Recorder | None] = ContextVar("salience_attentions", default=None)


class _AttentionPatch:
    """Replaces torch's `scaled_dot_product_attention` while any thread records."""

    lock: ClassVar[threading.Lock] = threading.Lock()
    users: ClassVar[int] = 0
    original: ClassVar[Any] = None

    @classmethod
    @contextmanager
    def install(cls) -> Iterator[None]:
        with cls.lock:
            if cls.users == 0:
                cls.original = functional.scaled_dot_product_attention
                functional.scaled_dot_product_attention = cls.attend
            cls.users += 1
        try:
            yield
        finally:
            with cls.lock:
                cls.users -= 1
                if cls.users == 0:
                    functional.scaled_dot_product_attention = cls.original

    @classmethod
    def attend(cls, *args: Any, **named: Any) -> Tensor:
        recorder = _current.get()
        attended: Tensor = (cls.original if recorder is None else recorder.attend)(*args, **named)
        return attended
