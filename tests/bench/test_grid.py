"""Grid files: axes, cells, and what is said of wrong ones."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
import torch

from salience.bench import grid as grids
from salience.boxes import toy
from salience.errors import GridError, SalienceError
from tests.bench.tiny import RAW
from tests.helpers import apart

if TYPE_CHECKING:
    from pathlib import Path


def test_cells_are_the_product_of_the_axes_with_controls() -> None:
    """Seeds multiply only what chance plays a part in: RISE and the random order."""
    names = [cell.name for cell in grids.parse_grid(RAW).cells]
    assert len(names) == len(set(names)) == 3 + 3 + 1 + 1
    assert [name for name in names if name.endswith("--1")] == ["rise--colour--scenes--1", "random-order--colour--scenes--1"]
    assert not [cell for cell in grids.parse_grid(RAW | {"controls": False}).cells if cell.method.name == "edge-detector"]


def test_every_seed_has_its_own_random_order() -> None:
    """A control has as many rows as the methods that it is held against."""
    box, image = toy.load("colour", size=8), torch.zeros(3, 8, 8)
    cells = [each for each in grids.parse_grid(RAW).cells if each.method.name == "random-order"]
    orders = [grids.make_method(each.method, each.seed)(box, image, 0) for each in cells]
    assert apart(*orders) > 0.5


def test_a_method_may_be_kept_to_some_boxes() -> None:
    """Attention has no place in a convolutional network."""
    boxes = {"one": "toy:colour", "two": "toy:corner"}
    methods = {"gradient": {"boxes": ["two"]}, "occlusion": {}}
    found = grids.parse_grid(RAW | {"boxes": boxes, "methods": methods, "controls": False}).cells
    assert {(cell.method.label, cell.box.label) for cell in found} == {
        ("gradient", "two"), ("occlusion", "one"), ("occlusion", "two")
    }  # fmt: skip


def test_two_settings_of_one_method_are_two_entries() -> None:
    """The label is free, the name says which method."""
    entries = {"rise 64": {"name": "rise", "masks": 64}, "rise 128": {"name": "rise", "masks": 128}}
    grid = grids.parse_grid(RAW | {"methods": entries})
    assert [grids.make_method(each, 3).masks for each in grid.methods[:2]] == [64, 128]
    assert grids.make_method(grid.methods[0], 3).seed == 3


def test_the_digest_of_a_cell_follows_what_its_rows_depend_on() -> None:
    """Another measure, batch or setting gives other rows; another method beside it does not."""
    one = grids.parse_grid(RAW)
    cell = one.cells[0]
    for changed in ({"measures": ["energy"]}, {"batch": 2}, {"target": "runner-up"}, {"right": True}):
        other = grids.parse_grid(RAW | changed)
        assert other.digest(other.cells[0]) != one.digest(cell)
    more = grids.parse_grid(RAW | {"methods": {"gradient": {}, "occlusion": {}}})
    assert more.digest(more.cells[0]) == one.digest(cell)


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"method": {}}, "key of a grid, got 'method': did you mean methods"),
    ({"methods": {}}, r"expected a table \[methods\] with at least one entry"),
    ({"methods": {"ris": {}}}, "name of a method, got 'ris': did you mean rise"),
    ({"methods": {"rise": {"mask": 3}}}, "setting of rise, got 'mask': did you mean masks"),
    ({"methods": {"rise": {"budget": "often"}}}, "expected a budget like"),
    ({"methods": {"rise": {"boxes": ["color"]}}}, "box of the grid, got 'color': did you mean colour"),
    ({"measures": ["deletio"]}, "name of a measure, got 'deletio': did you mean deletion"),
    ({"measures": ["energy", "energy"]}, "expected each measure once"),
    ({"boxes": {"a": 3}}, "expected boxes.a to say its spec"),
    ({"boxes": {"a": "toy:$NOWHERE_AT_ALL"}}, "expected the variables in boxes.a"),
    ({"seeds": []}, "expected seeds as list of length >= 1"),
    ({"seeds": 3}, "expected seeds as list, got 3"),
    ({"seeds": [-1]}, "expected seeds as whole number >= 0"),
    ({"seeds": [2**64]}, "expected seeds as whole number <= 9223372036854775807"),
    ({"seeds": [True]}, "expected seeds as whole number"),
    ({"batch": 0}, "expected batch as whole number >= 1"),
    ({"batch": 2**21}, "expected batch as whole number <= 1048576"),
    ({"batch": 2.5}, "expected batch as whole number, got 2.5"),
    ({"target": -1}, "expected target as whole number >= 0"),
    ({"target": ["a", "b", "c"]}, "expected target as list of length <= 2"),
    ({"right": "no"}, "expected right as true or false, got 'no'"),
    ({"controls": 1}, "expected controls as true or false, got 1"),
    ({"measures": "energy"}, "expected measures as list, got 'energy'"),
    ({"boxes": {"a": {"spec": "toy:colour", "size": {}}}}, "expected boxes.a.size as .*, got {}"),
    ({"boxes": {"a": {"spec": "toy:colour", "size": math.nan}}}, "expected boxes.a.size as a finite number, got nan"),
    ({"methods": {"gradient": {"boxes": "colour"}}}, "expected methods.gradient.boxes as list, got 'colour'"),
    ({"methods": {"r" * 20_000: {"name": "rise"}}}, "expected a name of at most 10,000 letters"),
    ({"boxes": {"A": "toy:colour", "a": "toy:corner"}}, "expected labels that differ in more than the case of letters"),
]
PICTURES: list[tuple[Any, str]] = [
    (0, ">= 1"),
    (-1, ">= 1"),
    ("50", "got '50'"),
    (True, "got True"),
    (math.nan, "got nan"),
    (2.0, "got 2.0"),
    ([5], r"got \[5\]"),
    (10**30, "<= 1000000000000"),
]


@pytest.mark.parametrize(("value", "said"), PICTURES, ids=[each[1] + str(each[0]) for each in PICTURES])
def test_a_number_of_pictures_that_is_none_means_not_all_of_them(value: Any, said: str) -> None:
    """As 0, -1 and "50" once did; the seed of a draw is looked at in the same way."""
    for key in ("pictures",) if value == 0 else ("pictures", "draw"):
        data = {"scenes": {"spec": "shapes:plain", key: value if key == "pictures" or value != 10**30 else 2**63}}
        with pytest.raises(GridError, match=rf"expected data\.scenes\.{key} as whole number.*, got"):
            grids.parse_grid(RAW | {"data": data})
        if key == "pictures":
            with pytest.raises(GridError, match=said):
                grids.parse_grid(RAW | {"data": data})


@pytest.mark.parametrize(("changed", "said"), WRONG, ids=[each[1] for each in WRONG])
def test_a_wrong_grid_is_refused_before_any_pass(changed: dict[str, Any], said: str) -> None:
    """One sentence: what was expected, what came, what to do."""
    with pytest.raises(SalienceError, match=said):
        grids.parse_grid(RAW | changed)


def test_a_file_that_is_no_toml_is_refused(tmp_path: Path) -> None:
    """So is one that is not there."""
    (tmp_path / "a.toml").write_text("methods = [", encoding="utf-8")
    with pytest.raises(GridError, match="expected TOML in"):
        grids.read_grid(tmp_path / "a.toml")
    with pytest.raises(GridError, match="expected a grid file at"):
        grids.read_grid(tmp_path / "b.toml")
