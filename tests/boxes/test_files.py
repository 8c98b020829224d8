"""Files as people export them: several outputs, any number of channels, batches of a fixed size, eight bits."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import salience
from salience import specs
from salience.engine import maps
from salience.errors import BoxError, UnknownName
from tests.boxes.nets import FLOAT, blends, onnx, written
from tests.helpers import apart, noise

IMAGES = noise(5, 3, 32, 32, dtype=torch.float32)
kinds = pytest.mark.parametrize("kind", ["onnx", "openvino"])
POOL: list[tuple[Any, ...]] = [("GlobalAveragePool", "x", "p", {}), ("Flatten", "p", "f", {})]
WEIGHTS = noise(3, 5, seed=1, dtype=torch.float32)
LOGITS: list[tuple[Any, ...]] = [*POOL, ("MatMul", "f w", "logits", {})]


def box_of(path: str, kind: str = "onnx", **more: Any) -> Any:
    """Load a file, of plain pixels unless said otherwise."""
    return specs.open_box(f"{kind}:{path}", **({"std": 1.0, "backend": "exact"} | more))


def known(images: torch.Tensor) -> torch.Tensor:
    """Return the logits of the networks here."""
    return images.mean((2, 3)) @ WEIGHTS


def network(
    path: Path, more: list[tuple[Any, ...]], outputs: tuple[str, ...], weights: dict[str, Any] | None = None, **how: Any
) -> str:
    """Write the network of `LOGITS` with more nodes and outputs."""
    return written(path, LOGITS + more, {"w": WEIGHTS.numpy()} | (weights or {}), outputs=outputs, **how)


# --- several outputs ---


@kinds
@pytest.mark.parametrize(
    ("more", "outputs", "weights"),
    [
        ([], ("f", "logits"), {}),
        ([("ArgMax", "logits", "label", {"axis": 1, "keepdims": 0})], ("label", "logits"), {}),
        ([("ReduceMean", "logits", "loss", {"keepdims": 0})], ("loss", "logits"), {}),
        ([("Relu", "x", "dense", {})], ("dense", "logits"), {}),
        ([("ConstantOfShape", "shape", "fixed", {})], ("fixed", "logits"), {"shape": np.array([2, 3])}),
    ],
)
def test_the_scores_are_found_among_several_outputs(
    more: list[Any], outputs: tuple[str, ...], weights: dict[str, Any], kind: str, tmp_path: Path
) -> None:
    """Features first, labels first, a number, a map, what no picture changes: the usual name wins, and it is said."""
    box = box_of(network(tmp_path / "net.onnx", more, outputs, weights), kind)
    assert apart(box.with_logits()(IMAGES), known(IMAGES)) < 1e-5
    assert len(box.classes) == 5
    assert any(each.about == "output" and "logits" in each.said for each in box.findings)


@kinds
def test_several_that_may_be_scores_are_listed_and_one_is_named(kind: str, tmp_path: Path) -> None:
    """Nothing is guessed; the chosen one is what inner layers lead to."""
    path = network(tmp_path / "net.onnx", [("Neg", "f", "other", {})], ("other", "logits_a"))
    model = onnx.load(path)
    model.graph.node.append(onnx.helper.make_node("Identity", ["logits"], ["logits_a"]))
    onnx.save(model, path)
    with pytest.raises(BoxError, match=r"several: .*\(3, .\), .*: name it, as in output="):
        box_of(path, kind)
    assert apart(box_of(path, kind, output="logits_a").with_logits()(IMAGES), known(IMAGES)) < 1e-5
    assert len(box_of(path, kind, output="other", head="none").classes) == 3
    with pytest.raises(UnknownName, match="expected the name of an output of the network, got 'z'"):
        box_of(path, kind, output="z")


def test_of_scikit_learns_exports_the_numbers_before_the_dictionary_are_taken(tmp_path: Path) -> None:
    """ZipMap makes a list of dictionaries of them; labels come first and are passed over."""
    nodes = [("Softmax", "logits", "table", {}), ("ArgMax", "logits", "label", {"axis": 1, "keepdims": 0})]
    path = network(tmp_path / "net.onnx", nodes, ("label", "table"))
    model = onnx.load(path)
    zipped = onnx.helper.make_node(
        "ZipMap", ["table"], ["output_probability"], domain="ai.onnx.ml", classlabels_int64s=list(range(5))
    )
    model.graph.node.append(zipped)
    model.graph.output[1].CopyFrom(onnx.ValueInfoProto(name="output_probability"))
    model.opset_import.append(onnx.helper.make_opsetid("ai.onnx.ml", 3))
    onnx.save(model, path)
    box = box_of(path)
    assert apart(box(IMAGES), known(IMAGES).softmax(1)) < 1e-5
    assert (box.head, box.output) == ("softmax", "output_probability")


def test_a_sequence_of_outputs_is_several(tmp_path: Path) -> None:
    """Each has a name of its own."""
    path = network(tmp_path / "net.onnx", [("SequenceConstruct", "f logits", "y", {})], ("y",))
    model = onnx.load(path)
    model.graph.output[0].CopyFrom(onnx.helper.make_tensor_sequence_value_info("y", FLOAT, None))
    onnx.save(model, path)
    assert apart(box_of(path, output="y.1").with_logits()(IMAGES), known(IMAGES)) < 1e-5


# --- heads ---


@kinds
def test_a_softmax_is_cut_off_behind_changes_of_shape_and_only_if_it_is_one_of_classes(kind: str, tmp_path: Path) -> None:
    """One along another axis is what it is: the file's own numbers are kept."""
    reshaped = [("Softmax", "logits", "s", {}), ("Reshape", "s four", "y", {})]
    box = box_of(network(tmp_path / "one.onnx", reshaped, ("y",), {"four": np.array([0, -1, 1, 1])}), kind)
    assert box.head == "softmax"
    assert apart(box.with_logits()(IMAGES), known(IMAGES)) < 1e-5
    odd = [("Unsqueeze", "logits last", "r", {}), ("Softmax", "r", "y", {"axis": 2})]
    path = network(tmp_path / "odd.onnx", odd, ("y",), {"last": np.array([2])})
    assert apart(box_of(path, kind)(IMAGES), torch.ones(5, 5)) < 1e-5


