"""Layers are tested for standing between picture and answer. Networks are small, pictures of the size of real ones."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from salience import explain
from salience.boxes.torch import TorchBox
from salience.engine.inside import trace as tracing
from salience.engine.inside.influence import InfluenceTest
from salience.errors import BoxError, SettingError
from salience.methods.grad_cam import GradCam
from salience.methods.recipro_cam import ReciproCam
from salience.picture import Preparation
from tests.helpers import noise

SIZE = (224, 224)


def conv(given: int, gives: int, stride: int = 2) -> nn.Conv2d:
    """Make a convolution that keeps or halves the sides."""
    return nn.Conv2d(given, gives, 3, stride, 1)


class Stem(nn.Module):
    """Two reductions, which the networks below end in their own ways."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Sequential(conv(3, 6, 4), nn.Hardswish(), conv(6, 8, 4))
        self.head = nn.Linear(8, 4)

    def pool(self, maps: Tensor) -> Tensor:
        """Average over places and classify."""
        return self.head(maps.mean((2, 3)))


class Pooled(nn.Module):
    """What transformers does: the base model gives its last maps, and what it pooled from them by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = Stem().stem

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return maps and their average."""
        maps = self.stem(x)
        return maps, maps.mean((2, 3))


class UsesWhatWasPooled(Stem):
    """The maps that `base` puts out lie beside the way to the answer."""

    def __init__(self) -> None:
        super().__init__()
        self.base = Pooled()

    def forward(self, x: Tensor) -> Tensor:
        """Use the second output."""
        return self.head(self.base(x)[1])


class CalledTwice(Stem):
    """The answer hangs on the first call of `norm`; a name stands for the last."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(8)

    def forward(self, x: Tensor) -> Tensor:
        """Call it on the maps, then on others that are thrown away."""
        maps = self.stem(x)
        answer = self.pool(self.norm(maps))
        self.norm(maps * 2)
        return answer


class Named(nn.Module):
    """A stage that returns a dictionary."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = conv(8, 8, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Return maps by name."""
        return {"maps": self.inner(x)}


class GivesDictionaries(Stem):
    """The last stage has no tensor as its output."""

    def __init__(self) -> None:
        super().__init__()
        self.stage = Named()

    def forward(self, x: Tensor) -> Tensor:
        """Take the maps out of it."""
        return self.pool(self.stage(self.stem(x))["maps"])


