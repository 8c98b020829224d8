"""Attention matrices as they are recorded, against softmax by hand."""

from __future__ import annotations

import gc
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from salience.engine.inside.attention import record_attentions
from salience.engine.inside.hooks import record_activations
from tests.helpers import apart, noise, same

SMALL = {"embed_dim": 16, "depth": 2, "num_heads": 2, "num_classes": 5, "patch_size": 8, "img_size": 32}


def lively(net: nn.Module) -> nn.Module:
    """Draw weights so large that attention is far from even."""
    torch.manual_seed(0)
    for weights in net.parameters():
        nn.init.normal_(weights, std=0.3)
    return net.eval()


def vit(**more: Any) -> nn.Module:
    """Make timm's vision transformer, tiny."""
    from timm.models import VisionTransformer

    return lively(VisionTransformer(**(SMALL | more)))


def network(name: str) -> nn.Module:
    """Make a vision transformer of some library."""
    if name == "torchvision":
        from torchvision.models import VisionTransformer

        return lively(VisionTransformer(32, 8, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=32, num_classes=5))
    if name.startswith("transformers"):
        from transformers import ViTConfig, ViTForImageClassification

        sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
        config = ViTConfig(image_size=32, patch_size=8, num_labels=5, **sizes)
        return lively(ViTForImageClassification._from_config(config, attn_implementation=name.split()[1]))
    net = vit(reg_tokens=4) if name == "registers" else vit()
    for block in net.blocks:
        block.attn.fused_attn = name != "timm by hand"
    return net


NETWORKS = ["timm", "timm by hand", "registers", "torchvision", "transformers eager", "transformers sdpa"]


def by_hand(net: nn.Module, images: Tensor) -> Tensor:
    """Compute the first block's attention from what its linear layers put out."""
    named = dict(net.named_modules())
    first = next((name for name in named if name.endswith((".qkv", ".self_attention", ".q_proj", ".query"))), "")
    into = first.replace("q_proj", "k_proj").replace("query", "key")
    layer = first + ":in" * first.endswith("self_attention")
    with torch.no_grad(), record_activations(net, [layer, into]) as seen:
        net(images)
        if layer != first:
            seen[layer] = functional.linear(seen[layer], named[first].in_proj_weight, named[first].in_proj_bias)
    q, k = (seen[layer], seen[into]) if into != first else seen[layer].split(16, dim=-1)[:2]
    q, k = (each.unflatten(-1, (2, 8)).transpose(1, 2) for each in (q, k))
    return torch.softmax(q @ k.mT / 8**0.5, dim=-1)


@pytest.mark.parametrize("name", NETWORKS)
def test_recorded_matrices_equal_softmax_by_hand(name: str) -> None:
    """Fused or not, through torch's own module or not."""
    net, images = network(name), noise(3, 3, 32, 32, dtype=torch.float32)
    with torch.no_grad(), record_attentions() as seen:
        net(images)
    assert len(seen) == 2
    assert same(seen[0].matrix, by_hand(net, images), 1e-5)
    assert all(apart(each.matrix.sum(-1), torch.ones(())) < 1e-5 for each in seen)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_network_answers_as_it_does_unrecorded(name: str) -> None:
    """Computed in the open, attention has the same values; a bystander's thread, too, and nobody records it."""
    net, images = network(name), noise(3, 3, 32, 32, dtype=torch.float32)
    before = [len(each._forward_hooks) + len(each._forward_pre_hooks) for each in net.modules()]
    with torch.no_grad(), record_attentions() as seen, ThreadPoolExecutor(1) as other:
        found = net(images)
        beside = other.submit(lambda: net(images)).result()
    plain = net(images)
    for one in (found, beside):
        assert apart(*(getattr(each, "logits", each).detach() for each in (one, plain))) < 1e-5
    assert len(seen) == 2
    assert before == [len(each._forward_hooks) + len(each._forward_pre_hooks) for each in net.modules()]


ARGUMENTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "scale": {"scale": 0.3},
    "causal": {"is_causal": True},
    "bias": {"attn_mask": noise(5, 5, seed=4) - 0.5},
    "hidden": {"attn_mask": noise(2, 1, 5, 5, seed=4) > 0.6},
    "blind": {"attn_mask": torch.zeros(5, 5, dtype=torch.bool)},
    "groups": {"enable_gqa": True},
}


@pytest.mark.parametrize("case", ARGUMENTS)
def test_attention_in_the_open_equals_torchs_own(case: str) -> None:
    """Every argument that torch documents, and a query that may see nothing."""
    q, k, v = (noise(2, 4, 5, 3, seed=seed) * 4 for seed in range(3))
    if case == "groups":
        k, v = k[:, :2], v[:, :2]
    plain = functional.scaled_dot_product_attention(q, k, v, **ARGUMENTS[case])
    with record_attentions() as seen:
        found = functional.scaled_dot_product_attention(q, k, v, **ARGUMENTS[case])
    assert same(found, plain)
    assert len(seen) == 1


@pytest.mark.parametrize("averaged", [False, True])
def test_torchs_module_is_recorded_when_it_gives_its_weights_too(averaged: bool) -> None:
    """It then takes its softmax in a way that nobody sees; what it gives is the same."""
    module, tokens = lively(nn.MultiheadAttention(16, 2, batch_first=True)), noise(2, 5, 16, dtype=torch.float32)
    plain = module(tokens, tokens, tokens, average_attn_weights=averaged)
    with record_attentions() as seen:
        found = module(tokens, tokens, tokens, average_attn_weights=averaged)
    assert len(seen) == 1
    assert all(same(one.detach(), other.detach(), 1e-5) for one, other in zip(found, plain, strict=True))


def test_the_fused_path_of_torchs_encoder_is_kept_away() -> None:
    """In eval mode without gradients it would run as one kernel."""
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    net, tokens = nn.TransformerEncoder(layer, 2).eval(), noise(2, 5, 16, dtype=torch.float32)
    with torch.no_grad(), record_attentions() as seen:
        found = net(tokens)
    assert len(seen) == 2
    assert same(found, net(tokens).detach(), 1e-5)


def test_each_backward_pass_adds_its_slopes() -> None:
    """Of Σ w A the gradient is w; of the second score, the second."""
    weights, scores = noise(2, 1, 2, 4, 4), noise(1, 2, 4, 4, seed=1).requires_grad_()
    with record_attentions() as seen:
        matrix = scores.softmax(-1)
        for each in weights:
            torch.autograd.grad((each * matrix).sum(), scores, retain_graph=True)
    assert same(torch.cat(seen[0].gradients), weights.flatten(0, 1))
    assert not seen[0].matrix.requires_grad


def test_torchs_function_is_put_back_after_an_error_and_no_graph_is_kept() -> None:
    """Also where recordings lie in each other."""
    original = functional.scaled_dot_product_attention
    with pytest.raises(ValueError, match="tired"), record_attentions(), record_attentions():
        raise ValueError("tired")
    assert functional.scaled_dot_product_attention is original
    leaf = noise(1, 2, 4, 4).requires_grad_()
    gone = weakref.ref(leaf)
    with record_attentions() as seen:
        functional.scaled_dot_product_attention(leaf, leaf, leaf).sum().backward()
    del leaf
    gc.collect()
    assert gone() is None
    assert len(seen[0].gradients) == 1


def test_a_pass_for_which_memory_was_wanting_leaves_nothing() -> None:
    """It is made again with fewer images, and these alone count."""

    class Greedy(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if func is torch.nn.functional.gelu and len(args[0]) > 2:
                raise torch.OutOfMemoryError
            return func(*args, **(kwargs or {}))

    net, images = vit(), noise(3, 3, 32, 32, dtype=torch.float32)
    with Greedy(), record_attentions() as seen:
        with pytest.raises(torch.OutOfMemoryError):
            net(images)
        assert seen == []
        net(images[:2])
    assert [len(each.matrix) for each in seen] == [2, 2]
