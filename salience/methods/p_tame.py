"""P-TAME. Ntrougkas, Mezaris and Patras, P-TAME: Explain Any Image Classifier with Trained Perturbations, OJSP 2025."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from jaxtyping import Float
from torch import Tensor
from typing_extensions import Doc

from salience import registry, specs
from salience.engine.inside import cams
from salience.engine.inside.loop import expect_targets
from salience.engine.target import pick
from salience.engine.training import explainer
from salience.errors import SettingError
from salience.estimates import BatchedMethod, Estimate
from salience.types import BlackBox, Images, Target

AT_ONCE = 32  # images whose features are held at a time


@dataclass(frozen=True)
class PTame(BatchedMethod):
    """Predict the map of a class by a small network that was trained once for this box: one pass, and none of the box.

    saliency = (Z_c − min Z_c) / (max Z_c − min Z_c),   Z = Σ_s W_s · ReLU(BN(conv F_s) + F_s), enlarged

    F_s are the features that the explainer was trained on, of another network's layers, and row c of W weighs them for
    class c. A contrast is the difference of two rows' maps, and a function of the scores is applied to Z at each place.
    `salience fit p-tame` trains an explainer (`fit` in Python) and keeps it for its box; the settings of the training
    are the trainer's. The box is not called: a change of its weights since then shows in no map.

    What is known: the paper's body could not be read; this is what the authors' public code computes. Departs from it:
    one direct enlargement instead of steps of two. Cost: one pass of the features' network, two with `mirror`.

    >>> from salience.boxes import toy
    >>> PTame("fits")(toy.load("colour"), toy.picture(), target=0)  # before `salience fit p-tame --out fits`
    Traceback (most recent call last):
    salience.errors.RecordError: expected an explainer at fits/..., got nothing there: make one with `salience fit ...`
    """

    explainer: Annotated[
        str | None, Doc("a file of `salience fit p-tame`, or a folder; none given: the one that was kept")
    ] = None
    values: Annotated[
        Literal["min-max", "sigmoid"], Doc("min-max as published, or sigmoid, the scale trained by gradients")
    ] = "min-max"
    mirror: Annotated[bool, Doc("take the mean with the map of the mirrored picture")] = False
    any_box: Annotated[bool, Doc("accept an explainer that was fitted for another box")] = False
    aux: Annotated[
        str | None, Doc("the features' network, as kind:name, where the explainer's file names one that runs code (py: …)")
    ] = None

    def __post_init__(self) -> None:
        if self.values not in ("min-max", "sigmoid"):
            raise SettingError(f"expected values min-max or sigmoid, got {self.values!r}")

    def many(self, box: BlackBox, images: Images, targets: Sequence[Target]) -> list[Estimate]:
        """Explain each image for its target; one image may have several targets, and they share its pass."""
        expect_targets(box, images, targets)
        path = self.explainer
        loaded = explainer.load(path if path and Path(path).is_file() else explainer.find_path(box.fingerprint, path))
        parts = [list_classes(target, len(box.classes)) for target in targets]
        classes = sorted({each for part in parts for each in part})
        loaded.expect(box, classes, any_box=self.any_box)
        if self.values == "sigmoid" and loaded.about.trained.get("trainer", {}).get("route") == "queries":
            raise SettingError("expected values min-max for an explainer fitted by queries, got sigmoid: it made no masks")
        source = loaded.source(box, specs.open_box if self.aux else self._open_named, self.aux)
        evidence = {"layers": source.layers, "explainer": dict(loaded.about.trained)}
        maps: list[Tensor] = []
        for begin in range(0, len(images), AT_ONCE):
            batch = images[begin : begin + AT_ONCE].to(box.device)
            raw = loaded.raw(source, batch, classes)
            if self.mirror:
                raw = (raw + loaded.raw(source, batch.flip(-1), classes).flip(-1)) / 2
            numbers = range(len(targets)) if len(images) == 1 else range(begin, begin + len(batch))
            for number in numbers:
                each = raw[0 if len(images) == 1 else number - begin]
                small = self.scale(pick_target(each, targets[number], parts[number], classes))
                maps.append(cams.enlarge(small[None], images)[0])
        return [Estimate(each, evidence=evidence) for each in maps]

    def _open_named(self, spec: str) -> BlackBox:
        return specs.open_named_box(spec, "the explainer's file", f"name it as aux={spec}")

    def scale(self, raw: Float[Tensor, "y x"]) -> Float[Tensor, "y x"]:
        """Scale a raw map to 0…1."""
        return raw.sigmoid() if self.values == "sigmoid" else explainer.stretch(raw[None])[0]

    def fit(
        self, box: Any, images: Any, *, out: str = "salience-fit", keep: bool = True, loop: Any = None, **settings: Any
    ) -> PTame:
        """Train an explainer with settings of the trainer p-tame, and return the method that uses it."""
        fitted = registry.make_trainer("p-tame", **settings).fit(box, images, out=out, keep=keep, loop=loop)
        aux = settings.get("aux")
        return replace(self, explainer=str(fitted.path), aux=aux if isinstance(aux, str) else None)


def list_classes(target: Target, count: int) -> tuple[int, ...]:
    """List the classes that a target is made of; of a function, all."""
    return tuple(range(count)) if callable(target) else target if isinstance(target, tuple) else (target,)


def pick_target(
    raw: Float[Tensor, "k y x"], target: Target, part: Sequence[int], classes: Sequence[int]
) -> Float[Tensor, "y x"]:
    """Pick a target from the raw maps at each place, as from a row of scores."""
    rows = raw[[classes.index(each) for each in part]].flatten(1).T
    local: Target = target if callable(target) else tuple(range(len(part))) if len(part) == 2 else 0  # type: ignore[assignment]  # a pair is two
    return pick(local, rows).reshape(raw.shape[1:])
