"""What is learnt from: which pictures, which of them are held out, and the class that the box gives to each.

It is decided once and written into the folder of the run, which refuses to be gone on with under other settings.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from salience import limits
from salience.engine import seeding
from salience.engine import target as targets
from salience.errors import DataError, RecordError
from salience.explanation import rename_old_keys
from salience.files import make_folder, write_whole
from salience.trainers._pictures import Pictures
from salience.types import BackendBox, BlackBox

FEW = 5  # pictures that a class must have to be learnt, unless it is asked for


@dataclass(frozen=True)
class Split:
    """Pictures, and what the box says of them."""

    pictures: Pictures
    numbers: list[int]  # of the pictures that are learnt from
    held: list[int]  # of those that are not
    targets: list[int]  # the box's class of every picture
    classes: tuple[int, ...]  # that are learnt, a row of the fuser each


def decide_split(
    box: BlackBox, pictures: Pictures, wanted: Sequence[str] | None, held: int, out: Path, about: Mapping[str, Any]
) -> Split:
    """Open the lesson that a run began with, or decide on one."""
    said = json.loads(json.dumps({**about, "box": box.fingerprint, "data": pictures.name, "count": len(pictures)}))
    file = out / "run.json"
    if not file.exists():
        given = pictures.score_all(box).argmax(1).tolist()
        make_folder(out)
        write_whole(file, json.dumps({"about": said, "backend": box.backend, "targets": given}).encode())
    kept = rename_old_keys(json.loads(limits.read_text(file, limits.TEXT)))
    # Which backend is quickest might be found out otherwise today.
    if isinstance(box, BackendBox) and not box.backend_chosen:
        box.backend, box.backend_chosen = kept["backend"], True
    if kept["about"] != said:
        raise RecordError(f"expected the run that began in {out}, got one with another box, data or settings: choose --out")
    given, classes = kept["targets"], _classes(box, kept["targets"], wanted)
    numbers = [number for number, each in enumerate(given) if each in classes]
    order = torch.randperm(len(numbers), generator=seeding.generator(about["loop"]["seed"], "held")).tolist()
    if len(numbers) <= held:
        raise DataError(f"expected more pictures than the {held} held out, got {len(numbers)}: give more, or held=0")
    held_out = sorted(numbers[at] for at in order[:held])
    return Split(pictures, [each for each in numbers if each not in held_out], held_out, given, classes)


def _classes(box: BlackBox, given: Sequence[int], wanted: Sequence[str] | None) -> tuple[int, ...]:
    if wanted is not None:
        found = {int(targets.resolve(each, [0.0] * len(box.classes), box.classes)) for each in wanted}  # type: ignore[arg-type]  # a name or an index, so an index
        missing = [box.classes[each] for each in sorted(found - set(given))]
        if missing:
            raise DataError(f"expected pictures that the box calls {missing[0]}, got none: leave the class out")
        return tuple(sorted(found))
    counts = Counter(given)
    classes = tuple(sorted(each for each, count in counts.items() if count >= FEW))
    if not classes:
        raise DataError(
            f"expected {FEW} pictures of a class or more, got at most {max(counts.values())}: give more, or name classes"
        )
    return classes
