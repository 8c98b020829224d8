"""`webdataset:SHARD-{000..003}.tar`: WebDataset's tars, samples by key. Local files; the package itself is not needed."""

from __future__ import annotations

import itertools
import json
import os
import re
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from salience import limits
from salience.case import Data, Sample
from salience.data import _files, _options
from salience.data._lazy import Lazy
from salience.data._tables import LABELS, Label, read_labels
from salience.errors import DataError
from salience.picture import SUFFIXES

RUNS_NOTHING = True  # so a file may name it: see specs.expect_harmless
TEXTS = ("cls", "json", "txt")
BRACES = re.compile(r"\{(?:(\d+)\.\.(\d+)|([^{}]*,[^{}]*))\}")


@dataclass(frozen=True)
class _Group:
    """The files of a key, by ending: where each begins in the tar, and how long it is."""

    shard: Path
    key: str
    parts: Mapping[str, tuple[int, int]]

    def read(self, ending: str) -> bytes:
        """Read a file at its place."""
        begin, length = self.parts[ending]
        if length > limits.PICTURE:
            raise DataError(
                f"expected at most {limits.PICTURE:,} bytes in {self.key}.{ending} of {self.shard}, got {length:,}"
            )
        with self.shard.open("rb") as opened:
            opened.seek(begin)
            return opened.read(length)


def load(
    name: str, *, image: Any = None, label: Any = None, field: Any = None, mask: Any = "mask.png", **unknown: Any
) -> Data:
    """Open tars; `{000..003}` and `{train,val}` stand for several. Their heads are read, the pictures when they are wanted.

    `image` is the ending of the picture, by default the first that is one; `label` of the right answer, by default
    cls, json or txt; `field` its name in JSON; `mask` of the object's mask, where there is one.
    """
    _options.expect_known(load, unknown)
    shards = [_files.expect_path(each, "a tar") for each in expand_braces(str(name))]
    groups = [group for shard in shards for group in _groups(shard)]
    endings = list(dict.fromkeys(ending for group in groups for ending in group.parts))
    shown = [(group, ending) for group in groups if (ending := _picture(group, image))]
    if not shown:
        raise DataError(
            f"expected pictures in {name}, got files that end in {', '.join(endings) or 'nothing'}: give image=ENDING"
        )
    answers = label or next((each for each in TEXTS if each in endings), None)
    for option, ending in (("label", answers), ("mask", mask)):
        if ending not in (None, "none", "mask.png", *endings):
            raise DataError(
                f"expected files that end in {ending} in {name}, got {', '.join(endings)}: change {option}=ENDING"
            )
    base = Path(os.path.commonpath([shard.parent for shard in shards]))

    def sample(one: tuple[_Group, str]) -> Sample:
        group, ending = one
        said = _labels(group, str(answers), field) if answers in group.parts else ()
        place = group.read(str(mask)) if mask in group.parts else None
        shard = group.shard.relative_to(base).with_suffix("").as_posix()
        return Sample(f"{shard}/{group.key}", group.read(ending), said, mask=place)

    given = {"image": image, "label": label, "field": field, "mask": None if mask == "mask.png" else mask}
    return Data(_options.write_spec("webdataset", name, **given), Lazy(sample, shown))


def expand_braces(text: str) -> list[str]:
    """Write out what braces stand for; numbers keep their width."""
    found = BRACES.search(text)
    if found is None:
        return [text]
    low, high, words = found.groups()
    if low and not int(high) - int(low) < limits.SHARDS:
        raise DataError(f"expected at most {limits.SHARDS:,} tars in {text}, got more: name fewer")
    parts = words.split(",") if words else [str(each).zfill(len(low)) for each in range(int(low), int(high) + 1)]
    return [each for part in parts for each in expand_braces(text[: found.start()] + part + text[found.end() :])]


def _groups(shard: Path) -> list[_Group]:
    """Read the heads of a tar; files that follow one another and have one name before the first dot belong together."""
    try:
        with tarfile.open(limits.expect_file(shard, limits.WEIGHTS), "r:") as opened:
            listed = itertools.islice(opened, limits.ROWS)
            members = [each for each in listed if each.isfile() and not Path(each.name).name.startswith(".")]
            end = opened.offset
    except (OSError, tarfile.TarError) as problem:
        raise DataError(
            f"expected a whole, uncompressed tar in {shard}, got something else ({problem}): get it anew"
        ) from None
    if shard.stat().st_size < end + tarfile.BLOCKSIZE:
        raise DataError(f"expected an end mark in {shard}, got none: the tar is cut short, get it anew")
    split = [(*_split(each.name), (each.offset_data, each.size)) for each in members]
    together = itertools.groupby(split, key=lambda each: each[0])
    found = [_Group(shard, key, {ending: place for _, ending, place in parts}) for key, parts in together]
    if len({each.key for each in found}) < len(found):
        raise DataError(
            f"expected the files of a sample one after another in {shard}, got them scattered: sort the tar by name"
        )
    return found


def _picture(group: _Group, image: Any) -> str | None:
    """Return the ending of the key's picture."""
    return next((each for each in group.parts if (each == image if image else f".{each}".lower() in SUFFIXES)), None)


def _split(name: str) -> tuple[str, str]:
    folder, slash, file = name.rpartition("/")
    key, _, ending = file.partition(".")
    return folder + slash + key, ending


def _labels(group: _Group, ending: str, field: Any) -> tuple[Label, ...]:
    where = f"{group.key}.{ending} of {group.shard}"
    try:
        text = group.read(ending).decode()
    except UnicodeDecodeError as problem:
        raise DataError(f"expected text in {where}, got something else ({problem}): get the tar anew") from None
    if not ending.endswith("json"):
        return read_labels(text, where)
    try:
        said = json.loads(text)
    except (ValueError, RecursionError) as problem:
        raise DataError(f"expected JSON in {where}, got something else ({problem})") from None
    if not isinstance(said, dict):
        return read_labels(said, where)
    wanted = [field] if field else [each for each in LABELS if each in said]
    if not wanted or wanted[0] not in said:
        raise DataError(f"expected a label in {group.key}.{ending} of {group.shard}, got {', '.join(said)}: give field=NAME")
    return read_labels(said[wanted[0]], where)
