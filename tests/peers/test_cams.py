"""Agreement with captum, torchcam and pytorch-grad-cam. Each is skipped where it is not installed.

The peers leave modes, gradients or hooks behind, so each comparison builds its network anew. They normalise to 0…1, so
maps are compared after that: all peers enlarge bilinearly as we do, and what is left is the rounding of single precision.
"""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.nn import functional

from salience import registry
from salience.boxes.torch import TorchBox
from salience.methods import eigen_cam
from salience.picture import Preparation
from tests.helpers import apart, noise

CLOSE = 1e-4  # of the range 0…1; most is left in Ablation-CAM, which subtracts nearly equal scores
LAYERS = {"small": "3", "resnet18": "layer3"}
TARGETS = (0, 2)

each_network = pytest.mark.parametrize("kind", LAYERS)


def network(kind: str, *, loud: float = 1000) -> tuple[nn.Module, Tensor]:
    """Make a random network and an image; `loud` enlarges the logits, for the peers add an ε to what they divide by."""
    torch.manual_seed(268)
    if kind == "small":
        net: Any = nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 5, 3, padding=1, stride=2), nn.ReLU(),
            nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(20, 6), nn.ReLU(), nn.Linear(6, 3),
        )  # fmt: skip  # a column of layers would fill the page
        last, side = net[-1], 8
    else:
        net = pytest.importorskip("torchvision").models.resnet18(num_classes=3)
        last, side = net.fc, 64
    with torch.no_grad():
        last.weight.mul_(loud)
        last.bias.fill_(2 * loud)  # no score is below zero
    return net.eval(), noise(3, side, side, dtype=torch.float32)


def ours(name: str, kind: str, target: int, **settings: Any) -> Tensor:
    """Explain with our method, on the raw logits, and normalise."""
    net, image = network(kind)
    box = TorchBox(net, Preparation(image.shape[-2:]), "abc", head="none", backend="exact")
    return normalised(registry.make_method(name, layer=LAYERS[kind], **settings)(box, image, target))


def normalised(saliency: Tensor) -> Tensor:
    """Bring to 0…1."""
    low, high = saliency.aminmax()
    assert high > low, "a blank map agrees with any"
    return (saliency - low) / (high - low)


def enlarged(small: Tensor, side: int) -> Tensor:
    """Enlarge a peer's (y x) map."""
    return functional.interpolate(small[None, None], size=(side, side), mode="bilinear", align_corners=False)[0, 0]


@each_network
@pytest.mark.parametrize("target", TARGETS)
def test_grad_cam_agrees_with_captum(kind: str, target: int) -> None:
    """`LayerGradCam`, cut at zero before it is enlarged."""
    captum = pytest.importorskip("captum.attr")
    net, image = network(kind)
    small = captum.LayerGradCam(net, net.get_submodule(LAYERS[kind])).attribute(image[None], target, relu_attributions=True)
    peer = enlarged(small[0, 0].detach(), image.shape[-1])
    assert apart(ours("grad-cam", kind, target), normalised(peer)) <= CLOSE


def torchcam(method: str, kind: str, target: int) -> Tensor:
    """Explain with torchcam."""
    methods = pytest.importorskip("torchcam.methods")
    net, image = network(kind)
    with getattr(methods, method)(net, LAYERS[kind], input_shape=tuple(image.shape)) as extractor:
        (small,) = extractor(class_idx=target, scores=net(image[None]), normalized=False)
    return normalised(enlarged(small[0], image.shape[-1]))


@each_network
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(("name", "method"), [("grad-cam", "GradCAM"), ("xgrad-cam", "XGradCAM"), ("layer-cam", "LayerCAM")])
def test_cams_agree_with_torchcam(name: str, method: str, kind: str, target: int) -> None:
    """The same definitions."""
    assert apart(ours(name, kind, target), torchcam(method, kind, target)) <= CLOSE


