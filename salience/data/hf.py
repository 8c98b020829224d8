"""`hf:NAME`: a data set of the Hugging Face hub, or a folder that `save_to_disk` wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from salience.case import Data, Sample
from salience.data import _options
from salience.data._lazy import Lazy
from salience.data._tables import LABELS, Label, read_labels
from salience.errors import DataError, SettingError, UnknownName

RUNS_NOTHING = True  # so a file may name it: see specs.expect_harmless
IMAGES = ("image", "img", "picture", "pixels")


def load(name: str, *, split: Any = None, image: Any = None, label: Any = None, config: Any = None, **unknown: Any) -> Data:
    """Open a split; a folder needs no network. A picture is decoded when it is read, and its row's number is its id.

    `image` and `label` name the columns that are not called as usual; a ClassLabel answers with its name, a list of
    them with all. `config` is the hub's name of a variant.
    """
    _options.expect_known(load, unknown)
    try:
        import datasets
    except ImportError as problem:
        raise DataError("expected the package datasets for hf: data, got none: install salience[datasets]") from problem
    saved = any((Path(name) / each).exists() for each in ("dataset_dict.json", "state.json"))
    try:
        dataset = datasets.load_from_disk(name) if saved else datasets.load_dataset(name, config, split=split)
    except Exception as problem:
        reason = " ".join(str(problem).split())[:200]
        raise DataError(f"expected to load hf:{name}, got {reason}: check the name, or give a saved folder") from problem
    table = _split(dataset, split if saved else None, name)
    pictures = _column(table, image, IMAGES, name, "image")
    answers = _column(table, label, LABELS, name, "label")
    if pictures is None:
        raise DataError(
            f"expected a column of pictures in hf:{name}, got {', '.join(table.column_names)}: give image=COLUMN"
        )
    if isinstance(table.features[pictures], datasets.Image):
        table = table.cast_column(pictures, datasets.Image(decode=False))
    names = None if answers is None else _names(table.features[answers])

    def sample(number: int) -> Sample:
        row = table[number]
        said = () if answers is None else _answers(row[answers], names)
        return Sample(str(number), _picture(row[pictures]), said)

    given = {"split": split, "image": image, "label": label, "config": config}
    return Data(_options.write_spec("hf", name, **given), Lazy(sample, range(len(table))))


def _split(dataset: Any, split: Any, name: str) -> Any:
    if not isinstance(dataset, dict):
        if split is not None:
            raise SettingError(f"expected no split for hf:{name}, got {split!r}: the folder is one split")
        return dataset
    if split is None and len(dataset) == 1:
        return next(iter(dataset.values()))
    if split is None:
        raise SettingError(f"expected one of the splits of hf:{name}, got none: give split={' or split='.join(dataset)}")
    if split not in dataset:
        raise UnknownName.of(f"split of hf:{name}", str(split), dataset)
    return dataset[split]


def _column(table: Any, wanted: Any, guesses: tuple[str, ...], name: str, option: str) -> str | None:
    if wanted is None:
        return next((each for each in guesses if each in table.column_names), None)
    if wanted not in table.column_names:
        raise UnknownName.of(f"column of hf:{name} for {option}", str(wanted), table.column_names)
    return str(wanted)


def _names(feature: Any) -> list[str] | None:
    """List the class names of a ClassLabel, or of a list of them."""
    found: list[str] | None = getattr(getattr(feature, "feature", feature), "names", None)
    return found


def _answers(said: Any, names: list[str] | None) -> tuple[Label, ...]:
    many = said if isinstance(said, list) else [said]
    if names is None:
        return read_labels(many)
    return tuple(names[each] for each in many if each is not None and each >= 0)  # -1: the label is withheld


def _picture(said: Any) -> Any:
    """Turn a picture that is not decoded into its bytes or its path."""
    if isinstance(said, dict):
        return said["path"] if said.get("bytes") is None else said["bytes"]
    return said
