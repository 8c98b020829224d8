"""A trained explainer: a small network that turns features into a map a class, and the file that it lives in.

The file is safetensors: the network's weights, and under the key `explainer` a JSON header that says for which box it
was fitted, which classes it knows and where its features come from. The weights of the box and of the network that gives
the features are not in it; their fingerprints are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from salience import schema
from salience.engine.folders import find_data_folders
from salience.engine.training.features import OWN, FeatureSource, open_source
from salience.engine.training.network import Attention, Maps, make_network
from salience.errors import BoxError, RecordError, TargetError
from salience.tensor_file import read_tensors, write_tensors
from salience.types import BlackBox, GreyBox, Images, TrainableBox

FORMAT = 1


@dataclass(frozen=True)
class About:
    """What an explainer is for, in plain values: the header of its file.

    >>> About({"name": "toy:colour", "fingerprint": "4e6e"}, (0,), ("red",), {"spec": "box"}).classes
    (0,)
    """

    box: Mapping[str, Any]  # name and fingerprint
    classes: tuple[int, ...]  # the box's classes that it knows, a row of the fuser each
    names: tuple[str, ...]  # what they are called
    source: Mapping[str, Any]  # spec and fingerprint of the network that gives the features; its layers, their channels
    bias: bool = False
    trained: Mapping[str, Any] = field(default_factory=dict)  # settings, steps, passes, seconds, last figures
    format: int = FORMAT


@dataclass(frozen=True)
class Explainer:
    """The network and what it is for.

    >>> about = About({"name": "toy:colour", "fingerprint": "4e6e"}, (2, 0), ("blue", "red"), {"spec": "box"})
    >>> Explainer(make_network((3,), 2), about).rows([0])
    tensor([1])
    """

    network: Attention
    about: About

    def expect(self, box: BlackBox, classes: Iterable[int], *, any_box: bool) -> None:
        """Refuse a box that it was not fitted for, unless `any_box`, and classes that it does not know."""
        if box.fingerprint != self.about.box["fingerprint"] and not any_box:
            raise BoxError(
                f"expected the box that the explainer was fitted for, {self.about.box['name']}, got {box.name} with other "
                "weights or preprocessing: fit one with `salience fit p-tame`, or set any_box=true"
            )
        if max(self.about.classes) >= len(box.classes):
            raise TargetError(
                f"expected an explainer of the {len(box.classes)} classes of {box.name}, got one of class "
                f"{max(self.about.classes)}: fit another"
            )
        for each in set(classes) - set(self.about.classes):
            some = ", ".join(name.partition(",")[0] for name in self.about.names[:3])
            some += ", …" if len(self.about.names) > 3 else ""
            raise TargetError(
                f"expected a class that the explainer was fitted for ({some}), got {box.classes[each]}: "
                "fit it on pictures of that class too"
            )

    def source(self, box: BlackBox, make: Callable[[str], BlackBox], aux: str | None = None) -> FeatureSource:
        """Open the network that gives the features, the same as at the fit, on the box's device; `aux` is its spec."""
        source = self.about.source
        found = box if source["spec"] == OWN else open_source(aux or source["spec"], make)
        if not isinstance(found, GreyBox):
            raise BoxError(f"expected a box whose layers can be read for this explainer, got {found.name}")
        if source["spec"] != OWN:
            if found.fingerprint != source["fingerprint"]:
                raise BoxError(
                    f"expected the features' network {source['spec']} as it was at the fit, got other weights: fit again"
                )
            if isinstance(found, TrainableBox) and found.device != box.device:
                found.module.to(box.device)
        return FeatureSource(found, tuple(source["layers"]))

    def rows(self, classes: Iterable[int]) -> Int[Tensor, " k"]:
        """Find the rows of classes."""
        return torch.tensor([self.about.classes.index(each) for each in classes])

    def raw(self, source: FeatureSource, images: Images, classes: Sequence[int]) -> Maps:
        """Return the raw maps of classes: one pass of the source an image."""
        rows, features = self.rows(classes).to(images.device), source(images)
        channels = tuple(each.shape[1] for each in features)
        if channels != self.network.channels:
            raise BoxError(
                f"expected features of {', '.join(map(str, self.network.channels))} channels for the explainer, got "
                f"{', '.join(map(str, channels))} from {source.box.name}: fit another"
            )
        with torch.inference_mode(False), torch.no_grad():
            found: Maps = self.network.to(images.device)(features, rows)
        return found

    def content(self) -> bytes:
        """Write it as the bytes of its file."""
        return write_tensors(self.network.state_dict(), "explainer", asdict(self.about))


def stretch(maps: Float[Tensor, "n y x"]) -> Float[Tensor, "n y x"]:
    """Bring each map to 0…1 by its own least and greatest; a constant one to 0.

    >>> stretch(torch.tensor([[[1.0, 3.0], [5.0, 3.0]]]))
    tensor([[[0.0000, 0.5000],
             [1.0000, 0.5000]]])
    """
    low, high = maps.flatten(1).aminmax(dim=1)
    return (maps - low[:, None, None]) / (high - low).clamp(min=1e-8)[:, None, None]


def load(path: str | Path) -> Explainer:
    """Read an explainer; RecordError for anything else. The same file is read once.

    >>> load("nowhere.safetensors")
    Traceback (most recent call last):
        ...
    salience.errors.RecordError: expected an explainer at nowhere.safetensors, got nothing there: ...
    """
    path = Path(path)
    if not path.is_file():
        raise RecordError(f"expected an explainer at {path}, got nothing there: make one with `salience fit p-tame`")
    return _read(str(path), path.stat().st_mtime_ns)


@lru_cache(maxsize=8)
def _read(path: str, _written: int) -> Explainer:
    try:
        header, weights = read_tensors(path, "explainer")
        said = schema.read_as(schema.Explainer, header)
        channels = said.source["channels"]
        wanted = sum(each**2 for each in channels) + sum(channels) * len(said.classes)
        if wanted > sum(each.numel() for each in weights.values()) or not all(map(_is_finite, weights.values())):
            raise ValueError("other weights than it says")  # noqa: TRY301  # one sentence for all that can be wrong
        about = About(header["box"], tuple(said.classes), tuple(said.names), header["source"], said.bias, said.trained)
        network = make_network(channels, len(about.classes), bias=about.bias)
        network.load_state_dict(weights, strict=True)
    except Exception as problem:
        raise RecordError(f"expected an explainer in {path}, got something else ({problem}): was it cut short?") from problem
    if said.format != FORMAT:
        raise RecordError(f"expected an explainer of format {FORMAT} in {path}, got {said.format}: update salience")
    return Explainer(network.eval(), about)


def _is_finite(weights: Tensor) -> bool:
    return not weights.is_complex() and bool(torch.isfinite(weights.float()).all())


def find_path(fingerprint: str, folder: str | Path | None = None) -> Path:
    """Say where the explainer of a box is kept: in a folder, or in the user's data folder, where a new one goes too.

    >>> find_path("4e6ea4700a089b8b", "kept").name
    '4e6ea4700a089b8b.safetensors'
    """
    folders = [Path(folder)] if folder else [data / "explainers" / "p-tame" for data in find_data_folders()]
    paths = [each / f"{fingerprint}.safetensors" for each in folders]
    return next((path for path in paths if path.is_file()), paths[0])
