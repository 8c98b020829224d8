"""Networks in files: scores, layers, what may be asked of them, and what is said when something is missing."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import salience
from salience import specs
from salience.boxes import toy
from salience.boxes.torch import TorchBox, wrap
from salience.engine.query.ask import choose_backend
from salience.errors import BoxError, SalienceError, SettingError, UnknownName
from salience.types import BlackBox, GreyBox, OpenBox
from tests.boxes.nets import FLOAT, blends, colour, exported, onnx, written
from tests.helpers import apart, noise

IMAGES = noise(5, 3, 32, 32, dtype=torch.float32)
KINDS = ["onnx", "openvino"]
kinds = pytest.mark.parametrize("kind", KINDS)


def box_of(path: str, kind: str = "onnx", **more: Any) -> Any:
    """Load a file, of plain pixels unless said otherwise."""
    return specs.open_box(f"{kind}:{path}", **({"std": 1.0, "backend": "exact"} | more))


class Residual(nn.Module):
    """Two resolutions, a skip connection, an in-place ReLU."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.one = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(inplace=True))
        self.two = nn.Sequential(nn.Conv2d(6, 6, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(6, 6, 1))
        self.three = nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(6, 8, 3, padding=1), nn.ReLU(inplace=True))
        self.last = nn.Linear(8, 4)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return logits."""
        found = self.one(images)
        return 9 * self.last(self.three(torch.relu(self.two(found) + found)).mean((2, 3)))


@pytest.fixture(scope="module")
def residual(tmp_path_factory: pytest.TempPathFactory) -> tuple[TorchBox, str]:
    """Return a torch box and the same network in a file."""
    net = Residual().eval()
    return wrap(net, size=32, mean=0.4, std=0.3, backend="exact"), exported(net, tmp_path_factory.mktemp("net") / "net.onnx")


@kinds
def test_a_file_answers_as_the_module_it_came_from(kind: str, residual: tuple[TorchBox, str]) -> None:
    """Scores, logits, and the feature maps at the end of each block, for any number of images."""
    net, path = residual
    box = box_of(path, kind, mean=0.4, std=0.3)
    assert isinstance(box, GreyBox)
    assert not isinstance(box, OpenBox)
    assert apart(box(IMAGES), net(IMAGES)) < 1e-5
    assert apart(box.with_logits()(IMAGES[:2]), net.with_logits()(IMAGES[:2])) < 1e-4
    layers = zip(box.layers(), ("two.2", "three"), strict=True)
    for here, there in list(layers)[1:]:
        assert apart(box.activations(IMAGES, [here])[here], net.activations(IMAGES, [there])[there]) < 1e-5
    assert [each.shape[1:] for each in box.activations(IMAGES, box.layers()).values()] == [(6, 32, 32), (8, 16, 16)]


@kinds
def test_replaced_features_go_onward(kind: str, residual: tuple[TorchBox, str]) -> None:
    """Behind a skip connection the rest of the image comes along; what is before runs once."""
    net, path = residual
    box, image = box_of(path, kind, mean=0.4, std=0.3), IMAGES[:1]
    graph = box.network.graph
    features = net.activations(image, ["two.0"])["two.0"] * torch.tensor([0.0, 1.0, 2.0])[:, None, None, None]
    inside = [each for each in graph.list_tensors() if graph.list_beside(each) and each not in graph.necks]
    inner = next(each for each in inside if apart(box.activations(image, [each])[each], features[1:2]) < 1e-5)
    assert apart(box.forward_from(image, inner, features), net.forward_from(image, "two.0", features)) < 1e-5
    assert (
        apart(box.forward_from(image, box.layers()[-1], box.activations(image, box.layers())[box.layers()[-1]]), box(image))
        < 1e-5
    )


@kinds
@pytest.mark.parametrize("method", ["recipro-cam", "ablation-cam", "eigen-cam", "score-cam", "cam", "sise", "iassa"])
def test_methods_without_gradients_explain_a_file_as_they_explain_the_module(
    method: str, kind: str, residual: tuple[TorchBox, str]
) -> None:
    """CAM asks for its weights, SISE for its gradients; the maps are the same."""
    net, path = residual
    image = toy.picture(32)
    more: dict[str, Any] = {"window": 12, "stride": 4, "rounds": 2} if method == "iassa" else {}
    known = salience.explain(net, image, method, target=1, **more)
    found = salience.explain(box_of(path, kind, mean=0.4, std=0.3), image, method, target=1, **more)
    assert apart(found.saliency, known.saliency) <= 1e-3 * float(known.saliency.abs().max())
    assert found.notes == known.notes
    assert found.box["access"] == "grey"


def test_methods_with_gradients_are_refused_in_a_sentence(residual: tuple[TorchBox, str]) -> None:
    """A file gives none."""
    with pytest.raises(BoxError, match=r"expected a box with gradients for grad-cam, got net.onnx: choose"):
        salience.explain(box_of(residual[1]), toy.picture(32), "grad-cam")


@kinds
@pytest.mark.parametrize(("end", "head"), [("Softmax", "softmax"), ("Sigmoid", "sigmoid"), ("", "softmax")])
def test_the_head_is_read_from_the_graph(end: str, head: str, kind: str, tmp_path: Path) -> None:
    """A last activation is cut off and applied here, so that logits are at hand."""
    box, known = box_of(colour(tmp_path / "net.onnx", end=end), kind), toy.load("colour")
    logits = known.with_logits()(IMAGES)
    assert box.head == head
    assert apart(box(IMAGES), logits.sigmoid() if head == "sigmoid" else logits.softmax(1)) < 1e-5
    assert apart(box.with_logits()(IMAGES), logits) < 1e-4


def test_a_head_may_be_said(tmp_path: Path) -> None:
    """Then the file's own answer is taken, whatever it ends with."""
    path = colour(tmp_path / "net.onnx", end="Softmax")
    assert apart(box_of(path, head="none")(IMAGES), toy.load("colour")(IMAGES)) < 1e-5
    with pytest.raises(SettingError, match="expected a head, one of softmax, .*, ordinal, got 'argmax'"):
        box_of(path, head="argmax")