def test_torchcam_loses_the_denominator_of_grad_cam_plus_plus() -> None:
    """It divides a masked copy in place, so its weights are Σ g² · ReLU(g): pytorch-grad-cam is compared with instead."""
    net, image = network("small")
    maps = net[:4](image[None]).detach().requires_grad_()
    (gradients,) = torch.autograd.grad(net[4:](maps)[0, 2], maps)
    weights = (gradients**2 * gradients.relu()).sum((2, 3), keepdim=True)
    peer = torchcam("GradCAMpp", "small", 2)
    undivided = normalised(enlarged((weights * maps.detach()).sum(1).relu()[0], 8))
    assert apart(peer, undivided) <= CLOSE
    assert apart(peer, ours("grad-cam++", "small", 2)) > 0.01


def pytorch_grad_cam(method: str, kind: str, target: int) -> Tensor:
    """Explain with pytorch-grad-cam."""
    peers = pytest.importorskip("pytorch_grad_cam")
    net, image = network(kind)
    with getattr(peers, method)(model=net, target_layers=[net.get_submodule(LAYERS[kind])]) as extractor:
        found = extractor(image[None], [peers.utils.model_targets.ClassifierOutputTarget(target)])
    return normalised(torch.from_numpy(found[0]))


@each_network
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(
    ("name", "method"),
    [
        ("grad-cam", "GradCAM"),
        ("grad-cam++", "GradCAMPlusPlus"),
        ("xgrad-cam", "XGradCAM"),
        ("layer-cam", "LayerCAM"),
        ("hires-cam", "HiResCAM"),
        ("ablation-cam", "AblationCAM"),
    ],
)
def test_cams_agree_with_pytorch_grad_cam(name: str, method: str, kind: str, target: int) -> None:
    """The same definitions.

    Ablation-CAM on a box whose scores are the logits, all above zero (the peer divides by y, we by |y|), behind a ReLU
    (elsewhere the peer does not set maps to zero, but to the least of all values less 10⁷).
    """
    assert apart(ours(name, kind, target), pytorch_grad_cam(method, kind, target)) <= CLOSE


@each_network
def test_centred_eigen_cam_agrees_with_pytorch_grad_cam_up_to_the_sign(kind: str) -> None:
    """The peer centres, lets the decomposition choose the sign, and cuts below zero before it enlarges."""
    net, image = network(kind)
    box, layer = TorchBox(net, Preparation(image.shape[-2:]), "abc", backend="exact"), LAYERS[kind]
    found = eigen_cam.project(box.activations(image[None], [layer])[layer], centred=True)[0]
    peer = pytorch_grad_cam("EigenCAM", kind, 0)
    either = [normalised(enlarged((sign * found).relu(), image.shape[-1])) for sign in (1, -1)]
    assert min(apart(each, peer) for each in either) <= CLOSE


@pytest.mark.parametrize(("name", "method"), [("grad-cam", "GradCAM"), ("layer-cam", "LayerCAM"), ("hires-cam", "HiResCAM")])
def test_cams_of_a_vision_transformer_agree_with_pytorch_grad_cam(name: str, method: str) -> None:
    """The peer is told how tokens become maps; we find out."""
    peers = pytest.importorskip("pytorch_grad_cam")

    def vit() -> Any:
        torch.manual_seed(0)
        return timm.create_model("vit_tiny_patch16_224", img_size=64, depth=4, num_classes=3).eval()

    def tokens(output: Tensor) -> Tensor:
        return output[:, 1:].unflatten(1, (4, 4)).permute(0, 3, 1, 2)

    net, image = vit(), noise(3, 64, 64, dtype=torch.float32)
    with getattr(peers, method)(model=net, target_layers=[net.blocks[-1].norm1], reshape_transform=tokens) as extractor:
        found = extractor(image[None], [peers.utils.model_targets.ClassifierOutputTarget(1)])
    box = TorchBox(vit(), Preparation((64, 64)), "abc", backend="exact")
    assert apart(normalised(registry.make_method(name)(box, image, 1)), normalised(torch.from_numpy(found[0]))) <= CLOSE
