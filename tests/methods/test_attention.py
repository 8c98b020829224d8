"""Attention rollout and attention relevance against their definitions, on transformers of every build."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from salience.boxes.torch import TorchBox, wrap
from salience.engine.inside.attention import record_attentions
from salience.engine.maps import resize
from salience.errors import BoxError, SettingError
from salience.methods.attention_relevance import AttentionRelevance
from salience.methods.attention_rollout import AttentionRollout
from tests.engine.inside.test_attention import lively, network, vit
from tests.helpers import apart, noise, same

METHODS = [AttentionRollout(), AttentionRelevance()]
both = pytest.mark.parametrize("method", METHODS, ids=["rollout", "relevance"])

# The tokens whose rows are read, and how many stand in front of the grid.
BUILDS: dict[str, tuple[dict[str, Any], list[int], int]] = {
    "class token": ({}, [0], 1),
    "registers": ({"reg_tokens": 4}, [0], 5),
    "averaged patches": ({"global_pool": "avg"}, list(range(1, 17)), 1),
    "patches alone": ({"global_pool": "avg", "class_token": False}, list(range(16)), 0),
    "not square": ({"img_size": (32, 48)}, [0], 1),
    "distilled": ({}, [0, 1], 2),
}


def boxed(build: str) -> TorchBox:
    """Make a tiny vision transformer."""
    more = BUILDS[build][0]
    if build == "distilled":
        from timm.models.deit import VisionTransformerDistilled

        sizes = {"embed_dim": 16, "depth": 2, "num_heads": 2, "num_classes": 5}
        return wrap(lively(VisionTransformerDistilled(32, 8, **sizes)), size=32, backend="exact")
    return wrap(vit(**more), size=more.get("img_size", 32), backend="exact")


def watched(box: TorchBox, image: Tensor, target: int) -> list[tuple[Tensor, Tensor]]:
    """Record each block's attention and its gradients (heads t t) by a plain backward pass."""
    leaf = image[None].clone().requires_grad_()
    with record_attentions() as seen:
        torch.autograd.grad(box.logits(leaf)[0, target], leaf)
    return [(each.matrix[0].double(), each.gradients[0][0].double()) for each in seen]


