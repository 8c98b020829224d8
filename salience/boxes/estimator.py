"""`estimator:FILE.joblib`: a classifier of scikit-learn (or like it) that has `predict_proba`, on pixels laid in a row."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from salience import limits
from salience.boxes._names import read_class_names
from salience.boxes._options import read_options, split_options
from salience.boxes._recognise import comes_from
from salience.boxes.function import FunctionBox
from salience.errors import BoxError
from salience.picture import Preparation

MOST = 64  # features a pixel


class EstimatorBox(FunctionBox):
    """An estimator as a black box.

    Its features are the pixels of an image in rows, channels last, times `scale`; one grey value a pixel where that is
    what it was fitted on. One without `predict_proba` answers with the distances from its borders, used as they are.
    """

    def __init__(
        self, estimator: Any, preparation: Preparation, classes: Sequence[str], *, scale: float = 1.0, name: str = ""
    ) -> None:
        self.estimator, self.scale = estimator, scale
        self.features = _count_features(estimator, preparation.size)
        super().__init__(
            self.predict,
            preparation,
            classes,
            name=name or type(estimator).__name__,
            channels=self.features,
            mean=(0.5,) * (3 if self.features == 1 else self.features),
        )

    def predict(self, images: Any) -> Any:
        """Return the probabilities, or the distances from the borders, of images (n h w c)."""
        pixels = images.mean(3) if self.features == 1 else images
        rows = pixels.reshape(len(images), -1) * np.float32(self.scale)
        if hasattr(self.estimator, "predict_proba"):
            return self.estimator.predict_proba(rows)
        distances = self.estimator.decision_function(rows)
        return np.stack([-distances, distances], 1) if distances.ndim == 1 else distances

    @property
    def fingerprint(self) -> str:
        """A hash of the estimator as it would be stored, of the classes and of the pixels."""
        seen = repr((self.scale, self.classes, self.preparation)).encode()
        return hashlib.sha256(pickle.dumps(self.estimator) + seen).hexdigest()[:16]


def _count_features(estimator: Any, size: tuple[int, int]) -> int:
    """Return how many features a pixel has; BoxError where they do not come out even."""
    height, width = size
    fitted = getattr(estimator, "n_features_in_", None)
    if fitted is None:
        return 3
    each, rest = divmod(int(fitted), height * width)
    if rest or not 0 < each <= MOST:
        raise BoxError(
            f"expected an estimator fitted on {height}×{width} pixels, grey or in colour, "
            f"got one of {fitted} features: give the size that it was fitted on"
        )
    return each


def recognises(thing: Any, _options: Mapping[str, Any]) -> bool:
    """Say whether its class predicts; scikit-learn's may refuse to give probabilities, which `wrap` says."""
    return any(hasattr(type(thing), each) for each in ("predict_proba", "decision_function")) or (
        comes_from(thing, "sklearn") and hasattr(type(thing), "predict")
    )


def wrap(estimator: Any, *, classes: Any = None, name: str = "", **options: Any) -> EstimatorBox:
    """Make a box of an estimator. `size` is that of the images that it was fitted on, `scale` their white (255, say)."""
    if not hasattr(estimator, "predict_proba") and not hasattr(estimator, "decision_function"):
        raise BoxError(
            f"expected an estimator with predict_proba or decision_function, got {type(estimator).__name__}: "
            "give it probabilities, as CalibratedClassifierCV does"
        )
    known: Any = getattr(estimator, "classes_", None) if classes is None else read_class_names(classes)
    if known is None:
        how = "" if hasattr(estimator, "predict_proba") else ", within CalibratedClassifierCV for probabilities"
        raise BoxError(f"expected an estimator that was fitted, got {type(estimator).__name__} as new: call fit first{how}")
    ready, rest = split_options(None, options)
    return EstimatorBox(estimator, ready, [str(each) for each in known], name=name, **read_options(rest, ("scale",)))


def load(name: str, **options: Any) -> EstimatorBox:
    """Read a file of `joblib.dump`. Like any pickle it may run code as it is read: take only files that you trust."""
    try:
        import joblib
    except ImportError as problem:
        raise BoxError("expected the package scikit-learn for estimator: boxes, got none: install scikit-learn") from problem
    try:
        estimator = joblib.load(limits.expect_file(Path(name), limits.WEIGHTS))
    except Exception as problem:
        reason = " ".join(str(problem).split())[:200]
        raise BoxError(f"expected an estimator in {name}, got {reason}: store it with joblib.dump") from problem
    return wrap(estimator, name=name, **options)
