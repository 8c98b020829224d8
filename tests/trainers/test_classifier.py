"""A training of a classifier: what it learns, what it leaves behind, and that a kill costs nothing."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from salience import specs
from salience.case import Data, Sample
from salience.engine.training.loop import Loop
from salience.errors import BoxError, DataError, RecordError, UnknownName
from salience.trainers._classifier.config import TrainingConfig
from salience.trainers.plain import Plain
from salience.trainers.scaat import Scaat
from tests.helpers import Asked, brightness

ROOT = Path(__file__).parents[2]
SHAPES = "shapes:plain?count=40&size=24"
SHORT = Loop(steps=8, batch=8, save=4, check=4)


def net() -> nn.Module:
    """Make a small network with batch norm and dropout for three colours."""
    torch.manual_seed(0)
    parts = [nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten()]
    return nn.Sequential(*parts, nn.Dropout(0.2), nn.Linear(96, 3))


def box() -> Any:
    """Make it a box, as `py:` would."""
    return specs.open_box(net(), size=24, classes=["red", "green", "blue"], name="small", backend="exact")


SPEC = f"py:{Path(__file__)}:box"


def test_a_training_learns_and_leaves_the_box_alone(tmp_path: Path) -> None:
    """Three colours in thirty steps; the first row is of before."""
    made = box()
    before = {key: value.clone() for key, value in made.module.state_dict().items()}
    trained = Scaat(attack_steps=1).fit(
        made, SHAPES, out=tmp_path, loop=replace(SHORT, steps=40), config=TrainingConfig(rate=0.02, held=0.25)
    )
    assert trained.history[-1]["accuracy"] >= 0.9
    assert trained.history[-1]["accuracy"] > trained.history[0]["accuracy"]
    assert all(torch.equal(value, before[key]) for key, value in made.module.state_dict().items())
    assert not any(each.grad is not None for each in made.module.parameters())
    assert trained.box.name == "small, scaat"


@pytest.mark.parametrize(
    ("config", "kept"),
    [(TrainingConfig(), True), (TrainingConfig(new_statistics=True), False), (TrainingConfig(scratch=True), False)],
)
def test_statistics_of_a_trained_network_are_kept(config: TrainingConfig, kept: bool, tmp_path: Path) -> None:
    """Unless they are to be learnt anew, as they are from scratch; the norm's scale is trained in any case."""
    made = box()
    made.module[1].running_mean.fill_(0.3)
    trained = Plain().fit(made, SHAPES, out=tmp_path, loop=SHORT, config=replace(config, rate=0.01))
    norm = trained.box.module[1]
    assert torch.equal(norm.running_mean, torch.full((6,), 0.3)) == kept
    assert not torch.equal(norm.weight, made.module[1].weight)


def test_what_was_trained_is_a_box(tmp_path: Path) -> None:
    """`trained:FOLDER` answers as the box that came out; the card says how it came about."""
    trained = Plain().fit(SPEC, SHAPES, out=tmp_path, loop=SHORT, config=TrainingConfig(rate=0.01))
    again = specs.open_box(f"trained:{tmp_path}?of={SPEC}")  # it runs code, so the folder alone may not name it
    image = torch.rand(2, 3, 24, 24)
    assert torch.equal(again(image), trained.box(image))
    assert again.fingerprint == trained.box.fingerprint != box().fingerprint
    card = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "small, plain" in card
    assert "| accuracy |" in card
    assert specs.open_box(SPEC).name == "small"


def test_a_box_given_as_an_object_needs_its_spec_to_be_loaded(tmp_path: Path) -> None:
    """Its weights are in the folder, its layers are not."""
    Plain().fit(box(), SHAPES, out=tmp_path, loop=SHORT)
    with pytest.raises(BoxError, match="expected the spec of the network"):
        specs.open_box(f"trained:{tmp_path}")
    assert specs.open_box(f"trained:{tmp_path}?of={SPEC}").name == "small, plain"
    with pytest.raises(BoxError, match="without box.json"):
        specs.open_box(f"trained:{tmp_path / 'nowhere'}")


@pytest.mark.parametrize("how", [Plain(), Scaat(attack_steps=1)], ids=["plain", "scaat"])
def test_a_training_that_was_stopped_goes_on_exactly(how: Any, tmp_path: Path) -> None:
    """The same figures at every step and the same weights, dropout and batch norm included."""

    def stop(step: int, _steps: int, _row: dict[str, float]) -> None:
        if step == 6:
            raise KeyboardInterrupt

    config = TrainingConfig(rate=0.01, mirror=True, shift=2)
    whole = how.fit(box(), SHAPES, out=tmp_path / "whole", loop=SHORT, config=config)
    with pytest.raises(KeyboardInterrupt):
        how.fit(box(), SHAPES, out=tmp_path / "cut", loop=SHORT, config=config, tell=stop)
    again = how.fit(box(), SHAPES, out=tmp_path / "cut", loop=SHORT, config=config)
    for one, other in zip(whole.history, again.history, strict=True):
        assert {**one, "seconds": 0} == {**other, "seconds": 0}
    assert whole.box.fingerprint == again.box.fingerprint


