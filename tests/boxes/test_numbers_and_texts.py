"""Numbers, likeness to another picture, and texts as classes: boxes like any other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import salience
from salience.boxes import toy
from salience.errors import BoxError
from tests.helpers import same


class Reddest(nn.Module):
    """A number: how red the middle is."""

    def __init__(self, times: float = 3.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([times]))

    def forward(self, images: Tensor) -> Tensor:
        return self.weight * images[:, :1, 8:16, 12:24].mean((2, 3)) - 1


@pytest.mark.parametrize("method", ["occlusion", "gradient"])
def test_a_number_is_asked_why_so_high_and_why_so_low(method: str) -> None:
    """The map of lower is the negative of that of higher, and no score is a percentage."""
    box = salience.load(Reddest(), size=32, head="number")
    image = toy.picture(32)
    high, low = salience.explain(box, image, method, target=["higher", "lower"])
    assert box.classes == ("higher", "lower")
    assert same(high.saliency, -low.saliency, 1e-6) or method == "gradient"  # its map has no sign
    assert high.write_score(0.5) == "0.5"
    assert float(box(image[None])[0, 0]) == pytest.approx(Reddest()(image[None])[0, 0].item(), abs=1e-5)


def test_several_numbers_have_two_sides_each() -> None:
    """Named where somebody named them."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 2))
    assert salience.load(net, size=16, head="number", classes=["age", "weight"]).classes == (
        *("age higher", "weight higher"),
        *("age lower", "weight lower"),
    )


