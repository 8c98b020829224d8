"""Nothing goes on for ever: files, names and numbers have a limit, and a sentence for what is beyond."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import nn

import salience
from salience import registry, specs
from salience.bench import grid as grids
from salience.boxes import toy
from salience.boxes._names import read_class_names
from salience.data.webdataset import expand_braces
from salience.engine.query.budget import Budget
from salience.engine.training import explainer
from salience.errors import BudgetError, GridError, RecordError, SalienceError, SettingError
from salience.explanation import Explanation
from salience.picture import read
from salience.runtime.module import read_weights
from tests import trained

RED = toy.picture(32)


@pytest.mark.parametrize("batch", [0, -1, -(10**9), 10**30])
def test_a_batch_has_one_image_at_least(batch: Any) -> None:
    """None would be explained for ever."""
    with pytest.raises(SettingError, match=r"expected batch as a whole number from 1 to 1,048,576, got"):
        salience.explain("toy:colour", RED, "occlusion", batch=batch)


OPENERS: dict[str, Callable[[Path], Any]] = {
    "picture": read,
    "names": read_class_names,
    "grid": grids.read_grid,
    "explanation": Explanation.load,
    "explainer": explainer.load,
    "weights": lambda path: read_weights(nn.Linear(1, 1), str(path)),
    "network": lambda path: specs.open_box(f"torch:{path}"),
    "onnx": lambda path: specs.open_box(f"onnx:{path}"),
    "openvino": lambda path: specs.open_box(f"openvino:{path}"),
    "estimator": lambda path: specs.open_box(f"estimator:{path}"),
    "code": lambda path: specs.open_box(f"py:{path.rename(path.with_suffix('.py'))}:make"),
    "table": lambda path: specs.open_data(f"csv:{path}"),
    "index": lambda path: specs.open_data(f"coco:{path}"),
    "tar": lambda path: specs.open_data(f"webdataset:{path}"),
}


@pytest.mark.parametrize("what", OPENERS)
def test_a_pipe_or_a_device_is_no_file(what: str, tmp_path: Path) -> None:
    """One waits for ever, the other is read until memory ends."""
    os.mkfifo(tmp_path / "pipe.onnx")
    (tmp_path / "zero.onnx").symlink_to("/dev/zero")
    for name in ("pipe.onnx", "zero.onnx"):
        with pytest.raises(SalienceError, match="pipe or a device|got nothing there|is a folder"):
            OPENERS[what](tmp_path / name)


def test_a_folder_of_a_trained_box_with_a_pipe_is_refused(tmp_path: Path) -> None:
    """Its card is a file."""
    os.mkfifo(tmp_path / "box.json")
    with pytest.raises(SalienceError, match="without box.json"):
        specs.open_box(f"trained:{tmp_path}")


@pytest.mark.parametrize("card", ["", "[]", "{}", '{"of": 3, "name": "a", "fingerprint": "b"}', "[" * 100_000])
def test_a_card_that_says_something_else_is_one_sentence(card: str, tmp_path: Path) -> None:
    """Whatever is wrong with it."""
    (tmp_path / "box.json").write_text(card, encoding="utf-8")
    with pytest.raises(SalienceError, match="expected what `salience train` wrote"):
        specs.open_box(f"trained:{tmp_path}")


@pytest.mark.parametrize(
    "budget", ["nan", "9" * 400, "9" * 400 + "s", "inf", math.inf, math.nan, 10**400, "1e400", "-1", 0, "9" * 20 + "s"]
)
def test_a_budget_has_an_end(budget: Any) -> None:
    """What is no number, or beyond any patience, is refused."""
    with pytest.raises(BudgetError, match="expected a budget"):
        Budget.of(budget)


@pytest.mark.parametrize("given", [{"passes": 0}, {"passes": 10**13}, {"seconds": math.nan}, {"seconds": math.inf}])
def test_so_has_one_that_is_made_in_code(given: dict[str, Any]) -> None:
    """NaN seconds never pass."""
    with pytest.raises(BudgetError, match="expected a budget above zero"):
        Budget(**given)


@pytest.mark.parametrize("settings", [{"masks": 10**13}, {"keep": math.nan}, {"masks": -(10**40)}, {"seed": 2**70}])
def test_a_setting_beyond_any_use_is_refused(settings: dict[str, Any]) -> None:
    """Also where it comes from a file."""
    with pytest.raises(SettingError, match="expected .* number from"):
        registry.make_method("rise", **settings)


def test_names_of_absurd_length_are_refused() -> None:
    """They would be printed, drawn and compared."""
    with pytest.raises(SettingError, match="expected a name of at most 10,000 letters for a class, got 100,000,000"):
        read_class_names(["a" * 10**8])


def test_a_grid_has_an_end(tmp_path: Path) -> None:
    """Cells are counted before any is made."""
    entries = {f"m{number}": {"name": "gradient"} for number in range(400)}
    boxes = {f"b{number}": "toy:colour" for number in range(400)}
    with pytest.raises(GridError, match="expected at most 100,000 cells, got 16"):
        grids.parse_grid({"methods": entries, "boxes": boxes, "data": {"a": "shapes:plain"}, "seeds": list(range(100))})


@pytest.mark.parametrize(
    "spec",
    ["toy:colour?size=1000000000", "toy:corner?size=-1", "toy:colour?size=0"],
)
def test_an_image_has_a_size(spec: str) -> None:
    """Memory is asked for by it."""
    with pytest.raises(SettingError, match="expected size"):
        specs.open_box(spec)


def test_a_pattern_of_tars_has_an_end() -> None:
    """Each would be a name in memory."""
    with pytest.raises(SalienceError, match="expected at most 100,000 tars"):
        expand_braces("a-{0..99999999999}.tar")
    with pytest.raises(SalienceError, match="count"):
        specs.open_data("shapes:plain?count=1000000000000")


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write an explanation that is as it should be."""
    why = salience.explain("toy:colour", RED, "occlusion", window=16, stride=16)
    return why.save(tmp_path_factory.mktemp("record") / "a.salience")