KILLED = """
import os, signal, sys
from tests.trainers.test_classifier import SHAPES, SHORT, SPEC
from salience.trainers._classifier.config import TrainingConfig
from salience.trainers.scaat import Scaat
die = lambda step, steps, row: os.kill(os.getpid(), signal.SIGKILL) if step == int(sys.argv[2]) else None
Scaat(attack_steps=1).fit(SPEC, SHAPES, out=sys.argv[1], loop=SHORT, config=TrainingConfig(rate=0.01), tell=die)
"""


@pytest.mark.slow  # the loop that all trainers share is killed at every change
def test_a_training_that_was_killed_goes_on_exactly(tmp_path: Path) -> None:
    """SIGKILL in step 6 of 8: identical weights and figures at equal seed."""
    codes = [
        subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / name), step], cwd=ROOT, check=False).returncode  # noqa: S603  # ourselves
        for name, step in (("cut", "6"), ("cut", "0"), ("whole", "0"))
    ]
    assert codes == [-signal.SIGKILL, 0, 0]
    prints = [json.loads((tmp_path / name / "box.json").read_text())["fingerprint"] for name in ("cut", "whole")]
    assert prints[0] == prints[1]
    rows = [(tmp_path / name / "history.jsonl").read_text().splitlines() for name in ("cut", "whole")]
    for one, other in zip(*rows, strict=True):
        assert {**json.loads(one), "seconds": 0} == {**json.loads(other), "seconds": 0}


def test_a_run_refuses_other_settings(tmp_path: Path) -> None:
    """Its folder says what it began with."""
    Plain().fit(box(), SHAPES, out=tmp_path, loop=SHORT)
    with pytest.raises(RecordError, match="expected the run that began"):
        Scaat().fit(box(), SHAPES, out=tmp_path, loop=SHORT)


def test_only_some_modules_are_trained(tmp_path: Path) -> None:
    """The others keep their weights, and their batch norms their statistics."""
    made = box()
    trained = Plain().fit(made, SHAPES, out=tmp_path, loop=SHORT, config=TrainingConfig(only=("6",), rate=0.05))
    moved = [
        key
        for key, value in trained.box.module.state_dict().items()
        if not torch.equal(value, made.module.state_dict()[key])
    ]
    assert moved == ["6.weight", "6.bias"]
    with pytest.raises(UnknownName, match="module with weights"):
        Plain().fit(made, SHAPES, out=tmp_path / "other", loop=SHORT, config=TrainingConfig(only=("head",)))


def test_epochs_are_steps_and_scratch_is_a_new_start(tmp_path: Path) -> None:
    """36 pictures are learnt from, 4 held out."""
    trained = Plain().fit(box(), SHAPES, out=tmp_path, loop=SHORT, config=TrainingConfig(epochs=2, scratch=True, rate=1e-9))
    assert trained.history[-1]["step"] == 9
    assert not torch.equal(trained.box.module[0].weight, net()[0].weight)


def test_what_cannot_be_learnt_from_is_named(tmp_path: Path) -> None:
    """A box that is no torch network, labels that are not its classes, and pictures without labels."""
    with pytest.raises(BoxError, match="expected a torch network to train, got asked"):
        Plain().fit(Asked(brightness, 24), SHAPES, out=tmp_path)
    images = [torch.rand(3, 24, 24) for _ in range(3)]
    with pytest.raises(DataError, match="expected pictures with labels of small"):
        Plain().fit(box(), Data("cats", [Sample("one", images[0], ("cat",))]), out=tmp_path)
    with pytest.raises(DataError, match="expected a data set of labelled pictures, got Tensor"):
        Plain().fit(box(), images, out=tmp_path)
    many = specs.open_box(net(), size=24, head="sigmoid", backend="exact")
    with pytest.raises(BoxError, match="one right class a picture"):
        Plain().fit(many, SHAPES, out=tmp_path)


def moved_by(image: Tensor, shown: Tensor) -> set[tuple[int, int]]:
    """List the offsets at which what is shown is the image."""
    wide = nn.functional.pad(image[None], (2, 2, 2, 2), mode="replicate")[0]
    return {(y, x) for y in range(5) for x in range(5) if torch.equal(wide[:, y : y + 24, x : x + 24], shown)}


def test_pictures_are_mirrored_and_moved_by_chance() -> None:
    """By at most the pixels given, by the address of the visit, and with the edge repeated."""
    from salience.trainers._classifier.training import Learner

    learner = object.__new__(Learner)
    learner.config, learner.loop = TrainingConfig(mirror=True, shift=2), SHORT
    image = torch.rand(3, 24, 24)
    offsets, mirrored = set(), 0
    for place in range(60):
        shown = learner.augment(image, place)
        found = moved_by(image, shown) or moved_by(image.flip(-1), shown)
        mirrored += not moved_by(image, shown)
        assert found
        offsets |= found
    assert len(offsets) > 15
    assert 15 < mirrored < 45
