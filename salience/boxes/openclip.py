"""`openclip:NAME?labels=a cat,a dog`: a model of pictures and texts of open_clip; the texts are its classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from salience.boxes._questions.zero_shot import TextScores, read_texts, take_embedding
from salience.boxes._recognise import comes_from
from salience.boxes.torch import TorchBox, make_box
from salience.errors import BoxError
from salience.picture import Preparation
from salience.runtime.module import read_weights
from salience.types import Head

RUNS_NOTHING = True  # so a file may name it: see specs.expect_harmless
PUBLISHED = ("size", "normalisation", "classes", "head")


def load(name: str, *, labels: Any = None, weights: str | None = None, **options: Any) -> TorchBox:
    """Make the network; `weights` is a file, a tag of published weights (downloaded), or "none" for random ones."""
    try:
        import open_clip
    except ImportError as problem:
        raise BoxError("expected the package open_clip for openclip: boxes, got none: install salience[clip]") from problem
    tags = open_clip.list_pretrained_tags_by_model(name)
    tag = weights if weights in tags else None
    try:
        net = open_clip.create_model(name, pretrained=tag or (tags[0] if weights is None and tags else None)).eval()
        tokenizer = open_clip.get_tokenizer(name)
    except Exception as problem:
        reason = " ".join(str(problem).split())[:200]
        raise BoxError(f"expected to load openclip:{name}, got {reason}: check the name, or give weights=FILE") from problem
    if weights not in (None, "none", tag):
        read_weights(net, str(weights))
    return wrap(net, labels=labels, tokenizer=tokenizer, name=f"openclip:{name}", **options)


def recognises(thing: Any, _options: Mapping[str, Any]) -> bool:
    """Say whether it is a model of open_clip."""
    return comes_from(thing, "open_clip")


def wrap(module: Any, *, labels: Any = None, tokenizer: Any = None, name: str = "", **options: Any) -> TorchBox:
    """Make a box of a model, its texts (`labels`) and its `tokenizer`: what `open_clip.get_tokenizer` gives."""
    if labels is None or tokenizer is None:
        raise BoxError(
            f"expected texts and a tokenizer for {name or type(module).__name__}, which scores pictures against texts, got "
            "none: give labels=a photo of a cat,a photo of a dog and tokenizer=open_clip.get_tokenizer(…)"
        )
    texts = read_texts(labels)
    with torch.no_grad():
        embedded = take_embedding(module.encode_text(tokenizer(list(texts))))
    bias = getattr(module, "logit_bias", None)
    scores = TextScores(module, "encode_image", embedded, module.logit_scale.exp(), 0.0 if bias is None else bias)
    head: Head = "softmax" if bias is None else "sigmoid"
    box = make_box(
        scores, read_preparation(module), options, names=texts, name=name, published=dict.fromkeys(PUBLISHED, "open_clip")
    )
    box.head = options.get("head", head)
    return box


def read_preparation(module: Any) -> Preparation | None:
    """Read what the model's pictures want, which open_clip keeps on the tower of pictures."""
    visual = module.visual
    side = getattr(visual, "image_size", None)
    if side is None:
        return None
    size = (side, side) if isinstance(side, int) else (int(side[0]), int(side[1]))
    mean, std = getattr(visual, "image_mean", None), getattr(visual, "image_std", None)
    return Preparation(
        size,
        size[0] if size[0] == size[1] else size,
        "bicubic",
        tuple(mean or (0.48145466, 0.4578275, 0.40821073)),
        tuple(std or (0.26862954, 0.26130258, 0.27577711)),
        source="open_clip",
    )