def test_names_of_classes_are_compared_with_the_scores(tmp_path: Path) -> None:
    """A dictionary is read by its numbers; too few names are refused at once."""
    path = network(tmp_path / "net.onnx", [], ("logits",))
    assert box_of(path, classes=dict(zip("edcba", range(5), strict=True))).classes == ("e", "d", "c", "b", "a")
    with pytest.raises(BoxError, match=r"expected 5 names of classes, one for each score of net.onnx, got 2"):
        box_of(path, classes=["a", "b"])


# --- channels and layouts ---


@kinds
@pytest.mark.parametrize("count", [1, 4, 13])
@pytest.mark.parametrize("last", [False, True])
def test_any_number_of_channels_is_taken_first_or_last(count: int, last: bool, kind: str, tmp_path: Path) -> None:
    """The file says how many; images have as many, and those of one channel the mean of three."""
    shape: Any = ("n", 32, 32, count) if last else ("n", count, 32, 32)
    first = [("Transpose", "x", "t", {"perm": [0, 3, 1, 2]})] if last else [("Identity", "x", "t", {})]
    nodes = [*first, ("Conv", "t filters", "c", {}), ("GlobalAveragePool", "c", "p", {}), ("Flatten", "p", "y", {})]
    filters = noise(2, count, 1, 1, seed=2, dtype=torch.float32)
    box = box_of(written(tmp_path / "net.onnx", nodes, {"filters": filters.numpy()}, shape), kind)
    images = noise(3, 3 if count == 1 else count, 32, 32, dtype=torch.float32)
    means = images.mean((2, 3)).mean(1, keepdim=True) if count == 1 else images.mean((2, 3))
    assert box.channels == count
    assert apart(box.with_logits()(images), means @ filters[:, :, 0, 0].T) < 1e-4
    assert salience.explain(box, images[0], "occlusion", window=16, stride=16).saliency.isfinite().all()


@kinds
@pytest.mark.parametrize("count", [1, 4])
def test_channels_that_the_file_leaves_open_are_tried(count: int, kind: str, tmp_path: Path) -> None:
    """The first convolution refuses others."""
    nodes = [("Conv", "x filters", "c", {}), ("GlobalAveragePool", "c", "p", {}), ("Flatten", "p", "y", {})]
    filters = noise(2, count, 3, 3, seed=2, dtype=torch.float32).numpy()
    path = written(tmp_path / "net.onnx", nodes, {"filters": filters}, ("n", None, None, None))
    assert box_of(path, kind, size=32).channels == count


# --- batches of a fixed size ---


def fixed(path: Path, count: int) -> str:
    """Write a network that takes so many images and no others: its inside is shaped for them."""
    nodes = [
        ("AveragePool", "x", "a", {"kernel_shape": [4, 4], "strides": [4, 4]}),
        ("Conv", "a filters", "c", {}),
        ("Relu", "c", "r", {}),
        ("Conv", "r filters", "d", {}),
        ("Add", "d r", "s", {}),
        ("Reshape", "s shape", "v", {}),
        ("ReduceMean", "v axis", "m", {"keepdims": 0}),
        ("MatMul", "m w", "y", {}),
    ]
    weights = {
        "filters": noise(3, 3, 1, 1, seed=4, dtype=torch.float32).numpy(),
        "shape": np.array([count, 3, 64]),
        "axis": np.array([2]),
        "w": 9 * WEIGHTS.numpy(),
    }
    return written(path, nodes, weights, (count, 3, 32, 32))


