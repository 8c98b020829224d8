"""Drawn scenes."""

from __future__ import annotations

import hashlib
import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from salience import specs
from salience.boxes import toy
from salience.case import Sample
from salience.data import shapes
from salience.engine import target as targets
from salience.errors import SettingError, UnknownName
from salience.picture import Preparation, read

every = pytest.mark.parametrize("name", shapes.NAMES)


def scores(sample: Sample, size: int = 96) -> torch.Tensor:
    """Ask the box that sees colours for its logits."""
    box = toy.load("colour", size=size)
    image, _ = Preparation((size, size))(read(sample.picture))
    return box.logits(image[None])[0].detach()


def coloured(picture: np.ndarray) -> np.ndarray:
    """Find the pixels that are not grey."""
    return picture.max(2) != picture.min(2)


@every
def test_the_box_that_sees_colours_answers_every_scene(name: str) -> None:
    """At its own size or a smaller one; the label is the colour of the object."""
    for sample in specs.open_data(f"shapes:{name}?count=30&size=96&seed=3").samples:
        for size in (96, 32):
            assert ("red", "green", "blue")[int(scores(sample, size).argmax())] == sample.labels[0]


@every
def test_the_logit_is_forty_times_the_objects_share(name: str) -> None:
    """Grey gives nothing, so the score is known in closed form, and hiding a pixel takes its own part."""
    for number, sample in enumerate(specs.open_data(f"shapes:{name}?count=6&size=96").samples):
        known = 40 * 200 / 255 * (sample.mask > 0).mean()
        assert float(scores(sample)[number % 3]) == pytest.approx(known, abs=1e-4)


@every
def test_the_truth_is_the_object_to_the_pixel(name: str) -> None:
    """Inside is one colour; in plain scenes all else is grey, and objects do not overlap."""
    for sample in specs.open_data(f"shapes:{name}?count=9&size=64").samples:
        inside = sample.mask > 0
        assert {tuple(each) for each in sample.picture[inside]} == {shapes.COLOURS[sample.labels[0]]}
        others = coloured(sample.picture) & ~inside
        assert others.any() == (name == "distractors")
        if name == "distractors":
            assert len({tuple(each) for each in sample.picture[others]}) == 2
            assert others.sum() < 0.27 * inside.sum()


@every
def test_objects_cover_six_to_fifteen_per_cent(name: str) -> None:
    """Whatever their form."""
    shares = [(each.mask > 0).mean() for each in specs.open_data(f"shapes:{name}?count=30").samples]
    assert min(shares) > 0.058
    assert max(shares) < 0.152
    assert max(shares) - min(shares) > 0.05


@every
def test_a_scene_depends_on_seed_and_number_only(name: str) -> None:
    """Not on the count, nor on which were looked at before."""
    few, many = (specs.open_data(f"shapes:{name}?count={count}&seed=5&size=48") for count in (3, 9))
    assert np.array_equal(many[2].picture, few[2].picture)
    assert not np.array_equal(many[2].picture, many[5].picture)
    assert not np.array_equal(many[2].picture, specs.open_data(f"shapes:{name}?seed=6&size=48")[2].picture)


def test_a_scene_is_the_same_on_every_machine() -> None:
    """These bytes were drawn once and for all."""
    drawn = b"".join(specs.open_data(f"shapes:{name}?size=64")[0].picture.tobytes() for name in shapes.NAMES)
    assert hashlib.sha256(drawn).hexdigest()[:16] == "92d770d1d9aa2ea3"


def test_the_tag_goes_with_the_label_as_often_as_asked() -> None:
    """One bar for red, two for green, three for blue; otherwise one of the other two."""
    for together, low, high in ((1, 1, 1), (0, 0, 0), (0.7, 0.6, 0.8)):
        own = []
        for sample in specs.open_data(f"shapes:shortcut?count=200&size=48&together={together}").samples:
            rows = sample.picture[1:7, 4, 0] == 235
            bars = sum(bool(after) and not before for before, after in pairwise([False, *rows]))
            assert bars in (1, 2, 3)
            own.append(bars - 1 == ("red", "green", "blue").index(sample.labels[0]))
        assert low <= np.mean(own) <= high


def test_the_tag_is_a_truth_too() -> None:
    """A plate in the top left corner, beside the object, in the same picture."""
    spec = "shapes:shortcut?count=5&size=64"
    for sample, tag in zip(specs.open_data(spec).samples, specs.open_data(f"{spec}&truth=tag").samples, strict=True):
        assert np.array_equal(sample.picture, tag.picture)
        assert not ((sample.mask > 0) & (tag.mask > 0)).any()
        assert np.argwhere(tag.mask).min(0).tolist() == [2, 2]
        assert np.argwhere(tag.mask).max(0).tolist() == [10, 10]
        assert targets.match_labels(tag, toy.load("colour").classes) == (("red", "green", "blue").index(tag.labels[0]),)


@pytest.mark.parametrize(("form", "corners"), shapes.FORMS.items())
def test_a_shapes_area_is_its_known_formula(form: str, corners: int) -> None:
    """½ n r₁ r₂ sin(2π / n), which is what the radius is chosen by."""
    inner = 0.45 if form == "star" else 1
    known = corners / 2 * inner * math.sin(2 * math.pi / corners)
    assert shapes._area(shapes.outline(form, 1, 5, 5, 0.3)) == pytest.approx(known)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("shapes:plain?count=0", "expected 1 ≤ count ≤ 1e.06, got 0"),
        ("shapes:plain?count=2.5", "expected a whole number for count, got '2.5'"),
        ("shapes:plain?size=8", "expected 16 ≤ size ≤ 32768, got 8"),
        ("shapes:plain?together=1", "expected together and truth for shapes:shortcut, got them for shapes:plain"),
        ("shapes:shortcut?together=2", "expected 0 ≤ together ≤ 1, got 2"),
        ("shapes:shortcut?truth=bar", "expected truth as object or tag, got 'bar'"),
    ],
)
def test_wrong_options_are_said(spec: str, said: str) -> None:
    """Before anything is drawn."""
    with pytest.raises(SettingError, match=said):
        specs.open_data(spec)


def test_an_unknown_scene_gets_close_matches() -> None:
    """As every name does."""
    with pytest.raises(UnknownName, match="scene of shapes:, got 'plane': did you mean plain"):
        specs.open_data("shapes:plane")
