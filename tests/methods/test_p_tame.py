"""The method that uses an explainer: one whose weights are set by hand, so that every map is known."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from salience.boxes import toy
from salience.boxes.torch import wrap
from salience.engine.query.run import start_run
from salience.engine.training import explainer
from salience.errors import BoxError, RecordError, SettingError, TargetError
from salience.methods.p_tame import PTame
from tests import trained
from tests.helpers import apart, same


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep explainers away from the user's."""
    monkeypatch.setenv("SALIENCE_HOME", str(tmp_path))
    return tmp_path


def test_the_map_is_the_row_of_the_class_stretched() -> None:
    """Red is 1 in a red place and −1/2 in a green one; grey is 0: stretched, they are 1, 0 and 1/3."""
    image = toy.picture(32, 0)
    image[:, 22:30, 2:10] = torch.tensor([0.0, 1, 0])[:, None, None]
    found = PTame(explainer=trained.file())(toy.load("colour"), image, 0)
    assert [float(found[y, x]) for y, x in ((10, 18), (26, 6), (0, 0))] == pytest.approx([1, 0, 1 / 3], abs=1e-6)


def test_the_sigmoid_keeps_the_scale_that_was_trained() -> None:
    """σ(0) of grey is 1/2; min-max would make it the least."""
    found = PTame(explainer=trained.file(), values="sigmoid")(toy.load("colour"), toy.picture(32, 0), 0)
    assert float(found[0, 0]) == pytest.approx(0.5, abs=1e-6)
    assert float(found[10, 18]) == pytest.approx(torch.tensor(1.0).sigmoid().item(), abs=1e-6)


def test_an_explanation_costs_one_pass_of_the_features_and_none_of_the_box() -> None:
    """Two in the mirror; several targets of one image share theirs."""
    box, file, image = toy.load("colour"), trained.file(), toy.picture(32)
    for method, targets, passes in ((PTame(file), [0], 1), (PTame(file, mirror=True), [0], 2), (PTame(file), [0, 1, 2], 1)):
        with start_run() as run:
            found = method.many(box, image[None], targets)
        assert run.passes == passes
        assert len(found) == len(targets)


def test_the_mirror_makes_a_map_that_turns_with_the_picture() -> None:
    """The mean of both is the same from either side."""
    method, image = PTame(trained.file(), mirror=True), toy.picture(32)
    found, turned = (method(toy.load("colour"), each, 0) for each in (image, image.flip(-1)))
    assert apart(found, turned.flip(-1)) < 1e-6


def test_an_image_of_another_size_is_brought_to_the_features() -> None:
    """The map comes back at the image's size."""
    box = wrap(toy.Colour(), size=(48, 64), backend="exact")
    image = torch.full((3, 48, 64), 0.4)
    image[:, 6:22, 40:56] = torch.tensor([1.0, 0, 0])[:, None, None]
    found = PTame(trained.file(), any_box=True)(box, image, 0)
    assert found.shape == (48, 64)
    assert float(found[10:18, 44:52].mean()) > 0.9
    assert float(found[30:].mean()) < 0.1


def test_an_explainer_of_another_box_is_refused_unless_allowed() -> None:
    """Its maps would be about a box that is not there."""
    box = wrap(toy.Colour().double(), size=32, backend="exact")
    with pytest.raises(BoxError, match="expected the box that the explainer was fitted for, toy:colour, got Colour"):
        PTame(trained.file())(box, toy.picture(32), 0)
    assert PTame(trained.file(), any_box=True)(box, toy.picture(32), 0).shape == (32, 32)


def test_without_a_file_the_explainer_of_the_box_is_found(home: Path) -> None:
    """It is kept by the box's fingerprint; where there is none, the sentence says how to make one."""
    box = toy.load("colour")
    with pytest.raises(RecordError, match=r"expected an explainer at .*, got nothing there: make one with `salience fit"):
        PTame()(box, toy.picture(32), 0)
    place = explainer.find_path(box.fingerprint)
    place.parent.mkdir(parents=True)
    place.write_bytes(trained.colours().content())
    assert home in place.parents
    assert same(PTame()(box, toy.picture(32), 0), PTame(trained.file())(box, toy.picture(32), 0))


def test_a_class_without_a_row_is_refused_and_so_is_a_function_of_all() -> None:
    """An explainer of some classes can contrast those."""
    box, method = toy.load("colour"), PTame(trained.file((0, 2)))
    assert method(box, toy.picture(32), (0, 2)).shape == (32, 32)
    for target in (1, (0, 1), lambda rows: rows[:, 0]):
        with pytest.raises(TargetError, match=r"was fitted for \(red, blue\), got green: fit it on pictures of that"):
            method(box, toy.picture(32), target)


def test_wrong_values_and_wrong_files_are_one_sentence(tmp_path: Path) -> None:
    """Each says what was expected."""
    with pytest.raises(SettingError, match="expected values min-max or sigmoid, got 'raw'"):
        PTame(values="raw")  # type: ignore[arg-type]
    (tmp_path / "cut").write_bytes(trained.colours().content()[:-8])
    with pytest.raises(RecordError, match=r"expected an explainer in .*cut, got something else"):
        PTame(str(tmp_path / "cut"))(toy.load("colour"), toy.picture(32), 0)
