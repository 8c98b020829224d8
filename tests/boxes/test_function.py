"""Plain functions, and what `py:` finds."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import salience
from salience import specs
from salience.boxes import toy
from salience.engine.perturb import masks
from salience.engine.query import loop
from salience.errors import BoxError, SettingError, UnknownName
from salience.types import BlackBox, GreyBox
from tests.helpers import Asked, apart, brightness, noise

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
    made = [specs.open_box(eval(f"lambda batch: [[{k}, 1]] * len(batch)"), size=8, classes=["a", "b"]) for k in (0, 0, 1)]  # noqa: S307  # our own text
    assert made[0].fingerprint == made[1].fingerprint != made[2].fingerprint


def make(scale: float, table: dict[str, float] | None = None, power: int = 1) -> Any:
    """Make a function of a factory: its closure, its default and its keyword default tell it from its siblings."""
    table = table or {"bright": 1.0}

    def score(images: Any, by: int = power, *, flip: bool = scale < 0) -> Any:
        bright = np.asarray(images).reshape(len(images), -1).mean(1) ** by * abs(scale) * table["bright"]
        return np.stack([bright, 1 - bright] if flip else [1 - bright, bright], axis=1)

    return score


THRESHOLD = 0.5


def above(images: Any) -> Any:
    """Read a global of this module."""
    bright = (np.asarray(images).reshape(len(images), -1).mean(1) > THRESHOLD) * 1.0
    return np.stack([1 - bright, bright], axis=1)


class Scorer:
    """An object that is called, with state of its own."""

    def __init__(self, weight: float) -> None:
        self.weight, self.net = torch.full((2,), weight), torch.nn.Linear(1, 1, bias=False)
        torch.nn.init.constant_(self.net.weight, weight)

    def score(self, images: Any) -> Any:
        return np.tile(self.weight.numpy(), (len(images), 1))

    __call__ = score


def test_functions_of_one_factory_share_a_fingerprint_only_if_they_answer_alike() -> None:
    """Closures, defaults and keyword defaults count, whatever the code has in common."""
    functions = [make(1), make(-1), make(0.5), make(1, {"bright": 0.5}), make(1, power=2)]
    prints = [specs.open_box(each, size=8).fingerprint for each in (*functions, make(1))]
    assert len(set(prints)) == len(functions)
    assert prints[-1] == prints[0]


def test_a_global_that_a_function_reads_is_part_of_its_fingerprint(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another threshold, another classifier."""
    before = specs.open_box(above, size=8).fingerprint
    monkeypatch.setitem(globals(), "THRESHOLD", 0.25)
    assert specs.open_box(above, size=8).fingerprint != before


def test_methods_partials_and_objects_have_the_fingerprint_of_what_they_hold() -> None:
    """Tensors, modules and arguments are seen, and a circle ends."""
    one, like, other = Scorer(0.25), Scorer(0.25), Scorer(0.5)
    one.me, like.me = one, like
    for of in (lambda scorer: scorer, lambda scorer: scorer.score, lambda scorer: partial(Scorer.score, scorer)):
        prints = [specs.open_box(of(each), size=8, classes=["a", "b"]).fingerprint for each in (one, like, other)]
        assert prints[0] == prints[1] != prints[2]


def test_a_fingerprint_is_that_of_another_process() -> None:
    """Or no record could be measured tomorrow."""
    ask = "from tests.boxes.test_function import *; print(specs.open_box(make(1), size=8).fingerprint, end=' ');"
    ask += "print(specs.open_box(Scorer(0.25), size=8, classes=list('ab')).fingerprint)"
    done = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True)  # noqa: S603  # our own words
    known = [
        specs.open_box(make(1), size=8).fingerprint,
        specs.open_box(Scorer(0.25), size=8, classes=["a", "b"]).fingerprint,
    ]
    assert done.stdout.split() == known


def test_what_a_function_counts_while_it_is_asked_does_not_change_its_fingerprint() -> None:
    """A cache or a counter is not what it answers."""
    calls: list[int] = []
    box = specs.open_box(lambda images: calls.append(1) or np.full((len(images), 2), 0.5), size=8)
    before = box.fingerprint
    box(IMAGES)
    assert box.fingerprint == before


def test_a_measure_refuses_a_sibling_of_the_function_that_was_explained() -> None:
    """Their code is one, their answers are opposite."""
    one, other = specs.open_box(make(1), size=8), specs.open_box(make(-1), size=8)
    why = salience.explain(one, IMAGES[0], "rise", masks=16, target=1)
    with pytest.raises(BoxError, match="expected the box that was explained"):
        salience.measure(other, why, ["deletion"])


def test_asking_what_a_box_is_runs_none_of_its_properties() -> None:
    """On Python 3.11 the check of a protocol read them all, and hashed the weights."""

    class Shy(Asked):
        @property
        def fingerprint(self) -> str:
            raise AssertionError("looked at")

    assert specs.open_box(Shy(brightness)).name == "asked"
    assert not isinstance(Shy(brightness), GreyBox)


@pytest.mark.parametrize("pictures", [3, 1])
def test_a_list_of_pictures_is_explained_by_a_black_box(pictures: int) -> None:
    """On Python 3.12 and later it was refused for its lack of layers."""
    whys = salience.explain(Asked(brightness), [IMAGES[0]] * pictures, "rise", masks=8, target=1)
    assert len(whys) == pictures


@pytest.mark.parametrize(
    ("function", "options", "error", "text"),
    [
        (lambda batch: batch, {"takes": "jpeg"}, SettingError, "expected takes as 'torch', 'numpy' or 'uint8', got 'jpeg'"),
        (lambda batch: "cat", {}, BoxError, "got str"),
        (lambda batch: 1 / 0, {}, BoxError, r"to take images of shape \(1, 3, 8, 8\), got ZeroDivisionError"),
        (
            lambda batch: np.zeros((len(batch), 4, 4)),
            {},
            BoxError,
            r"expected scores \(n classes\) of 3 .*, got a tensor \(3, 4, 4\)",
        ),
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
    assert specs.open_box(f"{spec}:Net", size=8, classes=["a", "b", "c"]).classes == ("a", "b", "c")
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


def test_a_function_may_answer_in_the_same_buffer_every_time() -> None:
    """What it said of one batch stays when it is asked about the next."""
    buffer = torch.zeros(64, 2)

    def score(images: torch.Tensor) -> torch.Tensor:
        buffer[: len(images), 1] = images.mean((1, 2, 3))
        return buffer[: len(images)]

    def again(images: torch.Tensor) -> torch.Tensor:
        return score(images).clone()

    image = noise(3, 16, 16, dtype=torch.float32)
    one, other = (salience.load(each, size=16, takes="torch", classes=["a", "b"]) for each in (score, again))
    for method in ("iassa", "rise", "occlusion"):
        maps = [salience.explain(box, image, method, budget=300, batch=16).saliency for box in (one, other)]
        assert torch.equal(*maps)


def test_scores_of_complex_numbers_are_refused() -> None:
    """Their imaginary part would be lost in silence."""
    with pytest.raises(BoxError, match="of complex64"):
        salience.load(lambda images: torch.ones(len(images), 2) * 1j, size=16, takes="torch")
