"""A box over a data set: which pictures, what each is explained for, and in which backend; decided once, then kept.

The choice is written beside the rows, so that every cell, worker and later run has the same pictures.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image as pil

from salience import limits, specs
from salience.bench.grid import Cell, Entry, Grid, make_slug
from salience.case import Data, Sample
from salience.engine import target as targets
from salience.engine.query.ask import choose_backend, score_batch
from salience.errors import GridError, SalienceError
from salience.explanation import rename_old_keys
from salience.files import write_whole
from salience.picture import Preparation, read
from salience.tasks.truth import shuffle
from salience.types import BackendBox, BlackBox, Image

MOST = 8  # scenes that a worker keeps open: it comes back to the same few
_cache: dict[str, Selection] = {}


@dataclass(frozen=True)
class SelectedPicture:
    """A picture of the data set and what is explained of it.

    >>> SelectedPicture(number=3, id="0003", target=0, right=True).id
    '0003'
    """

    number: int  # in the data set
    id: str
    target: Any  # as targets are written: an index, or a pair
    right: bool | None  # whether the box says a right answer; None where the data know none


@dataclass(frozen=True)
class Selection:
    """What all cells of a box and a data set share.

    >>> box, data = specs.open_box("toy:colour"), specs.open_data("shapes:plain", count=2, size=32)
    >>> picture = SelectedPicture(number=1, id="0001", target=0, right=True)
    >>> Selection(box, data, (picture,)).sample(picture).labels
    ('green',)
    """

    box: BlackBox
    data: Data
    chosen: tuple[SelectedPicture, ...]

    def sample(self, one: SelectedPicture) -> Sample:
        """Open a picture."""
        return self.data[one.number]


def open_selection(grid: Grid, cell: Cell, out: Path) -> Selection:
    """Open the scene of a cell, as it was decided on; decide if nobody has.

    >>> import tempfile
    >>> from salience.bench.grid import parse_grid
    >>> data = {"shapes": {"spec": "shapes:plain", "count": 2, "size": 32}}
    >>> grid = parse_grid({"methods": {"rise": {}}, "boxes": {"toy": "toy:colour"}, "data": data})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     len(open_selection(grid, grid.cells[0], Path(folder)).chosen)
    2
    """
    key = repr((cell.box, cell.data, out))
    if key not in _cache:
        if len(_cache) >= MOST:
            _cache.pop(next(iter(_cache)))
        _cache[key] = _open(grid, cell.box, cell.data, out)
    return _cache[key]


def _open(grid: Grid, box: Entry, data: Entry, out: Path) -> Selection:
    black_box = specs.open_box(box.name, **box.given)
    opened = specs.open_data(data.name, **{k: v for k, v in data.given.items() if k not in ("pictures", "draw", "boxes")})
    file = find_file(out, box, data)
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        choice = _decide(grid, black_box, opened, data, out / "pictures" / file.stem)
        write_whole(file, json.dumps(choice, indent=1).encode())
    choice = rename_old_keys(json.loads(limits.read_text(file, limits.TEXT)))
    if choice["about"] != _describe(grid, black_box, data):
        raise GridError(
            f"expected the pictures of this grid in {file}, got those of another (box, data or target differ): "
            "choose another --out"
        )
    if isinstance(black_box, BackendBox):
        black_box.backend, black_box.backend_chosen = choice["backend"], True
    return Selection(
        black_box,
        opened,
        tuple(SelectedPicture(**{**each, "target": _read_target(each["target"])}) for each in choice["chosen"]),
    )


def find_file(out: Path, box: Entry, data: Entry) -> Path:
    """Say where the selection of a box and a data set is written; runs of earlier versions have it in `scenes`.

    >>> find_file(Path("run"), Entry("toy", "toy:colour", {}), Entry("shapes", "shapes:plain", {})).as_posix()
    'run/selections/toy--shapes.json'
    """
    name = f"{make_slug(box.label)}--{make_slug(data.label)}.json"
    earlier = out / "scenes" / name
    return earlier if earlier.exists() else out / "selections" / name


def _describe(grid: Grid, box: BlackBox, data: Entry) -> dict[str, Any]:
    return {"box": box.fingerprint, "data": [data.name, dict(data.given)], "target": grid.target, "right": grid.right}


def _read_target(written: Any) -> Any:
    return tuple(written) if isinstance(written, list) else written


def _decide(grid: Grid, box: BlackBox, data: Data, entry: Entry, pictures: Path) -> dict[str, Any]:
    """Look at pictures in the order drawn until there are enough."""
    wanted = entry.given.get("pictures")
    numbers = shuffle(len(data), entry.given.get("draw"))
    chosen: list[dict[str, Any]] = []
    for number, image, sample, row in _score(grid, box, data, numbers):
        answers = targets.match_labels(sample, box.classes)
        right = int(row.argmax()) in answers if answers else None
        if grid.right and not right:
            continue
        if grid.target == "label" and not answers:
            continue
        aim = answers[0] if grid.target == "label" else targets.resolve(grid.target, row.tolist(), box.classes)
        chosen.append({"number": number, "id": sample.id, "target": aim, "right": right})
        pictures.mkdir(parents=True, exist_ok=True)
        write_whole(pictures / f"{make_slug(sample.id)}.jpg", _encode_jpeg(image))
        if len(chosen) == wanted:
            break
    if not chosen:
        raise GridError(
            f"expected pictures in {entry.label} for {box.name}, got none of {len(data)} "
            f"(right answers only: {grid.right}; target: {grid.target}): do the labels name classes of the box?"
        )
    return {"about": _describe(grid, box, entry), "backend": box.backend, "chosen": chosen}


def _score(grid: Grid, box: BlackBox, data: Data, order: list[int]) -> Iterator[tuple[int, Image, Sample, torch.Tensor]]:
    """Prepare and score pictures batch by batch; one that cannot be read ends the run: it would be missing everywhere."""
    prepare: Preparation = box.preparation or Preparation(box.size)
    for begin in range(0, len(order), grid.batch):
        numbers = order[begin : begin + grid.batch]
        part = [data[number] for number in numbers]
        try:
            images = torch.stack([prepare(read(sample.picture))[0] for sample in part])
        except SalienceError as problem:
            raise GridError(f"expected pictures that can be read in {data.name}, got: {problem}") from problem
        if begin == 0:
            choose_backend(box, images[0])
        rows = score_batch(box, images.to(box.device)).float().cpu()
        yield from zip(numbers, images, part, rows, strict=True)


def _encode_jpeg(image: Image) -> bytes:
    pixels = (image.permute(1, 2, 0) * 255).round().clamp(0, 255).byte().numpy()
    file = io.BytesIO()
    pil.fromarray(pixels).save(file, "JPEG", quality=85)
    return file.getvalue()
