"""The file of a cell: no row lost, none doubled."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from salience.bench.journal import Journal, read_journal
from salience.errors import GridError

if TYPE_CHECKING:
    from pathlib import Path


def test_a_picture_is_added_once(tmp_path: Path) -> None:
    """Also when another process, which knows nothing of the first, adds it again."""
    one, other = (Journal(tmp_path / "a.jsonl", "d") for _ in range(2))
    assert one.add("p", [{"value": 1}])
    assert not other.add("p", [{"value": 2}])
    assert other.add("q", [{"value": 3}, {"value": 4}])
    assert one.pictures == {"p", "q"}
    assert [row["value"] for row in read_journal(tmp_path / "a.jsonl")] == [1, 3, 4]


@pytest.mark.parametrize("cut", [1, 7, 30])
def test_a_line_cut_short_is_cut_off_before_the_next(tmp_path: Path, cut: int) -> None:
    """A kill in the midst of writing leaves part of a line, at any byte."""
    file = tmp_path / "a.jsonl"
    book = Journal(file, "d")
    book.add("p", [{"value": 1}])
    whole = file.read_bytes()
    book.add("q", [{"value": 2}])
    file.write_bytes(file.read_bytes()[: len(whole) + cut])
    again = Journal(file, "d")
    assert again.pictures == {"p"}
    assert again.add("q", [{"value": 5}])
    assert [row["value"] for row in read_journal(file)] == [1, 5]
    assert all(json.loads(line) for line in file.read_bytes().splitlines())


def test_a_first_line_cut_short_is_begun_anew(tmp_path: Path) -> None:
    """Nothing was promised yet."""
    file = tmp_path / "a.jsonl"
    file.write_bytes(b'{"cell": "a", "dig')
    assert Journal(file, "d").add("p", [{"value": 1}])
    assert [row["value"] for row in read_journal(file)] == [1]


def test_rows_of_another_grid_are_not_mixed_in(tmp_path: Path) -> None:
    """One sentence says what to do."""
    Journal(tmp_path / "a.jsonl", "one").add("p", [])
    with pytest.raises(GridError, match="choose another --out, or delete a.jsonl"):
        Journal(tmp_path / "a.jsonl", "two").add("q", [])


def test_not_a_number_is_kept(tmp_path: Path) -> None:
    """A measure may be undefined for a case."""
    Journal(tmp_path / "a.jsonl", "d").add("p", [{"value": float("nan")}])
    (row,) = read_journal(tmp_path / "a.jsonl")
    assert row["value"] != row["value"]  # that is what NaN is