class Detached(Stem):
    """An auxiliary branch is the last module that runs, and nothing depends on it."""

    def __init__(self) -> None:
        super().__init__()
        self.branch = conv(8, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Run it behind the answer."""
        maps = self.stem(x)
        answer = self.pool(maps)
        return answer + 0 * self.branch(maps.detach()).detach().sum()


class ChannelsLast(Stem):
    """Maps of (n y x c), normalised, as in Swin."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(8)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise with the channels at the end."""
        return self.head(self.norm(self.stem(x).permute(0, 2, 3, 1)).tanh().mean((1, 2)))


class Unused(Stem):
    """A feature pyramid gives three maps of which the coarsest is not used."""

    def __init__(self) -> None:
        super().__init__()
        self.coarse = nn.Sequential(conv(8, 8), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        """Make a coarser map in vain."""
        maps = self.stem(x)
        self.coarse(maps)
        return self.pool(maps)


class Reshaped(Stem):
    """A function reshapes the maps into rows of places before they are pooled."""

    def forward(self, x: Tensor) -> Tensor:
        """Flatten and average."""
        return self.head(functional.normalize(self.stem(x).flatten(2).transpose(1, 2), dim=1).amax(1))


class Prompted(Stem):
    """A second input is kept as a buffer: four texts of sixteen words, or one."""

    def __init__(self, texts: int = 4) -> None:
        super().__init__()
        self.register_buffer("words", torch.arange(texts * 16).reshape(texts, 16) % 9)
        self.embed, self.mix = nn.Embedding(9, 8), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        """Compare the picture with each text, which is read last."""
        seen = self.stem(x).mean((2, 3))
        read = self.mix(self.embed(self.words)).mean(1)
        return self.head(seen)[:, :1] + seen @ read.T


class Constant(Stem):
    """The last maps are a prior that no picture changes."""

    def __init__(self) -> None:
        super().__init__()
        self.prior = conv(8, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Add the prior's average."""
        maps = self.stem(x)
        return self.pool(maps) + self.pool(self.prior(torch.ones_like(maps)))


class Beside(Stem):
    """An outer module passes on what it also uses by itself: half of the influence goes past its output."""

    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = conv(8, 8, 1)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            maps = self.inner(x)
            return maps, maps.amax((2, 3))

    def __init__(self) -> None:
        super().__init__()
        self.both = self.Both()

    def forward(self, x: Tensor) -> Tensor:
        """Use both outputs."""
        maps, most = self.both(self.stem(x))
        return self.pool(maps) + self.head(most)


LAST = {  # network: the layer that ends it
    UsesWhatWasPooled: "base.stem",
    CalledTwice: "stem",
    GivesDictionaries: "stage.inner",
    Detached: "stem",
    ChannelsLast: "norm",
    Unused: "stem",
    Reshaped: "stem",
    Prompted: "stem",
    Constant: "stem",
    Beside: "both.inner",
}


def wrap(net: nn.Module) -> TorchBox:
    """Make a box of a network at the size of real ones."""
    return TorchBox(net.eval(), Preparation(SIZE), "abcd", name="net", backend="exact")


@pytest.mark.parametrize("kind", LAST, ids=lambda kind: kind.__name__)
def test_the_last_layer_stands_between_picture_and_answer(kind: type[nn.Module]) -> None:
    """Whatever comes after it by its place among the modules."""
    box, image = wrap(kind()), noise(3, *SIZE, dtype=torch.float32)
    assert (box.layer_info().top, box.layers()[-1]) == (LAST[kind], LAST[kind])
    assert max(float(GradCam()(box, image, target).std()) for target in range(3)) > 0
    assert float(ReciproCam(spread="point")(box, image, 0).std()) > 0


def test_a_single_text_is_not_taken_for_the_picture() -> None:
    """It has one row, as the picture has, but is the same for every picture."""
    assert wrap(Prompted(1)).layers()[-1] == "stem"


def test_earlier_blocks_are_kept_where_the_last_is_dropped() -> None:
    """Both reductions of the stem remain."""
    assert wrap(Unused()).layers() == wrap(Detached()).layers() == ("stem.1", "stem")


def test_layers_are_tested_in_few_passes() -> None:
    """One by shapes, one with gradients; two more of these where a layer fails."""
    for net, most in ((Reshaped(), 2), (Unused(), 3)):
        runs: list[int] = []
        net.register_forward_hook(lambda *_, runs=runs: runs.append(1))
        wrap(net).layer_info()
        assert len(runs) <= most


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_without_gradients_each_layer_is_replaced(mode: type) -> None:
    """A network that computes in inference mode has layers too, tested by a pass each."""

    class Closed(UsesWhatWasPooled):
        @mode()
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x)

    assert wrap(Closed()).layers() == ("base.stem.1", "base.stem")


def test_a_network_of_which_nothing_has_influence_keeps_the_layers_of_its_shape() -> None:
    """All weights of the head are zero, so no layer is better than another."""
    net = Reshaped()
    nn.init.zeros_(net.head.weight)
    assert wrap(net).layers() == ("stem.1", "stem")


def test_what_is_tested_is_left_as_it_was() -> None:
    """No hook, no gradient, no mode and no random number is used up."""
    net = UsesWhatWasPooled()
    before, state = torch.is_grad_enabled(), torch.random.get_rng_state()
    wrap(net).layer_info()
    assert sum(len(each._forward_hooks) + len(each._forward_pre_hooks) for each in net.modules()) == 0
    assert all(each.grad is None and not each.is_inference() for each in net.parameters())
    assert torch.is_grad_enabled() is before
    assert torch.equal(torch.random.get_rng_state(), state)


def test_of_a_tensors_names_the_outermost_with_all_of_its_influence_is_chosen() -> None:
    """A name through which half of it goes is passed by; so is one that has none."""
    net = nn.Sequential(Pooled().stem, nn.Flatten())
    trace = tracing.trace_calls(net, lambda: net(torch.zeros(1, 3, *SIZE)), SIZE)
    test = InfluenceTest(net, trace, lambda: net(torch.ones(1, 3, *SIZE)), SIZE)
    ones = torch.ones(1, 8, 14, 14)
    test.influence |= {"0": None, "0.2": ones / 2, "1:in": ones, "1": ones}
    assert test.choose_names([["0", "0.2", "1"], ["0"], ["1:in"], ["0.2"]]) == ["1", None, "1:in", "0.2"]


def test_a_module_given_as_layer_is_found_by_its_name() -> None:
    """The record says its name; one from elsewhere is refused."""
    net = Reshaped()
    box, image = wrap(net), noise(3, *SIZE, dtype=torch.float32)
    assert explain(box, image, "grad-cam", layer=net.stem[1]).settings["layer"] == "stem.1"
    assert explain(box, image, "sise", layers=[net.stem[1], net.stem], budget=20).layers == ("stem.1", "stem")
    with pytest.raises(SettingError, match="expected a layer inside Reshaped, got ReLU from elsewhere: give its name"):
        explain(box, image, "grad-cam", layer=nn.ReLU())


def test_layers_are_named_inside_a_parallel_wrapper() -> None:
    """The wrapper's own name is no part of theirs."""
    box, image = wrap(nn.DataParallel(Reshaped())), noise(3, *SIZE, dtype=torch.float32)
    assert box.layers() == wrap(Reshaped()).layers()
    assert torch.equal(GradCam()(box, image, 0), GradCam()(wrap(Reshaped()), image, 0))


def test_weights_made_in_inference_mode_give_gradients() -> None:
    """They are replaced by ordinary ones for the time of the call, and come back."""
    with torch.inference_mode():
        net, ordinary = Reshaped(), Reshaped()
    image = noise(3, *SIZE, dtype=torch.float32)
    ordinary.load_state_dict({key: value.clone() for key, value in net.state_dict().items()}, assign=True)
    for method in ("grad-cam", "gradient", "integrated-gradients"):
        made = explain(wrap(net), image, method, target=0, **({"steps": 4} if "integrated" in method else {}))
        known = explain(wrap(ordinary), image, method, target=0, **({"steps": 4} if "integrated" in method else {}))
        assert torch.equal(made.saliency, known.saliency)
    assert all(each.is_inference() for each in net.parameters())


def test_frozen_weights_give_gradients() -> None:
    """It is the picture, or a layer, that they are taken of."""
    image, frozen = noise(3, *SIZE, dtype=torch.float32), Reshaped().requires_grad_(requires_grad=False)
    for method in ("grad-cam", "gradient"):
        made, known = (explain(wrap(net), image, method, target=0) for net in (frozen, Reshaped()))
        assert torch.equal(made.saliency, known.saliency)


class Closed(Reshaped):
    """It computes in inference mode."""

    @torch.inference_mode()
    def forward(self, x: Tensor) -> Tensor:
        """Answer."""
        return super().forward(x)


class OneWay(torch.autograd.Function):
    """A function without a derivative."""

    @staticmethod
    def forward(_context: Any, x: Tensor) -> Tensor:  # type: ignore[override]  # torch's signature is open
        """Double it."""
        return 2 * x


class Underivable(Reshaped):
    """It ends in what has no derivative."""

    def forward(self, x: Tensor) -> Tensor:
        """Answer."""
        return OneWay.apply(super().forward(x))  # type: ignore[no-any-return, no-untyped-call]  # torch's


class Overwritten(Reshaped):
    """It writes into what a derivative needs."""

    def forward(self, x: Tensor) -> Tensor:
        """Answer."""
        answer = super().forward(x).sigmoid()
        return answer.clone() * answer.mul_(2)


@pytest.mark.parametrize("net", [Closed, Underivable, Overwritten])
@pytest.mark.parametrize("method", ["gradient", "grad-cam", "sise"])
def test_a_network_without_gradients_is_said_with_what_to_do(method: str, net: type[nn.Module]) -> None:
    """One sentence, not torch's."""
    box, image = wrap(net()), noise(3, *SIZE, dtype=torch.float32)
    with pytest.raises(BoxError, match=r"^expected a network that gives gradients, got .*: choose a method that needs only"):
        explain(box, image, method)
    assert float(explain(box, image, "recipro-cam").saliency.std()) > 0


def test_a_layer_beside_the_way_to_the_answer_gives_a_blank_map_and_a_note() -> None:
    """Of a network that gives gradients: it is the choice of the layer that is at fault."""
    box = wrap(Unused().requires_grad_(requires_grad=False))
    why = explain(box, noise(3, *SIZE, dtype=torch.float32), "grad-cam", layer="coarse")
    assert "the layer gets no gradient from the target" in why.notes[0]
