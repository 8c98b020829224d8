"""A classifier and its explainer as one ONNX file: pictures in, scores and maps out, with nothing of this library."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from salience import specs
from salience.boxes.torch import TorchBox
from salience.engine import seeding
from salience.engine.inside import cams
from salience.engine.inside.hooks import expect_maps, record_activations
from salience.engine.training.explainer import Explainer, stretch
from salience.engine.training.features import FeatureSource
from salience.errors import BoxError
from salience.files import write_whole
from salience.runtime import heads
from salience.runtime.outputs import read_output

INPUTS, OUTPUTS = ("images", "target"), ("scores", "explained", "map")


class NormalisedClassifier(nn.Module):
    """A box's network with its normalisation: pixels in 0…1 in, and what its layers put out besides.

    >>> from salience.boxes import toy
    >>> logits, features = NormalisedClassifier(toy.load("colour"))(torch.rand(2, 3, 32, 32))
    >>> logits.shape, features
    (torch.Size([2, 3]), [])
    """

    def __init__(self, box: TorchBox, layers: Sequence[str] = ()) -> None:
        super().__init__()
        self.inner, self.layers, self.size, self.channels = box.module, tuple(layers), box.size, box.channels
        self.output = box.output
        mean, std = (torch.tensor(each)[:, None, None] for each in (box.preparation.mean, box.preparation.std))
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)

    def forward(self, images: Float[Tensor, "n c h w"]) -> tuple[Tensor, list[Tensor]]:
        """Return logits and feature maps."""
        ready = (images - self.mean) / self.std  # type: ignore[operator]  # buffers are tensors
        ready = ready.mean(1, keepdim=True) if self.channels == 1 else ready
        with record_activations(self.inner, self.layers) as seen:
            logits = read_output(self.inner(ready), self.output)
        return logits, [expect_maps(layer, seen.get(layer), self.size) for layer in self.layers]


class ClassifierAndExplainer(nn.Module):
    """The classifier, the features and the explainer: scores, the class that is explained, and its map.

    `target` is a class a picture; -1 asks for the likeliest that the explainer knows.

    >>> from salience.boxes import toy
    >>> from salience.engine.training.explainer import About
    >>> from salience.engine.training.network import make_network
    >>> about = About({}, (0, 1, 2), ("red", "green", "blue"), {"layers": ["detect"]})
    >>> whole = ClassifierAndExplainer(toy.load("colour"), None, Explainer(make_network((3,), 3), about)).eval()
    >>> scores, classes, maps = whole(torch.rand(2, 3, 32, 32), torch.tensor([-1, 2]))
    >>> scores.shape, classes[1], maps.shape
    (torch.Size([2, 3]), tensor(2), torch.Size([2, 32, 32]))
    """

    def __init__(self, box: TorchBox, aux: TorchBox | None, made: Explainer) -> None:
        super().__init__()
        layers = made.about.source["layers"]
        self.box = NormalisedClassifier(box, () if aux else layers)
        self.aux = None if aux is None else NormalisedClassifier(aux, layers)
        self.network, self.head, self.count = made.network, box.head, len(box.classes)
        self.register_buffer("classes", torch.tensor(made.about.classes))

    def forward(
        self, images: Float[Tensor, "n c h w"], target: Int[Tensor, " n"]
    ) -> tuple[Float[Tensor, "n k"], Int[Tensor, " n"], Float[Tensor, "n h w"]]:
        """Answer and explain."""
        logits, features = self.box(images)
        scores = heads.apply_head(heads.widen(logits, self.head), self.head, "probability")
        if self.aux is not None:
            shown = functional.interpolate(images, size=self.aux.size, mode="bilinear", align_corners=False)
            features = self.aux(images if tuple(images.shape[-2:]) == self.aux.size else shown)[1]
        classes: Any = self.classes
        rows = (target[:, None] == classes).long()
        row = torch.where(target < 0, scores[:, classes].argmax(1), rows.argmax(1))
        maps = self.network(features, torch.arange(len(classes)))
        raw = maps.gather(1, row[:, None, None, None].expand(-1, 1, *maps.shape[-2:]))[:, 0]
        size = (images.shape[-2], images.shape[-1])
        return scores, classes[row], functional.interpolate(stretch(raw)[:, None], size=size, mode="bilinear")[:, 0]


def open_features(box: Any, made: Explainer, aux: str | None) -> FeatureSource:
    """Open the features' network that an explainer's file names, if it runs no code, or the one of the spec `aux`.

    >>> from salience.boxes import toy
    >>> from salience.engine.training.explainer import About
    >>> from salience.engine.training.network import make_network
    >>> about = About({"name": "toy:colour"}, (0,), ("red",), {"spec": "box", "layers": ["act"]})
    >>> open_features(toy.load("colour"), Explainer(make_network((3,), 1), about), None).layers
    ('act',)
    """

    def open_named(spec: str) -> Any:
        return specs.open_named_box(spec, "the explainer's file", f"name it as aux={spec}")

    return made.source(box, specs.open_box if aux else open_named, aux)


def export_onnx(box: Any, made: Explainer, path: str | Path, *, aux: str | None = None) -> Path:
    """Write the file; the batch may have any size. BoxError for a box that is no torch network.

    >>> from salience.engine.training.explainer import About
    >>> from salience.engine.training.network import make_network
    >>> about = About({"name": "another", "fingerprint": "4e6e"}, (0,), ("red",), {"spec": "box"})
    >>> export_onnx("toy:colour", Explainer(make_network((3,), 1), about), "both.onnx")
    Traceback (most recent call last):
        ...
    salience.errors.BoxError: expected the box that the explainer was fitted for, another, got toy:colour with other ...
    """
    box = specs.open_box(box)
    made.expect(box, (), any_box=False)
    source: Any = open_features(box, made, aux).box
    for each in (box, source):
        if not isinstance(each, TorchBox):
            raise BoxError(f"expected a torch network to export, got {getattr(each, 'name', each)}: export works on torch")
    beside = None if source.fingerprint == box.fingerprint else source  # one network needs to be there once
    whole = ClassifierAndExplainer(box, beside, made).cpu().eval()
    example = (torch.rand(2, len(box.mean), *box.size), torch.tensor([-1, -1]))
    many = torch.export.Dim("n", min=1)
    with warnings.catch_warnings(), torch.no_grad(), _calm_exporter():
        warnings.simplefilter("ignore")  # the exporter's own deprecations
        program = torch.onnx.export(
            whole,
            example,
            dynamo=True,
            input_names=list(INPUTS),
            output_names=list(OUTPUTS),
            dynamic_shapes=({0: many}, {0: many}),
            verbose=False,
        )
    assert program is not None  # noqa: S101  # it is None for the older exporter only
    return write_whole(path, program.model_proto.SerializeToString())


@contextmanager
def _calm_exporter() -> Iterator[None]:
    """Let the exporter's parts log errors alone: what it could not fold is not the user's affair."""
    loggers = [logging.getLogger(name) for name in ("onnxscript", "onnx_ir")]
    before = [each.level for each in loggers]
    try:
        for each in loggers:
            each.setLevel(logging.ERROR)
        yield
    finally:
        for each, level in zip(loggers, before, strict=True):
            each.setLevel(level)


def compare(box: Any, made: Explainer, path: str | Path, *, aux: str | None = None) -> dict[str, float]:
    """Run the file in ONNX Runtime beside torch on pictures of noise; return how far scores and maps are apart at most.

    >>> import tempfile
    >>> from salience.boxes import toy
    >>> from salience.engine.training.explainer import About
    >>> from salience.engine.training.network import make_network
    >>> box, source = toy.load("colour"), {"spec": "box", "layers": ["detect"], "channels": [3]}
    >>> about = About({"name": box.name, "fingerprint": box.fingerprint}, (0, 1, 2), box.classes, source)
    >>> made = Explainer(make_network((3,), 3).eval(), about)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     gaps = compare(box, made, export_onnx(box, made, f"{folder}/both.onnx"))
    >>> max(gaps.values()) < 1e-4
    True
    """
    import onnxruntime

    box = specs.open_box(box)
    images = torch.rand(3, len(box.mean), *box.size, generator=seeding.generator(0, "export"))
    with torch.no_grad():
        scores = box(images)
        known = list(made.about.classes)
        likeliest = [known[at] for at in scores[:, known].argmax(1).tolist()]
        raw = made.raw(open_features(box, made, aux), images, known)
        rows = raw[torch.arange(len(images)), made.rows(likeliest)]
        maps = cams.enlarge(stretch(rows), images)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    answers = session.run(list(OUTPUTS), {"images": images.numpy(), "target": torch.full((3,), -1).numpy()})
    found = [torch.from_numpy(each) for each in answers]
    if found[1].tolist() != likeliest:
        raise BoxError(f"expected ONNX Runtime to explain the classes {likeliest}, got {found[1].tolist()}: report it")
    return {"scores": float((found[0] - scores).abs().max()), "map": float((found[2] - maps).abs().max())}
