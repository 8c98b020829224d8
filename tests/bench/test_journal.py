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


@pytest.mark.parametrize(
    "damage",
    [b"{", b"\0" * 40, b'{"picture": 3, "rows": []}', b'{"picture": "q"}', b'{"picture": "q", "rows": [{"value": "high"}]}',
     b"[" * 9000, b"\xff", b"", b'{"seed": ' + b"9" * 5000 + b"}"],
)  # fmt: skip
def test_a_damaged_line_costs_its_own_picture_only(tmp_path: Path, damage: bytes) -> None:
    """It is said once, the others stay byte for byte, and the picture is measured again."""
    file = tmp_path / "a.jsonl"
    for number, picture in enumerate("pqr"):
        Journal(file, "d").add(picture, [{"value": float(number)}])
    head, one, _, three = file.read_bytes().splitlines()
    file.write_bytes(b"\n".join([head, one, damage, three]) + b"\n")
    with pytest.warns(UserWarning, match=r"expected whole lines in .*a.jsonl, got a damaged one, line 3: it is left out"):
        assert Journal(file, "d").pictures == {"p", "r"}
    with pytest.warns(UserWarning, match="line 3"):
        assert Journal(file, "d").add("q", [{"value": 5.0}])
    assert file.read_bytes().splitlines()[:4] == [head, one, damage, three]
    with pytest.warns(UserWarning, match="line 3"):
        assert sorted(row["value"] for row in read_journal(file)) == [0, 2, 5]


def test_a_damaged_first_line_costs_no_row(tmp_path: Path) -> None:
    """Every line says of which grid it is; those of earlier versions do not, and are not guessed at."""
    file = tmp_path / "a.jsonl"
    Journal(file, "d").add("p", [{"value": 1.0}])
    _, line = file.read_bytes().splitlines()
    file.write_bytes(b"?\n" + line + b"\n")
    with pytest.warns(UserWarning, match="line 1"):
        assert Journal(file, "d").pictures == {"p"}
    file.write_bytes(b"?\n" + line.replace(b'"digest": "d", ', b"") + b"\n")
    with pytest.warns(UserWarning, match="line 1"), pytest.raises(GridError, match="to say in its first line of which grid"):
        _ = Journal(file, "d").pictures


def test_a_picture_that_is_there_twice_has_its_first_rows(tmp_path: Path) -> None:
    """Somebody joined two copies of a file."""
    file = tmp_path / "a.jsonl"
    Journal(file, "d").add("p", [{"value": 1.0}])
    file.write_bytes(file.read_bytes() * 2)
    assert [row["value"] for row in read_journal(file)] == [1]


def test_a_journal_that_became_shorter_is_not_filled_with_zeros(tmp_path: Path) -> None:
    """Nor begun anew by the one who had read more of it."""
    file = tmp_path / "a.jsonl"
    book = Journal(file, "d")
    book.add("p", [{"value": 1.0}])
    assert book.pictures == {"p"}
    file.write_bytes(b"")
    with pytest.raises(GridError, match="to stay, got fewer than there were: run again"):
        book.add("q", [])
    assert file.read_bytes() == b""


def test_a_folder_that_is_gone_is_not_made_anew(tmp_path: Path) -> None:
    """Rows in a new folder would be some of the rows, and look like all of them."""
    with pytest.raises(GridError, match="got No such file or directory: put the folder back"):
        Journal(tmp_path / "cells" / "a.jsonl", "d").add("p", [])
    assert not (tmp_path / "cells").exists()
