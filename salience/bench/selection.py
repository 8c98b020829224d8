"""A box over a data set: which pictures, what each is explained for, and in which backend; decided once, then kept.

The choice is written beside the rows, so that every cell, worker and later run has the same pictures.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import msgspec
import torch
from PIL import Image as pil

from salience import limits, specs
from salience.bench import places
from salience.bench.grid import Cell, Entry, Grid
from salience.bench.journal import count_pictures
from salience.case import Data, Sample
from salience.engine import target as targets
from salience.engine.query.ask import choose_backend, score_batch
from salience.errors import GridError, SalienceError, TargetError
from salience.explanation import rename_old_keys
from salience.files import write_whole
from salience.picture import Geometry, Preparation, read
from salience.tasks.truth import shuffle
from salience.types import BackendBox, BlackBox, Image, QuestionBox

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

    @cached_property
    def names(self) -> Mapping[str, str]:
        """Say what the files of each picture are called."""
        taken = set[str]()
        return {each.id: places.name_picture(each.id, taken) for each in self.chosen}


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
    file = places.find_selection(out, box.label, data.label)
    choice = read_choice(file)
    if choice is not None and choice.about != _describe(grid, black_box, data):
        raise GridError(
            f"expected the pictures of this grid in {file}, got those of another (box, data or target differ): "
            "choose another --out"
        )
    if choice is None or any(each.number >= len(opened) for each in choice.chosen):
        choice = _decide_anew(grid, black_box, opened, (box, data), out)
    if isinstance(black_box, BackendBox):
        black_box.backend, black_box.backend_chosen = choice.backend or black_box.backend, True
    return Selection(
        black_box,
        opened,
        tuple(SelectedPicture(each.number, each.id, each.target, each.right) for each in choice.chosen),
    )


class ChosenPicture(msgspec.Struct):
    """A picture of a choice, as it is written down.

    >>> ChosenPicture(0, "0000", 1).right is None
    True
    """

    number: Annotated[int, msgspec.Meta(ge=0)]
    id: str
    target: int | str | tuple[int, int]  # a text is a place of the picture
    right: bool | None = None


class Choice(msgspec.Struct):
    """The file that a selection is kept in.

    >>> msgspec.convert({"chosen": []}, Choice)
    Traceback (most recent call last):
        ...
    msgspec.ValidationError: Expected `array` of length >= 1 - at `$.chosen`
    """

    chosen: Annotated[list[ChosenPicture], msgspec.Meta(min_length=1)]
    about: dict[str, Any] = {}
    backend: str | None = None


def read_choice(file: Path) -> Choice | None:
    """Read which pictures were chosen; None where there is no such file, or a damaged one.

    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile() as file:
    ...     print(read_choice(Path(file.name)))
    None
    """
    try:
        said = json.loads(limits.read_text(file, limits.TEXT))
        choice = msgspec.convert(rename_old_keys(said) if isinstance(said, dict) else said, Choice)
    except FileNotFoundError:
        return None
    except OSError as problem:
        raise GridError(f"expected to read {file}, got {problem.strerror}: make it a file of yours") from problem
    except (ValueError, msgspec.ValidationError, RecursionError):
        return None
    return choice if len({each.id for each in choice.chosen}) == len(choice.chosen) else None


def _decide_anew(grid: Grid, box: BlackBox, data_set: Data, entries: tuple[Entry, Entry], out: Path) -> Choice:
    """Decide, and write it down; not where rows depend on what was decided before."""
    file = places.find_selection(out, *(each.label for each in entries))
    cells = {places.find_journal(out, each) for each in grid.cells if (each.box, each.data) == entries}
    cells |= set((out / "cells").glob(f"*--{file.stem}--*.jsonl"))  # of an earlier grid
    rows = sum(count_pictures(each) for each in cells if each.exists())
    if rows:
        raise GridError(
            f"expected to read in {file} which pictures were chosen, got {'a damaged file' if file.exists() else 'none'}, "
            f"and {rows:,} of them are measured: put it back from a copy, or choose another --out"
        )
    places.make_folder(out, file.parent.name)
    choice = _decide(grid, box, data_set, entries[1], places.make_folder(out, "pictures", file.stem))
    write_whole(file, json.dumps(msgspec.to_builtins(choice), indent=1).encode())
    return choice


def _describe(grid: Grid, box: BlackBox, data: Entry) -> dict[str, Any]:
    about = {"box": box.fingerprint, "data": [data.name, dict(data.given)], "target": grid.target, "right": grid.right}
    plain: dict[str, Any] = json.loads(json.dumps(about))  # as it is read again: pairs are lists
    return plain


def _decide(grid: Grid, box: BlackBox, data: Data, entry: Entry, pictures: Path) -> Choice:
    """Look at pictures in the order drawn until there are enough."""
    wanted = entry.given.get("pictures")
    numbers = shuffle(len(data), entry.given.get("draw"))
    chosen: list[ChosenPicture] = []
    ids, names = set[str](), set[str]()
    for number, image, sample, row in _score(grid, box, data, numbers):
        answers = targets.match_labels(sample, box.classes)
        right = int(row.argmax()) in answers if answers else None
        if grid.right and not right:
            continue
        if grid.target == "label" and not answers:
            continue
        if sample.id in ids:
            raise GridError(f"expected pictures of different names in {data.name}, got {sample.id} twice: rename one")
        ids.add(sample.id)
        aim = _choose_target(grid, box, image, row, answers)
        if aim is None:
            continue
        chosen.append(ChosenPicture(number, sample.id, aim, right))
        write_whole(pictures / f"{places.name_picture(sample.id, names)}.jpg", _encode_jpeg(image))
        if len(chosen) == wanted:
            break
    if not chosen:
        raise GridError(
            f"expected pictures in {entry.label} for {box.name}, got none of {len(data)} "
            f"(right answers only: {grid.right}; target: {grid.target}): do the labels name classes of the box?"
        )
    return Choice(chosen, _describe(grid, box, entry), box.backend)


def _choose_target(
    grid: Grid, box: BlackBox, image: Image, row: torch.Tensor, answers: Sequence[int]
) -> int | str | tuple[int, int] | None:
    """Choose what is explained of a picture; of a model of places one that it finds, None where it finds none."""
    if not isinstance(box, QuestionBox):
        return answers[0] if grid.target == "label" else targets.resolve(grid.target, row.tolist(), box.classes)  # type: ignore[return-value]  # a grid names no function
    wanted = box.classes[answers[0]].split(",")[0] if grid.target == "label" else grid.target
    whole = Geometry(box.size, box.size, (0, box.size[0], 0, box.size[1]))
    try:
        places, target = box.ask(image.to(box.device), whole, wanted)
    except TargetError:
        return None
    return str(places.classes[target]) if isinstance(target, int) else None


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