@kinds
@pytest.mark.parametrize("method", ["recipro-cam", "score-cam", "sise", "occlusion"])
def test_a_network_for_four_images_explains_as_one_for_one(method: str, kind: str, tmp_path: Path) -> None:
    """Pictures are dealt out in fours and the last lot is filled up: scores, blends, layers and what follows them."""
    four, one = (box_of(fixed(tmp_path / f"{count}.onnx", count), kind) for count in (4, 1))
    assert (four.parts.lot, one.parts.lot) == (4, 1)
    assert apart(four(IMAGES), one(IMAGES)) < 1e-5
    assert apart(*blends(four)) < 1e-5
    assert four.layers() == one.layers()
    inner = next(each for each in four.network.graph.list_tensors() if four.network.graph.list_beside(each))
    features = one.activations(IMAGES, [inner])[inner]
    assert apart(four.forward_from(IMAGES[:1], inner, features), one.forward_from(IMAGES[:1], inner, features)) < 1e-5
    found, wanted = (salience.explain(each, IMAGES[0], method, target=1).saliency for each in (four, one))
    assert apart(found, wanted) <= 1e-4 * float(wanted.abs().max())


@kinds
def test_a_batch_that_was_asked_for_is_kept_to(kind: str, tmp_path: Path) -> None:
    """The scores are the same."""
    path = network(tmp_path / "net.onnx", [], ("logits",))
    assert box_of(path, kind, batch=2).batch == 2
    assert apart(box_of(path, kind, batch=2)(IMAGES), box_of(path, kind)(IMAGES)) < 1e-6


# --- eight bits ---


def blobs(path: Path) -> str:
    """Write a network that sees colours by weights set by hand: a skip connection, a pooling, and a last layer."""
    colours = np.tile(1.5 * np.eye(3) - 0.5, (2, 1))
    one, two, three = (
        0.15 * noise(*shape, seed=5).float().numpy() - 0.07 for shape in ((6, 3, 3, 3), (6, 6, 3, 3), (8, 6, 3, 3))
    )
    one += colours[:, :, None, None].astype(np.float32) / 4
    two[:, :, 1, 1] += np.eye(6, dtype=np.float32)
    three[:6, :, 1, 1] += np.eye(6, dtype=np.float32)
    last = 3 * np.concatenate([colours, np.zeros((2, 3))]).astype(np.float32)
    padded = {"pads": [1, 1, 1, 1]}
    nodes = [
        ("Conv", "x one", "c", padded),
        ("Relu", "c", "r", {}),
        ("Conv", "r two", "d", padded),
        ("Add", "d r", "a", {}),
        ("Relu", "a", "s", {}),
        ("MaxPool", "s", "m", {"kernel_shape": [2, 2], "strides": [2, 2]}),
        ("Conv", "m three", "e", padded),
        ("Relu", "e", "t", {}),
        ("GlobalAveragePool", "t", "p", {}),
        ("Flatten", "p", "f", {}),
        ("Gemm", "f last", "y", {}),
    ]
    return written(path, nodes, {"one": one, "two": two, "three": three, "last": last})


