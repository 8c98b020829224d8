"""Classifiers of scikit-learn on pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import salience
from salience import specs
from salience.errors import BoxError, SettingError, UnknownName
from salience.types import BlackBox, GreyBox
from tests.helpers import apart, noise


@pytest.fixture(scope="module")
def digits() -> tuple[Any, Any]:
    """Return a classifier of handwritten digits, 8 × 8 pixels from 0 to 16, and the pictures."""
    from sklearn.datasets import load_digits
    from sklearn.linear_model import LogisticRegression

    known = load_digits()
    return LogisticRegression(max_iter=200).fit(known.data, known.target), known


def test_an_estimator_of_grey_pixels_answers_as_it_does_by_itself(digits: tuple[Any, Any]) -> None:
    """Grey because it was fitted on one value a pixel; white is what `scale` says; classes are the estimator's."""
    fitted, known = digits
    box = salience.load(fitted, size=8, scale=16)
    images = torch.from_numpy(known.images[:9] / 16).float()[:, None].expand(-1, 3, -1, -1)
    assert isinstance(box, BlackBox)
    assert not isinstance(box, GreyBox)
    assert box.classes == tuple("0123456789")
    assert apart(box(images), torch.from_numpy(fitted.predict_proba(known.data[:9]))) < 1e-5


def test_an_estimator_of_colours_gets_them_last() -> None:
    """Three values a pixel, as an image lies in memory."""
    from sklearn.linear_model import LogisticRegression

    images = noise(40, 3, 4, 5, dtype=torch.float32)
    rows = images.permute(0, 2, 3, 1).flatten(1).numpy()
    fitted = LogisticRegression().fit(rows, np.arange(40) % 2)
    assert apart(salience.load(fitted, size="4x5")(images), torch.from_numpy(fitted.predict_proba(rows))) < 1e-6


def test_black_box_methods_explain_an_estimator(digits: tuple[Any, Any]) -> None:
    """Occlusion by single pixels of a linear classifier finds the pixels with ink and weight."""
    fitted, known = digits
    image = torch.from_numpy(known.images[0] / 16).float().expand(3, -1, -1)
    found = salience.explain(salience.load(fitted, size=8, scale=16), image, "occlusion", window=1, stride=1, fill="black")
    assert found.target.name == "0"
    assert float(found.saliency[image[0] == 0].abs().max()) == 0
    assert float(found.saliency.max()) > 0


def test_an_estimator_may_come_from_a_file(digits: tuple[Any, Any], tmp_path: Path) -> None:
    """Stored by joblib, named in a spec, or found by `py:`."""
    import joblib

    joblib.dump(digits[0], tmp_path / "digits.joblib")
    box = specs.open_box(f"estimator:{tmp_path / 'digits.joblib'}?size=8&scale=16")
    (tmp_path / "mine_of_digits.py").write_text(
        f"import joblib\nfitted = joblib.load({str(tmp_path / 'digits.joblib')!r})\n"
    )
    other = specs.open_box(f"py:{tmp_path / 'mine_of_digits.py'}:fitted?size=8&scale=16")
    images = noise(3, 3, 8, 8, dtype=torch.float32)
    assert torch.equal(box(images), other(images))
    with pytest.raises(BoxError, match="expected an estimator in none.joblib, got .*: store it with joblib.dump"):
        specs.open_box("estimator:none.joblib?size=8")


def test_the_fingerprint_is_the_estimators(digits: tuple[Any, Any]) -> None:
    """Another one, or another scale, is another box."""
    from sklearn.linear_model import LogisticRegression

    other = LogisticRegression(max_iter=5, solver="saga", C=0.01)
    with pytest.warns(match="max_iter"):
        other.fit(digits[1].data, digits[1].target)
    boxes = [salience.load(digits[0], size=8), salience.load(other, size=8), salience.load(digits[0], size=8, scale=16)]
    assert len({each.fingerprint for each in boxes}) == 3
    assert boxes[0].fingerprint == salience.load(digits[0], size=8).fingerprint


def test_estimators_that_are_no_boxes_are_refused(digits: tuple[Any, Any]) -> None:
    """With what to do."""
    from sklearn.linear_model import LinearRegression, LogisticRegression

    for estimator, options, error, text in (
        (
            LogisticRegression(),
            {"size": 8},
            BoxError,
            "expected an estimator that was fitted, got LogisticRegression as new",
        ),
        (digits[0], {"size": 9}, BoxError, "expected an estimator fitted on 9×9 pixels, grey or in colour, got one of 64"),
        (digits[0], {}, BoxError, "expected the size of the images"),
        (digits[0], {"size": 8, "scale": "x"}, SettingError, "expected a number above 0 for scale"),
        (digits[0], {"size": 8, "backend": "auto"}, UnknownName, "expected the name of an option of the box, got 'backend'"),
    ):
        with pytest.raises(error, match=text):
            salience.load(estimator, **options)
    from salience.boxes.estimator import wrap

    with pytest.raises(BoxError, match="expected an estimator with predict_proba .*, got LinearRegression: give it"):
        wrap(LinearRegression(), size=8)