def test_grades_are_added_up() -> None:
    """Logits of being above each of three grades make a grade from 0 to 3."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 3))
    box, image = salience.load(net, size=16, head="ordinal"), torch.rand(1, 3, 16, 16)
    assert same(box(image)[:, 0], net(image).sigmoid().sum(1).detach(), 1e-5)


@pytest.mark.parametrize("as_module", [True, False])
def test_likeness_is_the_cosine_with_another_picture(as_module: bool) -> None:
    """As a torch network with gradients, and as any box: the same numbers, and the red that both have is the evidence."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten())
    image, other = toy.picture(32), toy.picture(32).flip(-1)

    def function(images: Tensor) -> Tensor:
        return net(images)

    given: Any = net if as_module else function
    options = {} if as_module else {"takes": "torch"}
    box = salience.load(given, size=32, like=other, **options)
    expected = torch.cosine_similarity(net(image[None]), net(other[None])).detach()
    assert same(box(image[None])[:, 0], expected, 1e-5)
    assert box.classes == ("like tensor", "unlike tensor")
    why = salience.explain(box, image, "occlusion", target="like tensor", window=8, stride=4)
    assert why.write_score(0.25) == "0.25"
    if as_module:
        assert salience.explain(box, image, "grad-cam", target=0).saliency.shape == (32, 32)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save a small CLIP of random weights with a tokenizer of letters."""
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("clip")
    letters = [chr(each) for each in range(ord("a"), ord("z") + 1)]
    words = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{each}</w>" for each in letters)]
    (folder / "vocab.json").write_text(json.dumps({each: number for number, each in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = transformers.CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=16)
    text = {"vocab_size": len(words), "max_position_embeddings": 16, "bos_token_id": 0, "eos_token_id": 1}
    size = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    torch.manual_seed(0)
    config = transformers.CLIPConfig(
        text_config=text | size, vision_config={"image_size": 32, "patch_size": 8} | size, projection_dim=16
    )
    transformers.CLIPModel(config).eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    crop = {"height": 32, "width": 32}
    transformers.CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=crop).save_pretrained(folder)
    return folder


def test_texts_are_classes(clip: Path) -> None:
    """The scores are those of the model itself for picture and texts."""
    import transformers

    box = salience.load(f"hf:{clip}?labels=a cat,a dog,a bus", backend="exact")
    assert tuple(box.classes) == ("a cat", "a dog", "a bus")
    net, words = transformers.CLIPModel.from_pretrained(clip).eval(), transformers.AutoTokenizer.from_pretrained(clip)
    image = torch.rand(1, 3, 32, 32)
    tokens = words(["a cat", "a dog", "a bus"], padding="max_length", truncation=True, return_tensors="pt")
    with torch.no_grad():
        raw = net(pixel_values=box.normalise(image), **tokens).logits_per_image.softmax(1)  # type: ignore[attr-defined]  # of torch
    assert same(box(image), raw, 1e-5)


@pytest.mark.parametrize("method", ["occlusion", "gradient", "attention-rollout", "grad-cam", "rise"])
def test_swapping_the_texts_swaps_the_maps(method: str, clip: Path) -> None:
    """A text has its map wherever it stands in the list; the methods of tokens look at the tower of pictures."""
    one, other = (salience.load(f"hf:{clip}?labels={labels}", backend="exact") for labels in ("a cat,a dog", "a dog,a cat"))
    image, settings = torch.rand(3, 32, 32), {"masks": 64} if method == "rise" else {}
    maps = [salience.explain(box, image, method, target="a dog", batch=16, **settings).saliency for box in (one, other)]
    assert same(maps[0], maps[1], 1e-5)
    if method != "attention-rollout":  # which is of no class
        assert not same(maps[0], salience.explain(one, image, method, target="a cat", batch=16, **settings).saliency, 1e-5)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ("", "expected texts for hf:.*, which scores pictures against texts, got none: give labels="),
        ("?labels=a cat", "expected two different texts or more as labels, got 'a cat'"),
        ("?labels=a cat,a cat", "expected two different texts or more as labels"),
    ],
)
def test_labels_are_asked_for(labels: str, said: str, clip: Path) -> None:
    """One text has nothing to be likelier than."""
    with pytest.raises(BoxError, match=said):
        salience.load(f"hf:{clip}{labels}")


def test_a_model_of_open_clip_has_texts_for_classes() -> None:
    """Random weights, its own tokenizer: the scores are those of the model for picture and texts, and it has layers."""
    open_clip = pytest.importorskip("open_clip")
    towers = {"layers": 2, "width": 64}
    config = {"embed_dim": 32, "vision_cfg": towers | {"image_size": 32, "patch_size": 8, "head_width": 32}}
    torch.manual_seed(0)
    net = open_clip.CLIP(**config, text_cfg=towers | {"context_length": 77, "vocab_size": 49408, "heads": 2}).eval()
    words = open_clip.get_tokenizer("ViT-B-32")
    box = salience.load(net, labels=["a cat", "a dog"], tokenizer=words, size=32, backend="exact")
    image = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        one, other, scale = net(box.normalise(image), words(["a cat", "a dog"]))[:3]  # type: ignore[attr-defined]  # of torch
    assert same(box(image), (scale * one @ other.T).softmax(1), 1e-5)
    assert salience.explain(box, image[0], "grad-cam", target="a dog").saliency.abs().sum() > 0


@pytest.mark.parametrize("kind", ["texts", "likeness", "number"])
def test_what_is_no_class_is_deleted_and_inserted_too(kind: str, clip: Path) -> None:
    """RISE with the masks of D-RISE, LIME and occlusion explain it, and measures take the maps."""
    if kind == "texts":
        box: Any = salience.load(f"hf:{clip}?labels=a cat,a dog", backend="exact")
    elif kind == "likeness":
        box = salience.load(nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.Flatten()), size=32, like=toy.picture(32))
    else:
        box = salience.load(Reddest(), size=32, head="number")
    for method, settings in (("rise", {"masks": 64, "cells": 16}), ("lime", {"masks": 64}), ("occlusion", {})):
        why = salience.explain(box, toy.picture(32), method, target=0, batch=16, **settings)
        assert bool(why.saliency.isfinite().all())
        assert all(each.value == each.value for each in salience.measure(box, why, ["deletion", "insertion"]))