def test_probabilities_that_no_softmax_made_are_taken_as_they_are(tmp_path: Path) -> None:
    """An exponential divided by its sum, say."""
    nodes = [
        ("GlobalAveragePool", "x", "p", {}),
        ("Flatten", "p", "f", {}),
        ("Exp", "f", "e", {}),
        ("ReduceSum", "e one", "s", {"keepdims": 1}),
        ("Div", "e s", "y", {}),
    ]
    box = box_of(written(tmp_path / "net.onnx", nodes, {"one": np.array([1])}))
    assert box.head == "probabilities"
    assert apart(box(IMAGES), IMAGES.mean((2, 3)).softmax(1)) < 1e-6
    assert apart(box.with_logits()(IMAGES), IMAGES.mean((2, 3)).log_softmax(1)) < 1e-5


@pytest.mark.parametrize("end", ["", "Sigmoid"])
def test_one_logit_is_a_choice_of_two(end: str, tmp_path: Path) -> None:
    """The second class is the logit's."""
    nodes = [("GlobalAveragePool", "x", "p", {}), ("ReduceMean", "p axes", "logit" if end else "y", {"keepdims": 0})]
    nodes += [(end, "logit", "y", {})] if end else []
    box = box_of(written(tmp_path / "net.onnx", nodes, {"axes": np.array([2, 3])}, ("n", 1, 32, 32)))
    assert len(box.classes) == 2
    assert apart(box(IMAGES)[:, 1], IMAGES.mean((1, 2, 3)).sigmoid()) < 1e-6


@kinds
@pytest.mark.parametrize(
    ("shape", "kind_of", "first"),
    [
        ((1, 3, 32, 32), FLOAT, []),
        (("n", 32, 32, 3), FLOAT, [("Transpose", "x", "t", {"perm": [0, 3, 1, 2]})]),
        ((4, 3, 32, 32), FLOAT, []),
        (("n", 1, 32, 32), FLOAT, []),
        ((None, 3, None, None), FLOAT, []),
        (None, FLOAT, []),
        (("n", 3, 32, 32), onnx.TensorProto.FLOAT16, [("Cast", "x", "t", {"to": FLOAT})]),
        (("n", 3, 32, 32), onnx.TensorProto.DOUBLE, [("Cast", "x", "t", {"to": FLOAT})]),
    ],
)
def test_inputs_of_many_kinds_are_served(shape: Any, kind_of: int, first: list[Any], kind: str, tmp_path: Path) -> None:
    """A batch that was fixed, colours last, an open size, one channel, other numbers."""
    given = "t" if first else "x"
    nodes = [*first, ("Relu", given, "r", {}), ("GlobalAveragePool", "r", "p", {}), ("Flatten", "p", "y", {})]
    path = written(tmp_path / "net.onnx", nodes, {}, shape, kind_of)
    box = box_of(path, kind, head="none", **({} if shape and shape[2] else {"size": 32}))
    known = IMAGES.mean((2, 3))
    assert apart(box(IMAGES), known.mean(1, keepdim=True) if shape and shape[1] == 1 else known) < 1e-3
    assert apart(*blends(box)) < 1e-3


