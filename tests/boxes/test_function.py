"""Plain functions, and what `py:` finds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from salience import specs
from salience.boxes import toy
from salience.engine.perturb import masks
from salience.engine.query import loop
from salience.errors import BoxError, SettingError, UnknownName
from salience.types import BlackBox, GreyBox
from tests.helpers import apart, noise

IMAGES = noise(4, 3, 8, 8, dtype=torch.float32)


@pytest.mark.parametrize("takes", ["torch", "numpy", "uint8"])
def test_a_function_gets_the_batch_that_it_takes(takes: str) -> None:
    """Channels first as tensors, last as arrays; bytes are rounded, not cut off."""
    seen: list[Any] = []

    def function(batch: Any) -> Any:
        seen.append(batch)
        return [[0.25, 0.75]] * len(batch)

    box = specs.open_box(function, size=8, takes=takes, classes=["no", "yes"])
    assert apart(box(IMAGES), torch.tensor([[0.25, 0.75]] * 4)) == 0
    last = IMAGES.permute(0, 2, 3, 1)
    known = {"torch": IMAGES, "numpy": last.numpy(), "uint8": (last * 255).round().byte().numpy()}[takes]
    assert type(seen[0]) is type(known)
    assert seen[0].dtype == known.dtype
    assert np.array_equal(seen[0], known)


@pytest.mark.parametrize("takes", ["torch", "numpy", "uint8"])
def test_a_function_may_write_into_its_batch(takes: str) -> None:
    """It has a copy; the buffer of the loop stays as it was."""

    def function(batch: Any) -> Any:
        bright = np.asarray(batch, dtype=np.float64).reshape(len(batch), -1).mean(1)
        batch[:] = 0
        return np.stack([1 - bright, bright], axis=1)

    kept = IMAGES.clone()
    box = specs.open_box(function, size=8, takes=takes)
    one, again = (box(IMAGES) for _ in range(2))
    assert torch.equal(one, again)
    assert torch.equal(IMAGES, kept)
    found = [y for _, _, y in loop.score_masked(box, IMAGES[0], 1, [masks.FullMasks(torch.ones(40, 8, 8))], IMAGES[1])]
    assert len(torch.cat(found).unique()) == 1


def test_a_function_is_a_black_box_with_counted_classes() -> None:
    """It shows no layers; one grey image says how many classes there are."""
    box = specs.open_box(lambda batch: np.full((len(batch), 3), 1 / 3), size=(8, 6))
    assert isinstance(box, BlackBox)
    assert not isinstance(box, GreyBox)
    assert box.classes == ("class 0", "class 1", "class 2")
    assert box.size == (8, 6)
    assert box.mean == (0.5, 0.5, 0.5)


def test_read_only_arrays_are_scores_too() -> None:
    """Other libraries hand out views that nobody may write to."""

    def function(batch: Any) -> Any:
        scores = np.full((len(batch), 2), 0.5)
        scores.flags.writeable = False
        return scores

    assert specs.open_box(function, size=8)(IMAGES).tolist() == [[0.5, 0.5]] * 4


def test_a_functions_fingerprint_follows_its_code() -> None:
    """The same code twice is the same box; another constant is another."""
    made = [specs.open_box(eval(f"lambda batch: [[{k}, 1]] * len(batch)"), size=8, classes="ab") for k in (0, 0, 1)]  # noqa: S307  # our own text
    assert made[0].fingerprint == made[1].fingerprint != made[2].fingerprint


@pytest.mark.parametrize(
    ("function", "options", "error", "text"),
    [
        (lambda batch: batch, {"takes": "jpeg"}, SettingError, "expected takes as 'torch', 'numpy' or 'uint8', got 'jpeg'"),
        (lambda batch: "cat", {}, BoxError, "got str"),
        (lambda batch: 1 / 0, {}, BoxError, "to score a grey image, got ZeroDivisionError"),
        (lambda batch: np.zeros(len(batch)), {}, BoxError, r"expected scores of shape \(n classes\) from .*, got \(1,\)"),
        (lambda batch: batch, {"size": None}, SettingError, "expected a number"),
    ],
)
def test_functions_that_are_no_boxes_are_refused(
    function: Any, options: dict[str, Any], error: type[Exception], text: str
) -> None:
    """When the box is made, not in the middle of a map."""
    with pytest.raises(error, match=text):
        specs.open_box(function, **({"size": 8} | options))


FILE = """
import torch
from salience.boxes import toy

def score(batch):
    return [[0.5, 0.5]] * len(batch)

def make():
    return toy.load("colour")

def choose(what):
    return toy.load(what)

class Net(toy.Colour):
    pass

class Sized(toy.Colour):
    def __init__(self, size=0):
        super().__init__()

ready = toy.load("corner")
net = toy.Colour()
"""


def test_a_file_gives_a_box_a_module_a_maker_or_a_function(tmp_path: Path) -> None:
    """`py:file.py:name` takes what is there."""
    (tmp_path / "mine_for_test.py").write_text(FILE)
    spec = f"py:{tmp_path / 'mine_for_test.py'}"
    assert specs.open_box(f"{spec}:ready").name == "toy:corner"
    assert specs.open_box(f"{spec}:make").name == "toy:colour"
    assert specs.open_box(f"{spec}:net?size=8").classes == ("class 0", "class 1", "class 2")
    assert specs.open_box(f"{spec}:Net", size=8, classes="abc").classes == ("a", "b", "c")
    assert specs.open_box(f"{spec}:score?size=8")(IMAGES).tolist() == [[0.5, 0.5]] * 4
    assert specs.open_box(f"{spec}:choose?what=corner").name == "toy:corner"
    with pytest.raises(SettingError, match="expected no options for a box that is made already, got backend"):
        specs.open_box(f"{spec}:choose?what=corner&backend=exact")
    assert specs.open_box(f"{spec}:Sized", size=8).size == (8, 8)
    assert specs.open_box("py:salience.boxes.toy:Colour", size=8).name == "Colour"
    for wrong, error, text in (
        ("makes", UnknownName, "did you mean make"),
        ("score", BoxError, r"for a plain function give its size, as in \?size=224"),
    ):
        with pytest.raises(error, match=text):
            specs.open_box(f"{spec}:{wrong}")
    for wrong, text in (
        ("py:none.py:a", "got nothing there"),
        ("py:no_such_module:a", "expected a module"),
        ("py:a", "py:module:attribute"),
        ("py:time:time", "expected a box .*, got float"),  # Python does not tell what it takes
    ):
        with pytest.raises(BoxError, match=text):
            specs.open_box(wrong)


def test_toys_answer_as_they_say() -> None:
    """Colour looks for a colour, corner at a quarter, constant at nothing, linear at each pixel's weight."""
    assert int(toy.load("colour")(toy.picture(colour=2)[None])[0].argmax()) == 2
    image = torch.zeros(1, 3, 32, 32)
    image[:, :, :16, :16] = 0.5
    assert float(toy.load("corner")(image)[0, 1]) == pytest.approx(0.5)
    assert toy.load("constant")(image).tolist() == [[1, 0]]
    weights = noise(5, 6)
    images = noise(2, 3, 5, 6)
    assert apart(toy.linear(weights)(images)[:, 1], (images.mean(1) * weights).sum((1, 2))) < 1e-12
