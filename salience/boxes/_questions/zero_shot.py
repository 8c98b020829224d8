"""Models of pictures and texts (CLIP, SigLIP): each text is a class, and its score the likeness of picture and text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from salience.errors import BoxError


class TextScores(nn.Module):
    """A network from images to a logit for each text: scale · cosine of their embeddings, plus a bias.

    The texts are embedded once. `embed` is the name of the model's function from images to embeddings.
    """

    texts: Tensor
    scale: Tensor
    bias: Tensor

    def __init__(
        self, model: nn.Module, embed: str, texts: Float[Tensor, "k d"], scale: Tensor | float, bias: Tensor | float = 0.0
    ) -> None:
        super().__init__()
        self.model, self.embed = model, embed
        self.register_buffer("texts", functional.normalize(texts.detach().float(), dim=1))
        self.register_buffer("scale", torch.as_tensor(scale).detach().float().reshape(()))
        self.register_buffer("bias", torch.as_tensor(bias).detach().float().reshape(()))

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k"]:
        """Return logits."""
        found = functional.normalize(take_embedding(getattr(self.model, self.embed)(images)).float(), dim=1)
        return self.scale * (found @ self.texts.T) + self.bias


def take_embedding(output: Any) -> Tensor:
    """Take the embedding (n d) of what a model returns: a tensor, or an object that holds it as pooled.

    >>> take_embedding(torch.zeros(2, 8)).shape
    torch.Size([2, 8])
    """
    pooled = output if isinstance(output, Tensor) else getattr(output, "pooler_output", None)
    if not isinstance(pooled, Tensor) or pooled.ndim != 2:
        raise BoxError(
            f"expected embeddings (n d) from the model, got {type(output).__name__}: is it one of pictures and texts?"
        )
    return pooled


def read_texts(labels: Any) -> tuple[str, ...]:
    """Read the texts: a list, or one text with commas between.

    >>> read_texts("a photo of a cat, a photo of a dog")
    ('a photo of a cat', 'a photo of a dog')
    """
    parts = labels.split(",") if isinstance(labels, str) else list(labels) if isinstance(labels, Sequence) else [labels]
    texts = tuple(each.strip() for each in parts if isinstance(each, str) and each.strip())
    if len(texts) != len(parts) or len(texts) < 2 or len(set(texts)) < len(texts):
        raise BoxError(f"expected two different texts or more as labels, got {labels!r}: write labels=a cat,a dog")
    return texts


def match_texts(net: Any, tokenizer: Any, texts: Sequence[str]) -> TextScores:
    """Make the network of a model of transformers and texts.

    >>> match_texts.__name__
    'match_texts'
    """
    tokens = tokenizer(list(texts), padding="max_length", truncation=True, return_tensors="pt")
    with torch.no_grad():
        embedded = take_embedding(
            net.get_text_features(**{key: value for key, value in tokens.items() if key != "token_type_ids"})
        )
    bias = getattr(net, "logit_bias", None)
    return TextScores(net, "get_image_features", embedded, net.logit_scale.exp(), 0.0 if bias is None else bias)