@kinds
def test_whole_numbers_are_given_as_pixels(kind: str, tmp_path: Path) -> None:
    """A network of bytes normalises by itself, so nothing has to be declared, and nothing is guessed."""
    nodes = [("Cast", "x", "f", {"to": FLOAT}), ("ReduceMean", "f axes", "y", {"keepdims": 0})]
    path = written(tmp_path / "net.onnx", nodes, {"axes": np.array([1, 2])}, ("n", 32, 32, 3), onnx.TensorProto.UINT8)
    box = specs.open_box(f"{kind}:{path}", head="none", backend="exact")
    assert apart(box(IMAGES), (IMAGES * 255).round().mean((2, 3))) < 1e-2
    assert apart(*blends(box)) < 1e-2


@kinds
def test_a_network_for_one_image_is_run_one_by_one(kind: str, tmp_path: Path) -> None:
    """Its inside says so: a shape with a one in it. All else works as ever."""
    nodes = [
        ("Conv", "x filters", "c", {}),
        ("Relu", "c", "r", {}),
        ("Reshape", "r one", "v", {}),
        ("ReduceMean", "v axis", "y", {"keepdims": 0}),
    ]
    weights = {
        "filters": np.eye(3, dtype=np.float32)[:, :, None, None],
        "one": np.array([1, 3, 1024]),
        "axis": np.array([2]),
    }
    box = box_of(written(tmp_path / "net.onnx", nodes, weights, (1, 3, 32, 32)), kind, head="none")
    assert box.parts.single
    assert apart(box(IMAGES), IMAGES.mean((2, 3))) < 1e-5
    assert apart(*blends(box)) < 1e-5
    (layer,) = box.layers()
    features = box.activations(IMAGES, [layer])[layer]
    assert apart(box.forward_from(IMAGES[:1], layer, features), box(IMAGES)) < 1e-5


@kinds
def test_a_part_takes_as_many_threads_as_torch(kind: str, residual: tuple[TorchBox, str]) -> None:
    """A process that was told to use one core keeps to it."""
    box = box_of(residual[1], kind)
    one = box(IMAGES)
    torch.set_num_threads(2)
    try:
        assert apart(box(IMAGES), one) < 1e-6
        run = next(iter(box.network.made.values()))
        assert run.threads == 2
    finally:
        torch.set_num_threads(1)


@kinds
def test_a_file_says_whether_it_computes_beside_python(kind: str, residual: tuple[TorchBox, str]) -> None:
    """OpenVINO does, ONNX Runtime does not; the scores through masks are those of the images blended."""
    box = box_of(residual[1], kind, mean=0.4, std=0.3)
    assert box.in_flight == (2 if kind == "openvino" else 1)
    assert apart(*blends(box)) < 1e-6