def change(path: Path, folder: Path, key: str, edit: Callable[[dict[str, Any]], Any]) -> Path:
    """Write a file again with another header."""
    with safe_open(str(path), "pt") as opened:
        header = json.loads(opened.metadata()[key])
        arrays = {each: opened.get_tensor(each) for each in opened.keys()}  # noqa: SIM118  # not a mapping
    edit(header)
    (folder / path.name).write_bytes(save(arrays, {key: json.dumps(header)}))
    return folder / path.name


LIES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "a photograph of 10^9 pixels": lambda head: head["geometry"].update(photograph=[31623, 31623]),
    "a negative side": lambda head: head["geometry"].update(photograph=[-1, 5]),
    "a map of another size": lambda head: head["geometry"].update(size=[64, 64]),
    "no edges": lambda head: head["geometry"].update(seen=[0, math.nan, 0, 1]),
    "nothing seen": lambda head: head["geometry"].update(seen=[4, 4, 0, 1]),
    "a class of 100,000 letters": lambda head: head["target"].update(name="a" * 100_000),
    "a class that is a number": lambda head: head["top5"][0].update(name=3),
    "many classes": lambda head: head.update(top5=head["top5"] * 9),
    "endless passes": lambda head: head.update(passes=10**30),
    "seconds that are none": lambda head: head.update(seconds=math.nan),
    "a setting of absurd size": lambda head: head.update(settings={"window": 10**30}),
    "settings as a list": lambda head: head.update(settings=[1]),
    "a note that is none": lambda head: head.update(notes=[{}]),
    "a box without a name": lambda head: head["box"].update(name=None),
    "no header": lambda head: head.clear(),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_record_that_cannot_be_true_is_one_sentence(lie: str, record: Path, tmp_path: Path) -> None:
    """Before anything of its size is made."""
    assert Explanation.load(record).saliency.shape == (32, 32)
    with pytest.raises(RecordError, match="expected an explanation in .*, got something else"):
        Explanation.load(change(record, tmp_path, "salience", LIES[lie]))


@pytest.mark.parametrize(
    "source",
    [{"channels": [10**9]}, {"channels": [0]}, {"spec": 3}, {"layers": [None]}, {"spec": "a" * 20_000}, {"channels": None}],
)
def test_an_explainer_that_cannot_be_true_is_one_sentence(source: dict[str, Any], tmp_path: Path) -> None:
    """A billion channels would be made before its weights are compared."""
    file = Path(trained.file())
    with pytest.raises(RecordError, match="expected an explainer in .*, got something else"):
        explainer.load(change(file, tmp_path, "explainer", lambda head: head["source"].update(source)))


def test_a_picture_that_unfolds_to_more_than_memory_is_refused(tmp_path: Path) -> None:
    """An array's header may claim any shape."""
    head = (
        b"\x93NUMPY\x01\x00v\x00"
        + b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000, 1000000000), }".ljust(117)
        + b"\n"
    )
    with pytest.raises(SalienceError, match="expected a whole picture"):
        read(head)


def test_a_record_of_before_still_opens() -> None:
    """What is refused is what cannot be."""
    assert Explanation.load(Path(__file__).parents[1] / "old_files" / "rise.salience").saliency.ndim == 2
    assert replace(trained.colours()).about.format == torch.tensor(1)
