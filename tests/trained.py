"""An explainer whose weights are set by hand, and a network whose features can be seen."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from pathlib import Path

import torch

from salience import specs
from salience.boxes import toy
from salience.engine.training.explainer import About, Explainer
from salience.engine.training.features import FeatureSource
from salience.engine.training.network import Attention

AUX = "toy:colour"


def colours(classes: tuple[int, ...] = (0, 1, 2), fingerprint: str | None = None) -> Explainer:
    """Weigh the features of the toy box, how red, green and blue a place is, as it weighs colours itself."""
    box = toy.load("colour")
    source = FeatureSource.of(specs.open_box(AUX))  # type: ignore[arg-type]  # a torch box
    network = Attention((3,), len(classes)).eval()
    with torch.no_grad():
        for each in network.parameters():
            each.zero_()
        network.fuser.weight.copy_((1.5 * torch.eye(3) - 0.5)[list(classes), :, None, None])
    about = About(
        box={"name": box.name, "fingerprint": fingerprint or box.fingerprint},
        classes=classes,
        names=tuple(box.classes[each] for each in classes),
        source=source.describe_source(AUX) | {"channels": [3]},
    )
    return Explainer(network, about)


def file(classes: tuple[int, ...] = (0, 1, 2), fingerprint: str | None = None) -> str:
    """Write it to a file of its own."""
    folder = tempfile.mkdtemp(prefix="salience-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = Path(folder) / "explainer.safetensors"
    path.write_bytes(colours(classes, fingerprint).content())
    return str(path)