@pytest.fixture(scope="module")
def quantised(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return a float file, the same of operators of eight bits, and the same that quantises and dequantises."""
    quantisation = pytest.importorskip("onnxruntime.quantization")
    where = tempfile.mkdtemp(dir=tmp_path_factory.mktemp("eight"))
    found = {"float": blobs(Path(where) / "float.onnx")}
    for name, form in (("operators", "QOperator"), ("pairs", "QDQ")):
        found[name] = f"{where}/{name}.onnx"

        class Reader(quantisation.CalibrationDataReader):  # type: ignore[misc,name-defined]  # it has no types
            """Three batches to calibrate by."""

            rows: Iterator[Any] = iter([{"x": noise(2, 3, 32, 32, seed=k).float().numpy()} for k in range(3)])

            def get_next(self) -> Any:
                """Return the next."""
                return next(self.rows, None)

        quantisation.quantize_static(found["float"], found[name], Reader(), quant_format=quantisation.QuantFormat[form])
    return found


def picture() -> torch.Tensor:
    """Return a picture with a blob of each colour."""
    image = 0.3 * noise(3, 32, 32, seed=9).float()
    for colour, (y, x) in enumerate([(2, 4), (20, 3), (11, 20)]):
        image[colour, y : y + 10, x : x + 10] += 0.7
    return image


@pytest.mark.parametrize("form", ["operators", "pairs"])
@pytest.mark.parametrize("method", ["eigen-cam", "recipro-cam", "sise", "score-cam", "rise"])
def test_a_file_of_eight_bits_explains_as_the_float_file_does(method: str, form: str, quantised: dict[str, str]) -> None:
    """Its layers are dequantised, and replaced ones quantised again; its numbers are those of the float file."""
    more = {"masks": 200} if method == "rise" else {}
    one, other = (
        salience.explain(box_of(quantised[each]), picture(), method, target=2, **more).saliency for each in (form, "float")
    )
    assert float(maps.rank_agreement(one.flatten()[None], other.flatten()[None])) > 0.9
    assert float(one.abs().max()) < 1.3 * float(other.abs().max())


def test_eight_bits_are_left_to_the_runtime_that_has_them(
    quantised: dict[str, str], capfd: pytest.CaptureFixture[str]
) -> None:
    """Under `auto` OpenVINO is passed over; asked for by name, it is a sentence; nobody writes into the terminal."""
    image = picture()
    why = salience.explain(box_of(quantised["operators"], backend="auto"), image, "rise", masks=64, target=0)
    assert why.saliency.isfinite().all()
    with pytest.raises(BoxError, match="expected a network that OpenVINO reads in .*, got") as raised:
        box_of(quantised["operators"], backend="openvino")(image[None])
    assert "\n" not in str(raised.value)
    assert capfd.readouterr().err == ""


# --- what is refused, in a sentence ---


@kinds
@pytest.mark.parametrize(
    ("shape", "text"),
    [
        (("n", 64), r"rows of numbers of shape \(n, 64\)"),
        (("n", 1, 8, 32, 32), r"volumes \(n c d h w\) of shape \(n, 1, 8, 32, 32\)"),
        ((3, 32, 32), r"numbers of shape \(3, 32, 32\)"),
    ],
)
def test_a_file_that_takes_no_pictures_is_refused(shape: Any, text: str, kind: str, tmp_path: Path) -> None:
    """Rows, volumes, pictures without an axis for several."""
    path = written(tmp_path / "net.onnx", [("Relu", "x", "y", {})], {}, shape)
    with pytest.raises(BoxError, match=rf"expected a network of pictures \(n c h w\) in .*, got one that takes {text}"):
        box_of(path, kind)


def test_a_file_that_takes_text_is_refused(tmp_path: Path) -> None:
    """As many of scikit-learn's are."""
    path = written(tmp_path / "net.onnx", [("Identity", "x", "y", {})], {}, ("n", 1), onnx.TensorProto.STRING)
    with pytest.raises(BoxError, match="got one that takes text: wrap it"):
        box_of(path)


@kinds
def test_what_a_runtime_does_not_take_is_a_sentence(kind: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Weights that are missing, operators that nobody has, images of another size: nothing raw, nothing in the terminal."""
    nodes = [("Flatten", "x", "f", {}), ("MatMul", "f w", "y", {})]
    sized = written(tmp_path / "sized.onnx", nodes, {"w": np.ones((3072, 2), np.float32)}, ("n", 3, None, None))
    unknown = written(tmp_path / "unknown.onnx", [("Unheard", "x", "y", {})], {})
    outside = tmp_path / "outside.onnx"
    onnx.save(onnx.load(sized), outside, save_as_external_data=True, location="w.bin", size_threshold=0)
    (tmp_path / "w.bin").unlink()
    for path, more in ((sized, {"size": 48}), (unknown, {}), (str(outside), {"size": 32})):
        with pytest.raises(BoxError, match="^expected ") as raised:
            box_of(path, kind, **more)
        assert "\n" not in str(raised.value)
    box = box_of(sized, kind, size=32)
    with pytest.raises(BoxError, match=r"expected sized.onnx to take images of shape \(n, 3, 32, 32\), got"):
        box(noise(2, 3, 40, 40, dtype=torch.float32))
    assert capfd.readouterr().err == ""


# --- layers ---


@kinds
def test_a_tensor_that_does_not_move_the_answer_is_no_layer(kind: str, tmp_path: Path) -> None:
    """A last map of which nothing is used: the one before it is taken."""
    nodes = [
        ("Conv", "x filters", "c", {}),
        ("Relu", "c", "kept", {}),
        ("Conv", "kept filters", "e", {}),
        ("Clip", "e low high", "idle", {}),
        ("GlobalAveragePool", "idle", "q", {}),
        ("GlobalAveragePool", "kept", "p", {}),
        ("Add", "p q", "g", {}),
        ("Flatten", "g", "y", {}),
    ]
    filters = np.abs(noise(3, 3, 1, 1, seed=6).float().numpy())
    weights = {"filters": filters, "low": np.float32(0), "high": np.float32(0)}
    box = box_of(written(tmp_path / "net.onnx", nodes, weights), kind)
    assert "kept" in box.layer_info().top
