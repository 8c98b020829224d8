"""The record of one explanation: the map, what it is of, how it was made, and what it cost. One file holds it all.

The file is safetensors: the arrays, and a JSON header under the key `salience`. It loads again, bit for bit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from salience.bands import BandShares
from salience.errors import RecordError, show
from salience.files import write_whole
from salience.picture import Geometry, Picture, read
from salience.schema import Score, read_record
from salience.tensor_file import read_tensors, write_large
from salience.types import Map

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMAT = 1
OLD_KEYS = {"lane": "backend"}  # files that say so stay readable


@dataclass(frozen=True)
class ClassScore:
    """The target in words: its index (None for a contrast or a function), its name, its score on the clean image.

    >>> ClassScore(207, "golden retriever", 0.91).name
    'golden retriever'
    """

    index: int | None
    name: str
    probability: float


@dataclass(frozen=True)
class Explanation:
    """Why a box answered as it did for one image.

    >>> from salience import explain
    >>> red = torch.eye(32) * torch.tensor([1.0, 0.0, 0.0])[:, None, None]
    >>> why = explain("toy:colour", red, "occlusion", window=16, stride=16)
    >>> why
    <occlusion of 'red' (...) in tensor: 5 passes, ... s>
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     again = Explanation.load(why.save(f"{folder}/red.salience"))
    >>> torch.equal(again.saliency, why.saliency)
    True
    """

    saliency: Map  # raw, at the box's input size; higher is more important
    error: Map | None  # standard error of each pixel, where the method has one
    target: ClassScore
    top5: tuple[ClassScore, ...]  # the five likeliest classes of the clean image
    method: str
    settings: Mapping[str, Any]
    box: Mapping[str, Any]  # name, fingerprint, backend, the backend's check, preprocessing, device
    geometry: Geometry
    image: str  # the name of the picture
    source: Picture | bytes = field(repr=False)  # the picture itself, or the bytes of its file
    passes: int
    seconds: float
    stability: float | None  # rank agreement of the maps of either half of the passes
    budget: str
    seed: int | None
    notes: tuple[str, ...] = ()  # what a reader of the map must know
    evidence: Mapping[str, Any] = field(default_factory=dict, repr=False)
    versions: Mapping[str, str] = field(default_factory=dict, repr=False)
    values: tuple[float, float] | None = None  # the least and the largest value of the image, without its border
    bands: BandShares | None = None  # what each band is worth, for a box that does not look at photographs

    @cached_property
    def picture(self) -> Picture:
        """The photograph; RecordError where the record was saved without it."""
        if not self.has_photograph:
            raise RecordError(
                f"expected the photograph of {self.image}, got a record that was saved without it: give it, as in "
                'why.with_photograph("dog.jpg")'
            )
        return read(self.source, self.image)

    @property
    def has_photograph(self) -> bool:
        """Whether the photograph is here; it is not in a record that was saved without it."""
        return self.source != b""

    def without_photograph(self) -> Explanation:
        """Leave out the photograph, and the folder of its file: what is left shows the map alone."""
        return replace(self, source=b"", image=Path(self.image).name)

    def with_photograph(self, source: Any) -> Explanation:
        """Put in the photograph that was left out: whatever `picture.read` takes; RecordError for one of another size."""
        given = read(source)
        if (size := given.size) != self.geometry.photograph:
            height, width = self.geometry.photograph
            raise RecordError(
                f"expected the photograph of {self.image}, {height}×{width}, got {size[0]}×{size[1]}: give that"
            )
        return replace(self, source=given)

    @property
    def encoded(self) -> bytes:
        """The photograph as bytes: those of its file, else what keeps its values; made when they are asked for."""
        return self.source if isinstance(self.source, bytes) else self.source.encoded

    @property
    def called(self) -> str:
        """The method, and its variant where it has several."""
        return " ".join([self.method, *([str(self.settings["variant"])] if "variant" in self.settings else [])])

    def write_score(self, score: float) -> str:
        """Write a score: as a percentage, unless the scores are numbers, or some of them lie outside 0…1."""
        share = not self.box.get("numbers") and all(-1e-6 <= each.probability <= 1 + 1e-6 for each in self.top5)
        return f"{score:.1%}" if share else f"{score:.4g}"

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers that the map was made from; none for a method that looks at scores alone."""
        return tuple(self.evidence.get("layers") or [each["layer"] for each in self.evidence.get("blocks", ())])

    @property
    def at_photograph(self) -> Float[Tensor, "y x"]:
        """The map at the photograph's size; NaN outside what the box saw."""
        return self.geometry.restore(self.saliency)

    def plot(self, **style: Any) -> Figure:
        """Draw the map over the photograph; see `salience.draw.overlay.figure` for `style`."""
        from salience.draw import overlay

        return overlay.figure(self, **style)

    def save(self, path: str | Path) -> Path:
        """Write the record to one file, whole or not at all."""
        arrays = {"saliency": self.saliency}
        if self.error is not None:
            arrays["error"] = self.error
        plain = {key: value for key, value in self.evidence.items() if not isinstance(value, torch.Tensor)}
        arrays |= {f"evidence/{key}": value for key, value in self.evidence.items() if key not in plain}
        header = self.summary() | {"format": FORMAT, "geometry": asdict(self.geometry), "evidence": plain}
        header |= {"versions": dict(self.versions), "budget": self.budget}
        return write_whole(
            path, lambda file: write_large(file, arrays, "salience", header, ("picture", self._write_picture))
        )

    def _write_picture(self, file: Any) -> None:
        """Write the bytes of the photograph piece by piece: there may be no room for them beside the photograph."""
        file.write(self.source) if isinstance(self.source, bytes) else self.source.write(file)

    @classmethod
    def load(cls, path: str | Path) -> Explanation:
        """Read a record; RecordError for anything that cannot be one."""
        try:
            header, arrays = read_tensors(path, "salience")
            written_format = header.get("format", FORMAT)
            found = cls._of(header, arrays) if written_format == FORMAT else None
        except FileNotFoundError:
            raise RecordError(f"expected an explanation at {path}, got nothing there: check the path") from None
        except Exception as problem:  # of the file, of safetensors, of the picture in it
            raise RecordError(
                f"expected an explanation in {path}, got something else ({problem}): was it cut short?"
            ) from problem
        if found is None:
            raise RecordError(
                f"expected an explanation of format {FORMAT} in {path}, got {show(written_format)}: update salience"
            )
        return found

    @classmethod
    def _of(cls, header: Mapping[str, Any], arrays: Mapping[str, Tensor]) -> Explanation:
        header = rename_old_keys(header)
        record = read_record(header, arrays)
        kept = {key.removeprefix("evidence/"): value for key, value in arrays.items() if key.startswith("evidence/")}
        found = cls(
            saliency=arrays["saliency"],
            error=arrays.get("error"),
            target=_to_score(record.target),
            top5=tuple(map(_to_score, record.top5)),
            method=record.method,
            settings=header["settings"],
            box=header["box"],
            geometry=Geometry(record.geometry.photograph, record.geometry.size, record.geometry.seen),
            image=record.image,
            source=bytes(arrays["picture"].numpy().tobytes()),
            passes=record.passes,
            seconds=record.seconds,
            stability=record.stability,
            budget=record.budget,
            seed=record.seed,
            notes=tuple(record.notes),
            evidence=kept | header["evidence"],
            versions=record.versions,
            values=record.prepared.get("values"),
            bands=BandShares.of(header.get("bands")),
        )
        if found.has_photograph:
            size = read(found.source, found.image).size  # not kept: many records are opened for their maps alone
            if size != found.geometry.photograph:
                raise ValueError(f"a photograph of {size[0]}×{size[1]} pixels")
        return found

    def summary(self) -> dict[str, Any]:
        """Return everything but the arrays as plain values: what `--json` prints."""
        return {
            "image": self.image,
            "box": dict(self.box),
            "method": self.method,
            "settings": dict(self.settings),
            "target": asdict(self.target),
            "top5": [asdict(each) for each in self.top5],
            "passes": self.passes,
            "seconds": self.seconds,
            "backend": self.box["backend"],
            "stability": self.stability,
            "seed": self.seed,
            "layers": list(self.layers),
            "prepared": {
                "share_seen": self.geometry.share_seen,
                "share_of_border": self.geometry.share_of_border,
                "values": self.values,
            },
            "bands": None if self.bands is None else self.bands.describe(),
            "notes": list(self.notes),
        }

    def _repr_png_(self) -> bytes:
        from salience.draw import overlay

        return overlay.png(overlay.picture(self))

    def __repr__(self) -> str:
        cost = f"{self.passes} pass{'es' * (self.passes != 1)}, {self.seconds:.1f} s"
        return f"<{self.called} of {self.target.name!r} ({self.target.probability:.3f}) in {self.image}: {cost}>"


def _to_score(score: Score) -> ClassScore:
    return ClassScore(score.index, score.name, score.probability)


def rename_old_keys(values: Mapping[str, Any]) -> dict[str, Any]:
    """Give the keys of what an earlier version wrote their present names, nested ones too.

    >>> rename_old_keys({"name": "toy:colour", "lane": "exact"})
    {'name': 'toy:colour', 'backend': 'exact'}
    """
    return {
        OLD_KEYS.get(key, key): rename_old_keys(value) if isinstance(value, Mapping) else value
        for key, value in values.items()
    }
