"""What a classifier learns from: which pictures, which of them are held out, and the class of each.

It is decided once and written into the folder of the run, which refuses to be gone on with under other settings.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from salience import limits
from salience.case import Sample
from salience.engine import seeding
from salience.engine import target as targets
from salience.errors import DataError, RecordError
from salience.files import make_folder, write_whole
from salience.trainers._pictures import Pictures
from salience.types import BlackBox


@dataclass(frozen=True)
class Split:
    """Pictures and their classes."""

    pictures: Pictures
    labels: list[int]  # of every picture; -1: the box has no class of that name
    numbers: list[int]  # of the pictures that are learnt from
    held: list[int]  # of those that are not


def decide_split(box: BlackBox, pictures: Pictures, share: float, out: Path, about: Sequence[Any], seed: int) -> Split:
    """Read the labels, hold some pictures out, and refuse a run that began otherwise."""
    labels = [_label(pictures, number, box) for number in range(len(pictures))]
    known = [number for number, label in enumerate(labels) if label >= 0]
    if len(known) < 2:
        have = ", ".join(name.partition(",")[0] for name in list(box.classes)[:4])
        raise DataError(
            f"expected pictures with labels of {box.name} ({have} …), got {len(known)} of {len(labels)}: "
            "name folders or labels as the box's classes, or by index"
        )
    said = json.loads(json.dumps([*about, box.fingerprint, pictures.name, labels]))
    file = out / "run.json"
    if not file.exists():
        make_folder(out)
        write_whole(file, json.dumps(said).encode())
    if json.loads(limits.read_text(file, limits.TEXT)) != said:
        raise RecordError(f"expected the run that began in {out}, got one with another box, data or settings: choose --out")
    order: list[int] = torch.randperm(len(known), generator=seeding.generator(seed, "held")).tolist()
    held = {known[at] for at in order[: min(len(known) - 1, round(share * len(known)))]}
    return Split(pictures, labels, [each for each in known if each not in held], sorted(held))


def _label(pictures: Pictures, number: int, box: BlackBox) -> int:
    sample = pictures.source[number]
    if not isinstance(sample, Sample):
        raise DataError(f"expected a data set of labelled pictures, got {type(sample).__name__}: give a folder or a table")
    found = targets.match_labels(sample, box.classes)
    if len(found) > 1:
        raise DataError(f"expected one class for {sample.id}, got {len(found)}: give pictures with one label")
    return found[0] if found else -1