def test_a_file_has_the_backends_of_openvino(residual: tuple[TorchBox, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """`auto` takes the fastest that agrees, as for a torch box."""
    from salience.runtime import backends

    box = box_of(residual[1], mean=0.4, std=0.3, backend="auto")
    known = box(IMAGES)
    assert apart(box_of(residual[1], mean=0.4, std=0.3, backend="openvino")(IMAGES), known) < 1e-5
    monkeypatch.setattr(backends, "WORTH", 0.0)
    clock = iter(range(100))
    monkeypatch.setattr(backends.time, "perf_counter", lambda: next(clock))
    choose_backend(box, IMAGES[0])
    assert box.backend_chosen
    assert box.backend in ("exact", *box.network.backends)
    assert set(box.check["tried"]) <= set(box.network.backends)


def test_a_fingerprint_follows_file_head_and_normalisation(tmp_path: Path) -> None:
    """The same again for the same file; another for another."""
    one, other = colour(tmp_path / "one.onnx"), colour(tmp_path / "other.onnx", end="Softmax")
    marks = [box_of(one), box_of(other), box_of(one, std=0.5), box_of(one, head="none")]
    assert box_of(one).fingerprint == marks[0].fingerprint
    assert len({each.fingerprint for each in marks}) == 4


def test_names_of_classes_may_be_a_file(tmp_path: Path) -> None:
    """One a line; else they are numbered."""
    path = colour(tmp_path / "net.onnx")
    (tmp_path / "names.txt").write_text("red\ngreen\nblue\n")
    assert box_of(path, classes=str(tmp_path / "names.txt")).classes == ("red", "green", "blue")
    assert box_of(path, classes=["r", "g", "b"]).classes == ("r", "g", "b")
    assert box_of(path).classes == ("class 0", "class 1", "class 2")
    with pytest.raises(BoxError, match="expected the names of the classes in none.txt, a line each, got no such file"):
        box_of(path, classes="none.txt")


def test_a_normalisation_that_nobody_declared_is_guessed_aloud(tmp_path: Path) -> None:
    """Without ImageNet's classes there is nothing to try it on."""
    path = colour(tmp_path / "net.onnx")
    with pytest.warns(
        UserWarning, match=r"net.onnx does not say how its images are normalised: taken as ImageNet's mean and std; give"
    ):
        box = specs.open_box(f"onnx:{path}")
    assert box.preparation.source == "guessed: ImageNet's mean and std"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert box_of(path).preparation.source == "given"


@pytest.mark.parametrize(("scale", "words"), [(1.0, "pixels from 0 to 1"), (255.0, "pixels from 0 to 255")])
def test_a_thousand_classes_are_tried_on_an_espresso(scale: float, words: str, tmp_path: Path) -> None:
    """The normalisation that finds it is taken, and the classes are then ImageNet's."""
    from salience.picture import Preparation, read

    picture = Preparation((32, 32), 36, "bilinear")(read(Path(salience.__file__).parent / "sample.jpg"))[0]
    template = torch.zeros(1000, 3 * 32 * 32)
    template[967] = (picture - picture.mean()).flatten() / (picture - picture.mean()).norm() ** 2 / scale
    bias = torch.zeros(1000)
    bias[967] = -30 * float(template[967] @ picture.flatten()) * scale + 9
    # Its logit is 9 for the picture on this scale; on a larger one some other class, with a gradient against it, wins.
    template[0], bias[0] = template[967] * 2, 2 * float(bias[967]) - 9
    nodes = [("Flatten", "x", "f", {}), ("MatMul", "f w", "m", {}), ("Add", "m b", "y", {})]
    weights = {"w": (30 * template.T).numpy(), "b": bias.numpy()}
    with pytest.warns(UserWarning, match=f"taken as {words}, for so it finds the espresso in a sample photograph"):
        box = specs.open_box(f"onnx:{written(tmp_path / 'net.onnx', nodes, weights)}", backend="exact")
    assert box.classes[967].startswith("espresso")


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"providers": "gpu"}, UnknownName, "expected the name of a provider of ONNX Runtime, got 'gpu'"),
        ({"output": "z"}, UnknownName, "expected the name of an output of the network, got 'z'"),
        ({"backend": "warp"}, UnknownName, "expected the name of a backend, got 'warp'"),
    ],
)
def test_options_that_a_file_does_not_have_are_refused(
    options: dict[str, Any], error: type[SalienceError], text: str, tmp_path: Path
) -> None:
    """With what there is."""
    with pytest.raises(error, match=text):
        box_of(colour(tmp_path / "net.onnx"), **options)


@kinds
def test_files_that_are_no_networks_are_refused(kind: str, tmp_path: Path) -> None:
    """In one sentence, whatever the library says in many."""
    (tmp_path / "text.onnx").write_text("hello")
    two = [("Add", "x z", "y", {})]
    path = written(tmp_path / "two.onnx", two, {})
    model = onnx.load(path)
    model.graph.input.append(onnx.helper.make_tensor_value_info("z", FLOAT, ("n", 3, 32, 32)))
    onnx.save(model, path)
    for name, text in (
        ("none.onnx", "got nothing there: check the path"),
        (str(tmp_path / "text.onnx"), "expected an? .*network.* in .*text.onnx, got"),
        (path, "expected a network with one input, the images, got 2: x, z"),
    ):
        with pytest.raises(BoxError, match=text) as raised:
            box_of(name, kind)
        assert "\n" not in str(raised.value)
    with pytest.raises(UnknownName, match="expected the name of a layer, got 'detect'"):
        box_of(colour(tmp_path / "net.onnx"), kind).activations(IMAGES, ["detect"])


@kinds
def test_a_file_is_a_black_box_too(kind: str, tmp_path: Path) -> None:
    """RISE finds the planted colour through it, and a spec says all there is to say."""
    path = colour(tmp_path / "net.onnx")
    box = specs.open_box(f"{kind}:{path}?mean=0&std=1&backend=exact")
    assert isinstance(box, BlackBox)
    found = salience.explain(box, toy.picture(32), "rise", masks=400, target=0).saliency
    known = salience.explain(toy.load("colour"), toy.picture(32), "rise", masks=400, target=0).saliency
    assert apart(found, known) < 1e-5