def slow(box: TorchBox, image: Tensor, mixes: list[Tensor], rows: list[int], prefix: int) -> Tensor:
    """Multiply whole matrices, entry by entry, and lay the wanted rows out on the grid."""
    tokens = range(len(mixes[0]))
    product = [[float(i == j) for j in tokens] for i in tokens]
    for mix in mixes:
        entries = mix.tolist()
        product = [[sum(entries[i][k] * product[k][j] for k in tokens) for j in tokens] for i in tokens]
    mean = [sum(product[i][j] for i in rows) / len(rows) for j in tokens][prefix:]
    return resize(torch.tensor(mean).reshape(box.size[0] // 8, box.size[1] // 8), box.size)


@pytest.mark.parametrize("build", BUILDS)
@pytest.mark.parametrize("heads", ["mean", "max", "min"])
def test_rollout_equals_its_definition_in_plain_loops(build: str, heads: Any) -> None:
    """Half attention, half identity, rows that sum to 1, block on block."""
    box, image = boxed(build), noise(3, *boxed(build).size, dtype=torch.float32)
    mixes = []
    for matrix, _ in watched(box, image, 1):
        joined = {"mean": matrix.mean(0), "max": matrix.amax(0), "min": matrix.amin(0)}[heads]
        half = (joined + torch.eye(len(joined))) / 2
        mixes.append(torch.stack([row / sum(row.tolist()) for row in half]))
    found = AttentionRollout(heads)(box, image, 1)
    assert same(found, slow(box, image, mixes, *BUILDS[build][1:]), 1e-6)


@pytest.mark.parametrize("build", BUILDS)
def test_relevance_equals_its_definition_in_plain_loops(build: str) -> None:
    """What attention times gradient has of positive, on average over the heads, on top of what was there."""
    box, image = boxed(build), noise(3, *boxed(build).size, dtype=torch.float32)
    mixes = []
    for matrix, gradients in watched(box, image, 3):
        positive = sum((a * g).clamp(min=0) for a, g in zip(matrix, gradients, strict=True)) / len(matrix)
        mixes.append(torch.eye(len(matrix[0])) + positive)
    found, plain = AttentionRelevance()(box, image, 3), slow(box, image, mixes, *BUILDS[build][1:])
    assert same(found, plain, 1e-5 * float(plain.abs().max()))
    assert float(found.std()) > 0


def test_discarding_sets_the_lowest_attentions_to_0() -> None:
    """Of 17 · 17 entries a share; the rows are made to sum to 1 again."""
    box, image = boxed("class token"), noise(3, 32, 32, dtype=torch.float32)
    mixes = []
    for matrix, _ in watched(box, image, 0):
        joined = matrix.mean(0)
        lowest = sorted(joined.flatten().tolist())[int(0.8 * 289) - 1]
        half = (torch.where(joined > lowest, joined, 0) + torch.eye(17)) / 2
        mixes.append(half / half.sum(1, keepdim=True))
    assert same(AttentionRollout(discard=0.8)(box, image, 0), slow(box, image, mixes, [0], 1), 1e-6)


@both
@pytest.mark.parametrize("name", ["timm by hand", "torchvision", "transformers eager", "transformers sdpa"])
def test_many_pictures_and_several_targets_give_what_each_gives_alone(method: Any, name: str) -> None:
    """In one batch, or in one forward pass and as many backward passes."""
    box, images = wrap(network(name), size=32, backend="exact"), noise(3, 3, 32, 32, dtype=torch.float32)
    together = method.many(box, images, [0, 1, (2, 3)])
    several = method.many(box, images[:1], [0, 1, (2, 3)])
    for number, target in enumerate([0, 1, (2, 3)]):
        alone = method(box, images[number], target)
        scale = float(alone.abs().max())
        assert apart(together[number].saliency, alone) < 1e-4 * scale
        assert apart(several[number].saliency, method(box, images[0], target)) < 1e-4 * scale


def test_rollout_says_that_it_does_not_look_at_the_class() -> None:
    """Its map is one for all targets; the other's is not."""
    box, images = boxed("class token"), noise(1, 3, 32, 32, dtype=torch.float32)
    one, other = AttentionRollout().many(box, images, [0, 1])
    assert torch.equal(one.saliency, other.saliency)
    assert "does not depend on the target" in one.notes[0]
    red, green = AttentionRelevance().many(box, images, [0, 1])
    assert apart(red.saliency, green.saliency) > 0.1 * float(red.saliency.max())


class Brightest(nn.Module):
    """One attention set by hand: the class token looks at bright patches, and the answer is how bright they are."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.AvgPool2d(8)
        self.tokens = nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        """Score whether what is looked at is bright."""
        tokens = self.patches(images).flatten(2).mT.mean(2, keepdim=True)
        tokens = self.tokens(torch.cat([torch.ones_like(tokens[:, :1]) / 2, tokens], 1))[:, None]
        seen = (10 * tokens @ tokens.mT).softmax(-1) @ tokens
        return torch.cat([1 - seen[:, 0, 0], seen[:, 0, 0]], 1)


@both
def test_the_patch_that_is_looked_at_is_found(method: Any) -> None:
    """By hand: of 4 by 6 patches the bright one gets nearly all attention."""
    box, image = wrap(Brightest(), size=(32, 48), backend="exact"), torch.full((3, 32, 48), 0.1)
    image[:, 8:16, 32:40] = 1
    found = method(box, image, 1)
    assert divmod(int(found.argmax()), 48)[0] // 8 == 1
    assert divmod(int(found.argmax()), 48)[1] // 8 == 4


@both
def test_a_compiled_network_is_read_as_it_was_written(method: Any) -> None:
    """What is compiled forms no matrix that can be seen."""
    net, image = vit(), noise(3, 32, 32, dtype=torch.float32)
    plain = method(wrap(net, size=32, backend="exact"), image, 1)
    assert same(method(wrap(torch.compile(net, backend="eager"), size=32, backend="exact"), image, 1), plain)


def without(kind: str) -> nn.Module:
    """Make a network of another kind: convolutions, attention in windows, attention over channels."""
    from timm.models import SwinTransformer, Xcit

    if kind == "convolutions":
        return nn.Sequential(nn.Conv2d(3, 4, 8, 8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5))
    if kind == "windows":
        sizes = {"embed_dim": 8, "depths": (2, 2), "num_heads": (2, 2), "window_size": 4}
        return SwinTransformer(32, 2, num_classes=5, **sizes)
    return Xcit(32, 8, num_classes=5, embed_dim=16, depth=2, num_heads=2)


@both
@pytest.mark.parametrize("kind", ["convolutions", "windows", "channels"])
def test_boxes_without_attention_over_the_whole_picture_are_refused(method: Any, kind: str) -> None:
    """In windows, or over channels, it does not say which patch goes where."""
    box = wrap(lively(without(kind)), size=32, backend="exact", name="other")
    name = "attention-rollout" if isinstance(method, AttentionRollout) else "attention-relevance"
    text = f"expected a transformer with attention over the whole picture for {name}, got none in other: use grad-cam"
    with pytest.raises(BoxError, match=text):
        method(box, noise(3, 32, 32, dtype=torch.float32), 0)


def test_settings_out_of_range_are_refused() -> None:
    """A way to join heads that there is not; all attentions discarded."""
    with pytest.raises(SettingError, match="expected a way to join heads, one of mean, max, min, got 'median'"):
        AttentionRollout(heads="median")
    with pytest.raises(SettingError, match=r"expected 0 ≤ discard ≤ 0.99, got 1"):
        AttentionRollout(discard=1)
