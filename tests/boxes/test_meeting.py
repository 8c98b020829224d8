"""A box is met before it is believed: what it takes, what it puts out, and what nobody can say of it."""

from __future__ import annotations

import json
import warnings
from collections import namedtuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import salience
from salience.engine.query.batch_size import BatchSize
from salience.errors import BoxError, SalienceError, SettingError, UnknownName
from salience.runtime import cache_folder
from tests.helpers import apart, noise

IMAGES = noise(4, 3, 32, 32, dtype=torch.float32)
Pair = namedtuple("Pair", "features answer")  # as people write it


def network(channels: int = 3, classes: int = 3, *end: nn.Module) -> nn.Sequential:
    """Make a small network; `end` is what comes after its logits."""
    torch.manual_seed(0)
    body = [nn.Conv2d(channels, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, classes)]
    return nn.Sequential(*body, *end).eval()


def read_findings(box: Any) -> dict[str, Any]:
    """Return what was found, by what it is about."""
    return {each.about: each.value for each in box.findings}


class Puts(nn.Module):
    """A network that puts out what a function makes of its features (n 30), its logits (n 5) and its images."""

    def __init__(self, how: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.how, self.answer = how, nn.Linear(3, 5)

    def forward(self, images: Tensor) -> Any:
        """Answer."""
        features = images.mean((2, 3))
        logits = self.answer(features)
        return FORMS[self.how](features.repeat(1, 10), logits, images)


FORMS: dict[str, Any] = {
    "features first": lambda features, logits, images: (features, logits),
    "by name": lambda features, logits, images: {"features": features, "logits": logits},
    "loss first": lambda features, logits, images: {"loss": logits.sum(), "pred": logits},
    "loss in a tuple": lambda features, logits, images: (logits.sum(), logits),
    "labels first": lambda features, logits, images: (logits.argmax(1), logits),
    "maps first": lambda features, logits, images: [images, logits],
    "named tuple": lambda features, logits, images: Pair(features, logits),
    "nested": lambda features, logits, images: {"heads": {"species": logits}, "loss": logits.sum()},
    "one logit, squeezed": lambda features, logits, images: logits[:, 0].squeeze(),
    "maps of one pixel": lambda features, logits, images: logits[:, :, None, None],
    "coarse maps": lambda features, logits, images: logits[:, :, None, None] * images.mean(1, keepdim=True)[..., :4, :4],
    "nothing but labels": lambda features, logits, images: logits.argmax(1),
}


# --- what it puts out ---


@pytest.mark.parametrize(
    ("end", "head"),
    [
        (nn.Softmax(1), "probabilities"),
        (nn.Sigmoid(), "label-probabilities"),
        (nn.LogSoftmax(1), "softmax"),
        (nn.Identity(), "softmax"),
        (nn.Sequential(nn.Softmax(1), nn.Unflatten(1, (3, 1)), nn.Flatten()), "probabilities"),
        (nn.Sequential(nn.Softmax(1), nn.Dropout(0.5)), "probabilities"),
    ],
    ids=lambda each: str(each)[:20],
)
def test_probabilities_are_not_softmaxed_again(end: nn.Module, head: str) -> None:
    """What the network says is what the box says."""
    net = network(3, 3, end)
    box = salience.load(net, size=32, backend="exact")
    said = net(IMAGES).detach().exp() if isinstance(end, nn.LogSoftmax) else net(IMAGES).detach()
    expected = said.softmax(1) if isinstance(end, nn.Identity) else said
    assert read_findings(box)["head"] == head
    assert apart(box(IMAGES), expected) < 1e-6
    assert apart(box.with_logits()(IMAGES), box.logits(IMAGES).detach()) < 1e-6


def test_an_average_of_probabilities_is_one() -> None:
    """No softmax is its last operation, and the numbers say what it is."""

    class Average(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.parts = nn.ModuleList([network(3, 3, nn.Softmax(1)), network(3, 3, nn.Softmax(1))])

        def forward(self, images: Tensor) -> Tensor:
            return torch.stack([part(images) for part in self.parts]).mean(0)

    net = Average()
    assert apart(salience.load(net, size=32, backend="exact")(IMAGES), net(IMAGES).detach()) < 1e-6


def test_a_head_that_is_given_wins() -> None:
    """Whatever the numbers look like."""
    net = network(3, 3, nn.Softmax(1))
    box = salience.load(net, size=32, head="softmax", backend="exact")
    assert apart(box(IMAGES), net(IMAGES).softmax(1).detach()) < 1e-6
    assert "head" in {each.about for each in box.findings if "(given)" in each.said}


def test_logits_from_0_to_1_stay_logits() -> None:
    """Small weights make small numbers; the last operation says that they are no probabilities."""
    net = network(3, 2)
    with torch.no_grad():
        net[4].weight.mul_(0.01)
        net[4].bias.copy_(torch.tensor([0.3, 0.6]))
    box = salience.load(net, size=32, backend="exact")
    assert read_findings(box)["head"] == "softmax"
    assert apart(box(IMAGES), net(IMAGES).softmax(1).detach()) < 1e-6


class Faint(nn.Module):
    """A network whose logits all lie from 0 to 1; `normalised`, whatever the contrast of the picture."""

    def __init__(self, *, normalised: bool, recorded: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.recorded, self.body = recorded, network()[:4]
        self.norm = nn.LayerNorm(4) if normalised else nn.Identity()
        self.answer = nn.Linear(4, 2)
        with torch.no_grad():
            self.answer.weight.mul_(0.05)
            self.answer.bias.copy_(torch.tensor([0.3, 0.6]))

    def forward(self, images: Tensor) -> Tensor:
        """Answer, with or without a record of gradients."""
        with torch.set_grad_enabled(self.recorded and torch.is_grad_enabled()):
            return self.answer(self.norm(self.body(images)))  # type: ignore[no-any-return]  # torch's modules give anything


@pytest.mark.parametrize(("normalised", "recorded"), [(True, True), (False, False)])
def test_faint_logits_are_told_by_what_made_them_or_by_contrast(normalised: bool, recorded: bool) -> None:
    """By the last operation, where contrast changes nothing; by contrast, where no operation is recorded."""
    net = Faint(normalised=normalised, recorded=recorded)
    assert bool(((net(IMAGES) > 0) & (net(IMAGES) < 1)).all())
    assert read_findings(salience.load(net, size=32))["head"] == "softmax"


def test_one_logit_is_of_two_classes() -> None:
    """Its softmax would be 100 % sure of whatever it is shown."""
    net = network(3, 1)
    box = salience.load(net, size=32, backend="exact")
    assert (read_findings(box)["head"], len(box.classes)) == ("binary", 2)
    assert apart(box(IMAGES)[:, 1:], net(IMAGES).sigmoid().detach()) < 1e-6
    sure = salience.load(network(3, 1, nn.Sigmoid()), size=32, backend="exact")
    assert read_findings(sure)["head"] == "probability"
    assert apart(sure(IMAGES), box(IMAGES)) < 1e-6
    assert salience.explain(box.with_logits(), IMAGES[0], "rise", budget=20).passes == 20


def test_a_network_of_timm_with_one_logit_is_binary() -> None:
    """The number of classes is not published, it is counted; names of a thousand are dropped, and that is said."""
    box = salience.load("timm:resnet18?weights=none&num_classes=1&size=64", backend="exact")
    assert (read_findings(box)["head"], box.classes) == ("binary", ("class 0", "class 1"))


@pytest.mark.parametrize("how", [*list(FORMS)[1:8], "maps of one pixel"])
def test_scores_are_found_among_what_is_put_out(how: str) -> None:
    """One number, whole numbers and maps are passed over; the usual name wins."""
    if how == "named tuple":
        how, classes = "named tuple", [*"abcde"]
        box = salience.load(Puts(how), size=32, classes=classes, backend="exact")
    else:
        box = salience.load(Puts(how), size=32, backend="exact")
    assert apart(box(IMAGES), Puts(how).answer(IMAGES.mean((2, 3))).softmax(1)) < 1e-6
    assert len(box.classes) == 5
    if how != "maps of one pixel":
        assert "of 2" in next(each.said for each in box.findings if each.about == "output")


def test_several_candidates_are_listed_unless_one_has_as_many_columns_as_there_are_classes() -> None:
    """Guessing would explain something else."""
    with pytest.raises(BoxError, match=r"got several: 0 \(3, 30\), 1 \(3, 5\): name it, as in output=\"0\""):
        salience.load(Puts("features first"), size=32)
    assert len(salience.load(Puts("features first"), size=32, output="1").classes) == 5
    assert salience.load(Puts("features first"), size=32, classes=[*"abcde"]).output == "1"
    with pytest.raises(UnknownName, match="did you mean logits"):
        salience.load(Puts("by name"), size=32, output="logit")


def test_one_squeezed_logit_is_a_row_for_each_picture_and_for_one() -> None:
    """`squeeze()` leaves no axis of one picture."""
    box = salience.load(Puts("one logit, squeezed"), size=32, backend="exact")
    assert box(IMAGES).shape == (4, 2)
    assert apart(box(IMAGES[:1]), box(IMAGES)[:1]) < 1e-6


@pytest.mark.parametrize(
    ("how", "said"),
    [("coarse maps", "answers for every place"), ("nothing but labels", r"a tensor \(1,\) of int64")],
)
def test_what_can_be_no_scores_is_refused(how: str, said: str) -> None:
    """Feature maps are no regions, and of one that segments a region is asked about."""
    with pytest.raises(BoxError, match=said):
        salience.load(Puts(how), size=32)


# --- what it takes ---


@pytest.mark.parametrize("channels", [1, 4, 13])
def test_a_stem_says_how_many_channels_it_takes(channels: int) -> None:
    """Four channels are no three, and the network answers as by itself."""
    net = network(channels)
    box = salience.load(net, size=32, backend="exact")
    assert (box.channels, read_findings(box)["channels"]) == (channels, channels)
    images = noise(2, channels, 32, 32, dtype=torch.float32)
    assert apart(box(images), net(images).softmax(1)) < 1e-6


def test_a_network_behind_a_convolution_of_its_own_is_tried_with_three_channels() -> None:
    """Its stem takes what a function before it makes of the image."""

    class Doubled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = network(6)

        def forward(self, images: Tensor) -> Any:
            return self.net(torch.cat([images, 1 - images], 1))

    assert salience.load(Doubled(), size=32).channels == 3


class Two(nn.Module):
    """A network of two inputs."""

    def forward(self, images: Tensor, others: Tensor) -> Tensor:
        """Answer."""
        return images.mean((2, 3)) + others.mean((2, 3))


@pytest.mark.parametrize(
    ("net", "options", "said"),
    [
        (nn.Sequential(nn.Conv3d(1, 8, 3), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(8, 3)), {}, "takes volumes"),
        (nn.Sequential(nn.Conv1d(3, 8, 3), nn.Flatten()), {}, "rows of numbers"),
        (Two(), {}, r"one input, the images, got Two with 2 \(images, others\)"),
        (network(), {"normalise": True}, "expected the name of an option of the box, got 'normalise'"),
        (network(), {"chanels": 3}, "did you mean channels"),
        (network(), {"channels": "many"}, "expected a whole number from 1 on for channels, got 'many'"),
        (network(), {"channels": 4}, "expected Sequential to take images of shape \\(1, 4, 32, 32\\), got RuntimeError"),
        (nn.Sequential(nn.Flatten(), nn.Linear(3 * 64 * 64, 2)), {}, "give size= and channels="),
        (nn.Sequential(nn.Embedding(10, 3)), {}, "got RuntimeError"),
    ],
    ids=range(9),
)
def test_what_a_network_does_not_take_is_said_in_a_sentence(net: nn.Module, options: dict[str, Any], said: str) -> None:
    """As it is loaded, and not by torch."""
    with pytest.raises(SalienceError, match=said) as raised:
        salience.load(net, **{"size": 32} | options)
    assert "\n" not in str(raised.value)


class One(nn.Module):
    """A network that takes one picture at a time."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.answer = nn.Linear(3, 2)

    def forward(self, images: Tensor) -> Any:
        """Answer."""
        assert len(images) == 1
        return self.answer(images.mean((2, 3)))


class Together(nn.Module):
    """A network whose answer to a picture depends on the others beside it."""

    def forward(self, images: Tensor) -> Tensor:
        """Answer."""
        values = images.mean((2, 3)) * torch.tensor([1.0, 2, 3])
        return 9 * (values - values.mean(0)) if len(values) > 1 else 9 * values


@pytest.mark.parametrize("net", [One(), Together()], ids=["one", "together"])
def test_what_many_do_not_get_is_asked_one_by_one(net: nn.Module) -> None:
    """Also where the check of backends shows sixteen."""
    box = salience.load(net, size=32)
    assert (box.batch, BatchSize.of(box).largest) == (1, 1)
    alone = torch.cat([net(image[None]) for image in IMAGES]).softmax(1)
    assert apart(box(IMAGES), alone) < 1e-6
    assert salience.explain(box, IMAGES[0], "rise", budget=20).passes == 20
    assert salience.explain(box, IMAGES[0], "gradient").passes == 1


@pytest.mark.parametrize("net", [One(), Together()], ids=["one", "together"])
def test_layers_of_what_is_asked_one_by_one_are_those_of_each_image_alone(net: nn.Module) -> None:
    """Activations, gradients and replaced layers have a row for every image."""

    class Deep(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.net = network()[:2], net

        def forward(self, images: Tensor) -> Any:
            return self.net(self.stem(images)[:, :3])

    box = salience.load(Deep(), size=32, backend="exact")
    assert box.batch == 1
    layer, targets = "stem.1", [0, 1, 1, 0]
    recorded, inner = box.activations(IMAGES, [layer])[layer], box.differentiate(IMAGES, targets, [layer])
    for row, (image, target) in enumerate(zip(IMAGES, targets, strict=True)):
        single = box.differentiate(image[None], [target], [layer])
        assert torch.equal(recorded[row], box.activations(image[None], [layer])[layer][0])
        assert torch.equal(inner.gradients[layer][row], single.gradients[layer][0])
        assert torch.equal(inner.logits[row], single.logits[0])
    assert apart(box.forward_from(IMAGES[:1], layer, recorded), box(IMAGES)) < 1e-6
    maps = [why.saliency for why in salience.explain(box, IMAGES, "grad-cam", target=targets)]
    singly = [salience.explain(box, image, "grad-cam", target=k).saliency for image, k in zip(IMAGES, targets, strict=True)]
    assert all(map(torch.equal, maps, singly))


def test_a_box_that_answers_with_logits_has_a_fingerprint_of_its_own() -> None:
    """The same only if the answers are the same."""
    box = salience.load(network(), size=32)
    assert box.with_logits().fingerprint != box.fingerprint


def test_a_batch_of_one_reaches_the_check_of_backends() -> None:
    """Whoever asks for it has a reason."""
    seen = []

    class Counts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = network()

        def forward(self, images: Tensor) -> Any:
            seen.append(len(images))
            return self.net(images)

    box = salience.load(Counts(), size=32)
    seen.clear()
    salience.explain(box, IMAGES[0], "rise", budget=20, batch=1)
    assert max(seen) <= 2  # OpenVINO follows a network with two images


def test_a_network_that_draws_by_chance_is_told_so() -> None:
    """Equal pictures get unequal scores."""

    class Noisy(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.mean((2, 3)) + torch.from_numpy(np.random.default_rng().random((len(images), 3)))

    assert read_findings(salience.load(Noisy(), size=32))["steady"] > 0


def test_a_network_of_pixels_up_to_255_is_told_so() -> None:
    """It is never sure of anything in 0…1."""
    net = network(3, 8)
    with torch.no_grad():
        net[4].weight.mul_(1.5), net[4].bias.zero_()
    said = next(each.said for each in salience.load(net, size=32).findings if each.about == "range")
    assert "where white is 255" in said
    assert not [each for each in salience.load("default").findings if each.about == "range"]


def test_numbers_of_a_type_within_a_network_are_found() -> None:
    """Half of it in half precision: what the stem takes counts, not what is listed first."""

    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.token, self.net = nn.Parameter(torch.zeros(3)), network().to(torch.bfloat16)

        def forward(self, images: Tensor) -> Any:
            return self.net(images).float() + self.token

    net = Mixed()
    box = salience.load(net, size=32, backend="exact")
    assert apart(box(IMAGES), net(IMAGES.bfloat16()).softmax(1)) < 1e-6


@pytest.mark.filterwarnings("ignore")
def test_quantised_frozen_scripted_and_wrapped_networks_are_boxes(tmp_path: Path) -> None:
    """Whatever people do to a network, it answers as by itself."""
    net = network()
    net[0].to(memory_format=torch.channels_last)
    frozen = torch.jit.freeze(torch.jit.trace(net, IMAGES))
    with torch.inference_mode():
        inferred = network()
    ways = {
        "quantised": torch.ao.quantization.quantize_dynamic(net, {nn.Linear}, dtype=torch.qint8),
        "scripted": torch.jit.script(net),
        "frozen": frozen,
        "exported": torch.export.export(net, (IMAGES[:1],)).module(),
        "in parallel": nn.DataParallel(net),
        "made for inference": inferred,
        "without gradients": network().requires_grad_(False),
    }
    for name, way in ways.items():
        box = salience.load(way, size=32)
        with torch.no_grad():
            alone = torch.cat([way(image[None]) for image in IMAGES])
        assert apart(box(IMAGES), alone.softmax(1)) < 1e-3, name
        assert salience.explain(box, IMAGES[0], "rise", budget=20).passes == 20, name


def test_a_module_of_lightning_is_a_box() -> None:
    """Its trainer is not asked for, and its own forward is."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # lightning's of its own imports
        import lightning

    class Lit(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.save_hyperparameters()
            self.net = network()

        def forward(self, images: Tensor) -> Any:
            return self.net(images)

        def training_step(self, batch: Any) -> Tensor:
            return nn.functional.cross_entropy(self(batch[0]), batch[1])

    net = Lit()
    box = salience.load(net, size=32)
    assert apart(box(IMAGES), network()(IMAGES).softmax(1).detach()) < 1e-5
    assert float(salience.explain(box, IMAGES[0], "grad-cam").saliency.abs().max()) > 0


@pytest.mark.filterwarnings("ignore")
def test_weights_quantised_by_torchao_are_a_box() -> None:
    """Its tensors are no plain ones, and its fingerprint follows them."""
    torchao = pytest.importorskip("torchao.quantization", reason="not among what is set up: it slows transformers' import")
    nets = [network(), network()]
    with torch.no_grad():
        nets[1][4].weight.mul_(2)
    for net in nets:
        torchao.quantize_(net, torchao.Int8WeightOnlyConfig())
    one, other = (salience.load(net, size=32, backend="exact") for net in nets)
    with torch.no_grad():
        assert apart(one(IMAGES), nets[0](IMAGES).softmax(1)) < 1e-5
    assert one.fingerprint != other.fingerprint
    assert salience.explain(one, IMAGES[0], "rise", budget=20).passes == 20


@pytest.mark.filterwarnings("ignore")
def test_an_exported_program_is_a_box() -> None:
    """The object itself too; one that was exported for one picture is asked one by one."""
    program = torch.export.export(network(), (IMAGES[:1],))
    box = salience.load(program, size=32, backend="exact")
    assert box.batch == 1
    assert apart(box(IMAGES), network()(IMAGES).softmax(1).detach()) < 1e-5


def test_a_file_of_weights_and_a_pickle_are_told_apart(tmp_path: Path) -> None:
    """Weights without a network, and what would run code as it is read."""
    torch.save(network().state_dict(), tmp_path / "state.pt")
    torch.save(network(), tmp_path / "whole.pt")
    with pytest.raises(BoxError, match="got weights without a network: make the module, load them into it"):
        salience.load(f"torch:{tmp_path / 'state.pt'}", size=32)
    with pytest.raises(BoxError, match="got a pickle of a whole module, which runs code as it is read"):
        salience.load(f"torch:{tmp_path / 'whole.pt'}", size=32)


@pytest.mark.filterwarnings("ignore")
def test_layers_of_statically_quantised_weights_are_read_and_replaced() -> None:
    """As what their numbers stand for: the activations are about those of the network in floats."""
    quantise = torch.ao.quantization
    net = nn.Sequential(quantise.QuantStub(), network(), quantise.DeQuantStub()).eval()
    net.qconfig = quantise.get_default_qconfig("fbgemm")  # type: ignore[assignment]  # as torch reads it
    prepared = quantise.prepare(net)
    prepared(IMAGES)
    box, plain = salience.load(quantise.convert(prepared), size=32), salience.load(network(), size=32)
    layer = box.layer_info().top
    ours, theirs = box.activations(IMAGES[:1], [layer])[layer], plain.activations(IMAGES[:1], ["1"])["1"]
    assert float(torch.corrcoef(torch.stack([ours.flatten(), theirs.flatten()]))[0, 1]) > 0.99
    assert apart(box.forward_from(IMAGES[:1], layer, ours), box(IMAGES[:1])) < 1e-6
    assert apart(box.forward_from(IMAGES[:1], layer, 0 * ours), box(IMAGES[:1])) > 1e-4
    assert salience.explain(box, IMAGES[0], "recipro-cam", target=1).saliency.isfinite().all()


# --- names of classes ---


@pytest.mark.parametrize(
    "classes",
    [
        ["ant", "bee", "zebra"],
        ("ant", "bee", "zebra"),
        np.array(["ant", "bee", "zebra"]),
        {"zebra": 2, "ant": 0, "bee": 1},
        {0: "ant", 2: "zebra", 1: "bee"},
        {"0": "ant", "2": "zebra", "1": "bee"},
    ],
    ids=range(6),
)
def test_names_of_classes_are_in_the_order_of_the_scores(classes: Any) -> None:
    """Dictionaries either way round are read by their numbers."""
    assert salience.load(network(), size=32, classes=classes).classes == ("ant", "bee", "zebra")


@pytest.mark.parametrize(("name", "text"), [("a.txt", "ant\nbee\nzebra\n"), ("a.json", '{"zebra": 2, "ant": 0, "bee": 1}')])
def test_a_text_is_a_file_of_names_for_every_kind_of_box(name: str, text: str, tmp_path: Path) -> None:
    """And no sequence of letters."""
    (tmp_path / name).write_text(text)
    path = str(tmp_path / name)
    for box in (network(), lambda batch: np.ones((len(batch), 3)) / 3):
        assert salience.load(box, size=32, classes=path).classes == ("ant", "bee", "zebra")
    assert json.loads('["a"]') == ["a"]


@pytest.mark.parametrize(
    ("classes", "error", "said"),
    [
        (["a", "b"], BoxError, "expected 3 names of classes, one for each score of Sequential, got 2"),
        ("cats.txt", BoxError, "expected the names of the classes in cats.txt"),
        ({"a": 0, "b": 2}, SettingError, "got none for class 1"),
        ({"a": "x"}, SettingError, "without numbers"),
        (7, SettingError, "got int"),
    ],
    ids=range(5),
)
def test_names_that_do_not_fit_are_refused_at_once(classes: Any, error: type[Exception], said: str) -> None:
    """Before anything is explained."""
    with pytest.raises(error, match=said):
        salience.load(network(), size=32, classes=classes)


def test_a_head_that_was_swapped_by_hand_loses_the_names_of_its_library() -> None:
    """They are those of a thousand other classes."""
    import timm

    net = timm.create_model("resnet18")
    net.fc = nn.Linear(512, 7)
    box = salience.load(net, size=64)
    assert box.classes == tuple(f"class {index}" for index in range(7))
    assert any("its head is another now" in each.said for each in box.findings)


# --- what libraries publish ---


def tiny_vit(**more: Any) -> Any:
    """Make a small configuration of a vision transformer."""
    import transformers

    small = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    return transformers.ViTConfig(**small, image_size=32, patch_size=8, **more)


def test_a_checkpoint_without_a_head_holds_no_classifier(tmp_path: Path) -> None:
    """Its head would be a random one, another one each time."""
    import transformers

    transformers.ViTModel(tiny_vit()).save_pretrained(tmp_path)
    transformers.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(BoxError, match="it holds no classifier"):
            salience.load(f"hf:{tmp_path}")


def test_what_transformers_publishes_is_read_on_both_paths(tmp_path: Path) -> None:
    """A spec and an object; and everything that is needed may be given."""
    import transformers

    config = tiny_vit(num_labels=5, problem_type="multi_label_classification")
    transformers.ViTForImageClassification(config).save_pretrained(tmp_path)
    assert salience.load(f"hf:{tmp_path}?size=32&mean=0.5&std=0.5").size == (32, 32)
    transformers.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    net = transformers.AutoModelForImageClassification.from_pretrained(tmp_path)
    one, other = salience.load(f"hf:{tmp_path}", backend="exact"), salience.load(net, backend="exact")
    assert (one.head, other.head) == ("sigmoid", "sigmoid")
    assert apart(one(IMAGES), other(IMAGES)) < 1e-6


# --- what is kept ---


def test_meeting_costs_eight_passes_at_most_and_is_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By fingerprint, and by what was said of the box."""
    monkeypatch.setenv("SALIENCE_CACHE", str(tmp_path))
    passes = []
    net = network()
    net.register_forward_hook(lambda _module, inputs, _output: passes.append(len(inputs[0])))
    first = salience.load(net, size=32)
    assert 0 < sum(passes) <= 8
    assert first.findings
    plain = network()
    one, other = salience.load(plain, size=32), salience.load(plain, size=32)
    assert one.findings == other.findings
    calls = []
    plain.forward = lambda images: calls.append(len(images)) or nn.Sequential.forward(plain, images)  # type: ignore[method-assign]
    del plain.forward
    assert salience.load(plain, size=32, head="none").head == "none"


def test_layers_are_remembered_and_a_damaged_entry_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Finding them takes passes; the cache may be anybody's."""
    monkeypatch.setenv("SALIENCE_CACHE", str(tmp_path))
    net, calls = network(), []
    info = salience.load(net, size=32).layer_info()
    monkeypatch.setattr("salience.boxes._torch_layers.find_layers", lambda *_: calls.append(1))
    assert salience.load(net, size=32).layer_info() == info
    monkeypatch.undo()
    monkeypatch.setenv("SALIENCE_CACHE", str(tmp_path))
    for file in tmp_path.rglob("*.entry"):
        cache_folder.write_entry(file, b'["nope", {}]')
    again = salience.load(net, size=32)
    assert (again.layer_info(), again.head, calls) == (info, "softmax", [])
    with torch.no_grad():
        net[0].weight.add_(0.1)
    assert salience.load(net, size=32).layer_info() == info  # under another name


def test_what_was_found_is_in_the_record_and_in_its_json() -> None:
    """Line by line."""
    why = salience.explain(salience.load(network(), size=32), IMAGES[0], "gradient")
    assert {each["about"] for each in why.summary()["box"]["found"]} >= {"channels", "size", "output", "head", "classes"}
    assert json.dumps(why.summary()["box"]["found"])


def test_scores_that_are_no_probabilities_are_written_as_they_are() -> None:
    """−6.7 is no −671.7 %."""
    box = salience.load(lambda batch: np.stack([batch.mean((1, 2, 3)) - 7, batch.mean((1, 2, 3))], 1), size=32)
    why = salience.explain(box, IMAGES[0], "occlusion", target=0)
    assert why.write_score(why.target.probability).startswith("-6.")
    assert salience.explain("toy:colour", IMAGES[0], "gradient").write_score(0.5) == "50.0%"
