"""Record every attention matrix of a transformer, and its gradient, while a box is read.

Fused kernels never form the matrix, so while somebody records, `scaled_dot_product_attention` is computed in the open:
softmax(Q Kᵀ · scale + mask) V. Softmaxes that a network writes out itself are seen by a mode of torch, which also keeps
the fused path of `nn.TransformerEncoderLayer` away. Only the context that asked is recorded: other threads run as ever.
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
from salience.types import IMAGE, Estimate, Images, OpenBox, Target

PREFIX = 16  # class, distillation and register tokens that may stand in front of the grid
Mix = Callable[[Tensor, Tensor], Tensor]
"""From an attention and its gradients (m heads t t) to how much of each token goes into each other (m t t)."""


@dataclass(frozen=True)
class Attention:
    """One attention of one forward pass; each backward pass adds to the gradients."""

    matrix: Float[Tensor, "n heads t s"]
    gradients: list[Tensor] = field(default_factory=list)  # d score / d matrix

    def sloped(self, count: int) -> tuple[Float[Tensor, "m heads t s"], Float[Tensor, "m heads t s"]]:
        """Return the matrix and its gradients, one a target; an attention that the score does not see has gradients of 0."""
        wide = self.matrix.float().expand(count, -1, -1, -1)
        return wide, torch.cat(self.gradients).float() if self.gradients else torch.zeros_like(wide)


@contextmanager
def record_attentions() -> Iterator[list[Attention]]:
    """Collect the attentions (n heads t s) of all forward passes inside, in their order."""
    recorder = _Recorder()
    token = _current.set(recorder)
    try:
        with _Detour.taken(), recorder:
            yield recorder.seen
    finally:
        _current.reset(token)


def explain(box: OpenBox, images: Images, targets: Sequence[Target], name: str, mix: Mix) -> list[Estimate]:
    """Follow what the answer reads back through all attentions to the patches: rows of the product of what `mix` gives.

    The answer reads the tokens whose row of the last attention gets a gradient: the class token, or all patches where
    they are averaged. Of several rows it is the mean.
    """
    at = choose_layer(box, images, None)
    found: list[Estimate] = []
    with record_attentions() as seen:
        for _, shown, reading in introspect(box, images, targets, [IMAGE, at]):
            grid = (reading.activations[at].shape[-2], reading.activations[at].shape[-1])
            expect_whole(box, name, seen, len(shown), grid)
            flow = _flow([each.sloped(len(reading.targets)) for each in seen], mix)
            small = flow[:, -grid[0] * grid[1] :].unflatten(1, grid)
            evidence = {"grid": grid, "attentions": len(seen)}
            found += [Estimate(each, evidence=evidence) for each in cams.enlarge(small, shown)]
            seen.clear()
    return found


def expect_whole(box: OpenBox, name: str, seen: Sequence[Attention], count: int, grid: tuple[int, int]) -> None:
    """Refuse a box in which not every attention is over the whole picture."""
    tokens = {each.matrix.shape[-1] for each in seen}
    whole = all(len(each.matrix) == count and each.matrix.shape[2] == each.matrix.shape[3] for each in seen)
    if not whole or len(tokens) != 1 or not 0 <= min(tokens) - grid[0] * grid[1] <= PREFIX:
        raise BoxError(
            f"expected a transformer with attention over the whole picture for {name}, got none in {box.name}: use grad-cam"
        )


def _flow(blocks: Sequence[tuple[Tensor, Tensor]], mix: Mix) -> Float[Tensor, "m t"]:
    flow = torch.zeros_like(blocks[0][0][:, 0, 0])
    for matrix, gradients in reversed(blocks):
        read = (gradients.abs().amax((1, 3)) > 0).float()
        begun = flow.abs().sum(1, keepdim=True) > 0
        flow = torch.where(begun, flow, read / read.sum(1, keepdim=True).clamp(min=1))
        flow = (flow[:, None] @ mix(matrix, gradients))[:, 0]
    return flow


class _Recorder(TorchFunctionMode):
    """Sees every call of torch; keeps what attentions there are."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Attention] = []

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        named = kwargs or {}
        called = getattr(func, "__name__", "")
        try:
            if called == "scaled_dot_product_attention":
                return self.attend(*args, **named)
            if called == "multi_head_attention_forward" and named.get("need_weights") and args[0].ndim == 3:
                out, _ = func(*args, **named | {"need_weights": False})  # else it would take its softmax out of our sight
                weights = self.seen[-1].matrix
                return out, weights.mean(1) if named.get("average_attn_weights", True) else weights
            result = func(*args, **named)
        except (torch.OutOfMemoryError, MemoryError):
            self.seen.clear()  # the pass is made again with fewer images
            raise
        if called == "softmax":
            self.keep(result)
        return result

    def keep(self, matrix: Tensor) -> None:
        """Keep what may be an attention; of one query, as a pooling at the end has it, it mixes no tokens."""
        if matrix.ndim == 4 and min(matrix.shape[2:]) > 1:
            attention = Attention(matrix.detach())
            if matrix.requires_grad:
                matrix.register_hook(lambda gradient: attention.gradients.append(gradient.detach()))
            self.seen.append(attention)

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
        """Do what torch documents of `scaled_dot_product_attention`, and keep the matrix."""
        if enable_gqa:
            key, value = (each.repeat_interleave(query.shape[-3] // each.shape[-3], -3) for each in (key, value))
        scores = query @ key.mT * (query.shape[-1] ** -0.5 if scale is None else scale)
        if is_causal:
            attn_mask = torch.ones_like(scores, dtype=torch.bool).tril()
        if attn_mask is not None:
            scores = scores + attn_mask if attn_mask.dtype != torch.bool else scores.masked_fill(~attn_mask, -torch.inf)
        blind = scores.isneginf().all(-1, keepdim=True)  # a query that may see nothing gets 0
        # the exponential of log_softmax, for a softmax would be kept a second time
        matrix = scores.masked_fill(blind, 0).log_softmax(-1).exp().masked_fill(blind, 0)
        self.keep(matrix)
        return matrix @ value


_current: ContextVar[_Recorder | None] = ContextVar("salience_attentions", default=None)


class _Detour:
    """Stands in for torch's `scaled_dot_product_attention` while anybody records, in however many threads."""

    lock: ClassVar[threading.Lock] = threading.Lock()
    users: ClassVar[int] = 0
    original: ClassVar[Any] = None

    @classmethod
    @contextmanager
    def taken(cls) -> Iterator[None]:
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
        done: Tensor = (cls.original if recorder is None else recorder.attend)(*args, **named)
        return done
