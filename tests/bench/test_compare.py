"""Two runs against each other."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from salience.bench import compare, significance
from salience.cli import main
from salience.errors import GridError

BEFORE = np.random.default_rng(0).normal(size=12)


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Path]:
    """Write values, one a picture, as the rows of a run."""

    def written(name: str, values: Any, better: str = "higher", **more: Any) -> Path:
        about = {"box": "b", "data": "d", "measure": "m/p", "method": "a", "seed": 0, "better": better, "fingerprint": "f"}
        rows = [about | {"picture": str(at), "value": None if v is None else float(v)} | more for at, v in enumerate(values)]
        path = tmp_path / f"{name}.parquet"
        old = parquet.read_table(path).to_pylist() if path.exists() else []
        parquet.write_table(pa.Table.from_pylist(old + rows), path)
        return path

    return written


def test_a_run_has_not_changed_against_itself(run: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    """All differences are zero, which no test tells from zero."""
    path = str(run("one", BEFORE))
    assert main(["compare", path, path, "--json"]) == 0
    (line,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert (line["difference"], line["low"], line["high"], line["p_holm"], line["n"]) == (0, 0, 0, 1, 12)
    assert line["a"] == line["b"] == pytest.approx(BEFORE.mean())


@pytest.mark.parametrize(
    ("better", "change", "code"),
    [("higher", -0.1, 1), ("higher", 0.1, 0), ("lower", 0.1, 1), ("lower", -0.1, 0), ("neither", 0.1, 1)],
)
def test_only_the_worse_direction_is_a_drift(run: Callable[..., Path], better: str, change: float, code: int) -> None:
    """Where neither direction is better, both are."""
    one, other = run("one", BEFORE, better), run("other", BEFORE + change, better)
    assert main(["compare", str(one), str(other)]) == code
    assert main(["compare", str(one), str(other), "--drift", "0.11"]) == 0


def test_a_change_that_chance_explains_is_no_drift(run: Callable[..., Path]) -> None:
    """One picture in twelve moved the mean: some of the redrawn means have not moved."""
    moved = BEFORE - np.eye(12)[0] * 3
    found = compare.compare(run("one", BEFORE), run("other", moved))
    (change,) = found.changes
    assert change.drift == pytest.approx(0.25)
    assert found.list_worse(0.05) == []


def test_seeds_are_paired_and_averaged_before_pictures(run: Callable[..., Path]) -> None:
    """A picture whose second seed one run lacks is compared by its first."""
    run("one", [0, 10], seed=0), run("other", [1, 10], seed=0)
    one, other = run("one", [0, 4], seed=1), run("other", [3], seed=1)
    found = compare.compare(one, other)
    (change,) = found.changes
    assert change.means == (pytest.approx((0 + 10) / 2), pytest.approx((2 + 10) / 2))
    assert (change.gap.n, found.unpaired) == (2, (1, 0))


def test_p_values_are_corrected_over_the_methods_of_a_table(run: Callable[..., Path]) -> None:
    """Two methods of one measure are two tests; another measure is a table of its own."""
    for name, shift in (("one", 0.0), ("other", 0.2)):
        noise = shift * BEFORE
        run(name, BEFORE), run(name, BEFORE + noise, method="c"), run(name, BEFORE + noise, measure="z")
    found = compare.compare(run("one", []), run("other", []))
    by = {(each.kind.measure, each.kind.method): each for each in found.changes}
    p = float(significance.compare_signed_ranks([0.2 * BEFORE])[0])
    assert by["m/p", "c"].holm == pytest.approx(min(1, 2 * p))
    assert by["z", "a"].holm == pytest.approx(p)


def test_what_only_one_side_has_and_another_model_are_said(
    run: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """A value that is missing in B is not a change, but a reader must know."""
    other = run("other", [*BEFORE[:-1] - 1, None], fingerprint="g")
    assert main(["compare", str(run("one", BEFORE)), str(other)]) == 1
    out, said = capsys.readouterr()
    assert "drift" in out
    assert "b is another model: fingerprint f in A, g in B" in said
    assert "1 rows with a value in A only, 0 in B only" in said
    assert "drift of more than 0.05: m/p of a on b (-1.0000)" in said


def test_rows_that_one_side_lost_fail(run: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    """A run that lost its worst pictures looks better; who wants the intersection says so."""
    whole, part = str(run("one", BEFORE)), str(run("other", BEFORE[:9]))
    for words in ((whole, part), (part, whole)):
        assert main(["compare", *words]) == 1
        assert "left out: 3 rows with a value in A only" in (said := capsys.readouterr().err) or "3 in B only" in said
        assert "expected the same rows in A and B" in said
        assert main(["compare", *words, "--allow-missing"]) == 0
        capsys.readouterr()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"better": pa.array(["up"] * 3)}, "to be better higher, lower or neither, got 'up'"),
        ({"better": pa.nulls(3, pa.string())}, "to be better higher, lower or neither, got None"),
        ({"value": pa.array(["a", "b", "c"])}, "got a column value of string in place of double"),
        ({"seed": pa.array(["a", "b", "c"])}, "got a column seed of string in place of int64"),
        ({"picture": pa.array([1, 2, 3])}, "got a column picture of int64 in place of string"),
        ({"box": pa.array([["b"]] * 3)}, "got a column box of list"),
    ],
)
def test_columns_of_another_kind_are_one_sentence(run: Callable[..., Path], changed: dict[str, Any], said: str) -> None:
    """As of a file that another program wrote."""
    one, other = run("one", BEFORE[:3]), run("other", BEFORE[:3])
    table = parquet.read_table(other)
    for name, column in changed.items():
        table = table.set_column(table.column_names.index(name), name, column)
    parquet.write_table(table, other)
    with pytest.raises(GridError, match=said):
        compare.compare(one, other)


def test_an_empty_table_or_one_without_fingerprints_is_one_sentence(run: Callable[..., Path]) -> None:
    """Neither has anything to compare."""
    one, other = run("one", BEFORE[:3]), run("other", BEFORE[:3])
    table = parquet.read_table(other)
    parquet.write_table(table.drop_columns(["fingerprint"]), other)
    with pytest.raises(GridError, match="got a table without the column .*fingerprint"):
        compare.compare(one, other)
    parquet.write_table(table.slice(0, 0), other)
    with pytest.raises(GridError, match="expected runs with rows in common, got none"):
        compare.compare(one, other)
    other.write_bytes(b"")
    with pytest.raises(GridError, match="expected rows as Parquet in"):
        compare.compare(one, other)


def test_what_cannot_be_compared_is_refused(run: Callable[..., Path], tmp_path: Path) -> None:
    """One sentence, and exit code 2."""
    one = run("one", BEFORE)
    with pytest.raises(GridError, match=r"expected runs with rows in common, got none"):
        compare.compare(one, run("other", BEFORE, method="c"))
    with pytest.raises(GridError, match=r"expected a run of `salience bench` at .*, got none"):
        compare.compare(one, tmp_path)
    parquet.write_table(pa.table({"x": [1]}), tmp_path / "x.parquet")
    with pytest.raises(GridError, match=r"expected rows of `salience bench`, got a table without the column"):
        compare.compare(one, tmp_path / "x.parquet")
    assert main(["compare", str(one), str(tmp_path)]) == 2
    assert main(["compare", str(one), str(one), "--drift", "-1"]) == 2
