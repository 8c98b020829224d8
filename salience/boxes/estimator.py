"""`estimator:FILE.joblib`: a classifier of scikit-learn (or like it) that has `predict_proba`, on pixels laid in a row."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from salience.boxes._options import split_options
from salience.boxes.function import FunctionBox
from salience.errors import BoxError, SettingError
from salience.picture import Preparation


class EstimatorBox(FunctionBox):
    """An estimator as a black box.

    Its features are the pixels of an image in rows, colours last, times `scale`; one grey value a pixel where that is
    what it was fitted on.
    """

    def __init__(
        self, estimator: Any, preparation: Preparation, classes: Sequence[str], *, scale: float = 1.0, name: str = ""
    ) -> None:
        self.estimator, self.scale = estimator, scale
        height, width = preparation.size
        self.colours = 3
        fitted = getattr(estimator, "n_features_in_", None)
        if fitted is not None:
            self.colours = fitted // (height * width)
            if self.colours not in (1, 3) or fitted != self.colours * height * width:
                raise BoxError(
                    f"expected an estimator fitted on {height}×{width} pixels, grey or in colour, "
                    f"got one of {fitted} features: give the size that it was fitted on"
                )
        super().__init__(self.predict, preparation, classes, name=name or type(estimator).__name__)

    def predict(self, images: Any) -> Any:
        """Return the probabilities of images (n h w 3)."""
        pixels = images.mean(3) if self.colours == 1 else images
        return self.estimator.predict_proba(pixels.reshape(len(images), -1) * np.float32(self.scale))

    @property
    def fingerprint(self) -> str:
        """A hash of the estimator as it would be stored, of the classes and of the pixels."""
        seen = repr((self.scale, self.classes, self.preparation)).encode()
        return hashlib.sha256(pickle.dumps(self.estimator) + seen).hexdigest()[:16]


def recognises(thing: Any, _options: Mapping[str, Any]) -> bool:
    """Say whether its class has `predict_proba`; scikit-learn's may refuse to give it, which `wrap` says."""
    return hasattr(type(thing), "predict_proba")


def wrap(estimator: Any, *, classes: Sequence[str] | None = None, name: str = "", **options: Any) -> EstimatorBox:
    """Make a box of an estimator. `size` is that of the images that it was fitted on, `scale` their white (255, say)."""
    if not hasattr(estimator, "predict_proba"):
        raise BoxError(
            f"expected an estimator with predict_proba, got {type(estimator).__name__}: "
            "give it probabilities, as CalibratedClassifierCV does"
        )
    known: Any = getattr(estimator, "classes_", None) if classes is None else classes
    if known is None:
        raise BoxError(f"expected an estimator that was fitted, got {type(estimator).__name__} as new: call fit first")
    try:
        scale = float(options.pop("scale", 1.0))
    except ValueError:
        raise SettingError("expected a number for scale, as in scale=255") from None
    ready, rest = split_options(None, options)
    if rest:
        raise SettingError(f"expected size, resize, filter, scale or classes for an estimator, got {', '.join(rest)}")
    return EstimatorBox(estimator, ready, [str(each) for each in known], scale=scale, name=name)


def load(name: str, **options: Any) -> EstimatorBox:
    """Read a file of `joblib.dump`. Like any pickle it may run code as it is read: take only files that you trust."""
    try:
        import joblib
    except ImportError as problem:
        raise BoxError("expected the package scikit-learn for estimator: boxes, got none: install scikit-learn") from problem
    try:
        estimator = joblib.load(name)
    except Exception as problem:
        reason = " ".join(str(problem).split())[:200]
        raise BoxError(f"expected an estimator in {name}, got {reason}: store it with joblib.dump") from problem
    return wrap(estimator, name=name, **options)
