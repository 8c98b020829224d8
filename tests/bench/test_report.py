"""A run as a page: every part is there, nothing is loaded from elsewhere, and what is missing is left out."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.report import make_run
from salience.bench import curves, evidence, panel, report, rows, sheets, tables
from salience.bench.evidence import StoredMap
from salience.bench.significance import Mean
from salience.bench.statistics import Key, Summary
from salience.cli import main
from salience.engine import maps
from salience.errors import GridError
from tests.helpers import noise

METHODS = ("rise", "grad-cam", "gradient")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a run of three methods, three controls and eight pictures."""
    run = tmp_path_factory.mktemp("run")
    make_run(run, 8, METHODS)
    return run


@pytest.fixture
def run(whole: Path, tmp_path: Path) -> Path:
    """Copy the run, to be spoilt."""
    return Path(shutil.copytree(whole, tmp_path / "run"))


def change(run: Path, method: str, /, **more: object) -> None:
    """Overwrite a method's rows of its first picture."""
    (file,) = (run / "cells").glob(f"{method}--*.jsonl")
    head, first, *rest = file.read_text().splitlines()
    said = json.loads(first)
    said["rows"] = [row | more for row in said["rows"]]
    file.write_text("\n".join([head, json.dumps(said), *rest]) + "\n")


class Links(HTMLParser):
    """Collects what a page would load, and checks that elements are closed."""

    def __init__(self) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "img", "input", "br", "line", "polyline"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in ("line", "polyline")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_loads_nothing_and_is_well_formed(whole: Path) -> None:
    """It works on a machine without a network: pictures are inside, links stay on the page."""
    page, links = report.write_report(whole).read_text(), Links()
    links.feed(page)
    assert links.open == []
    assert all(source.startswith(("data:image/jpeg;base64,", "#")) for source in links.sources)
    assert (
        sum(source.startswith("data:") for source in links.sources) == 6 * 7 + 2 * 4 * 2
    )  # sheets; best and worst, in pairs
    assert "url(" not in page
    assert "@import" not in page


def test_the_page_has_every_part(whole: Path) -> None:
    """A reader finds what the numbers mean, the curves, the maps, the cost and the grid."""
    page = report.write_report(whole).read_text()
    heads = [" ".join(re.sub("<.*?>", "", each).split()) for each in re.findall(r"<h[23].*?</h[23]>", page, re.DOTALL)]
    assert heads == [
        "How to read the tables",
        "photographs on lite0",
        "Mean curves",
        "Agreement of the maps",
        "Maps",
        "Where rise does best and worst",
        "Cost of a map",
        "The grid",
    ]
    assert "not finished" not in page
    assert page.count("<polyline") == 2 * 2 * 6  # two curves of six methods, each seen and to be pointed at


def test_names_are_text_and_never_markup(run: Path) -> None:
    """A method called <b> stays that and is no element; a bar would end a cell of Markdown."""
    change(run, "gradient", notes="<script>alert(1)</script>")
    change(run, "rise", method="<b>|")
    page = report.write_report(run).read_text()
    assert "&lt;b&gt;|" in page
    assert "&lt;script&gt;alert(1)" in page
    assert "<b>" not in page
    assert "<script>alert" not in page
    assert "| &lt;b&gt;\\| |" in (run / "report.md").read_text()


def test_the_tables_say_the_means_of_the_rows(whole: Path) -> None:
    """CSV has all digits; Markdown as many as the interval is worth, and both list controls last."""
    report.write_report(whole)
    table = rows.read_rows(whole).to_pylist()
    lines = list(csv.DictReader(io.StringIO((whole / "report.csv").read_text())))
    for line in lines:
        values = [r["value"] for r in table if (r["method"], r["measure"]) == (line["method"], line["measure"])]
        assert float(line["mean"]) == pytest.approx(sum(values) / 8)
        assert line["n"] == "8"
    text = (whole / "report.md").read_text()
    names = re.findall(r"^\| ([\w-]+)(?: \(control\))? \|", text, re.MULTILINE)
    assert names[0] == "method"
    assert set(names[2:5]) == set(METHODS)
    assert text.count("(control)") == 3
    assert "N = 8 pictures" in text
    best = next(line for line in lines if line["mark"] == "best" and line["measure"] == "deletion/rise-2018")
    assert re.search(rf"^\| {best['method']} \| \*\*{float(best['mean']):.3f} ± ", text, re.MULTILINE)
    pairs = list(csv.DictReader(io.StringIO((whole / "pairs.csv").read_text())))
    assert len(pairs) == 10 * 6 * 5 / 2


def test_failures_and_blank_maps_are_grouped_by_their_sentence(run: Path) -> None:
    """One line a sentence, with how often and of which methods; the number loses the picture that failed."""
    change(run, "rise", failure="expected memory, got none", value=None)
    change(run, "gradient", notes="the map is constant (0.25 everywhere): no pixel matters more than another")
    said = report._group_notes(rows.read_rows(run).to_pylist())
    assert ("failed: deletion/rise-2018", "expected memory, got none", 1, "rise") in said
    blank = [each for each in said if each[0] == "blank map"]
    assert blank == [("blank map", "the map is constant: no pixel matters more than another", 1, "gradient")]
    page = report.write_report(run).read_text()
    assert "n 7</span>" in page
    assert "expected memory, got none" in page


def test_without_evidence_the_page_is_its_tables(run: Path) -> None:
    """Evidence is large and may be deleted; a broken file is as good as none."""
    for file in (run / "evidence").rglob("*.npz"):
        file.write_bytes(b"PK\x03\x04 cut short")
    broken = report.write_report(run).read_text()
    shutil.rmtree(run / "evidence")
    shutil.rmtree(run / "pictures")
    (run / "run.json").unlink()
    page = report.write_report(run).read_text()
    assert "<svg" not in page
    assert "<img" not in page
    assert "Cost of a map" in page
    assert broken.count("<img") == 0


def test_without_pictures_maps_lie_on_grey(run: Path) -> None:
    """Photographs may be private: the maps still can be looked at."""
    shutil.rmtree(run / "pictures")
    assert report.write_report(run).read_text().count("<img") == 6 * 6 + 2 * 4


def test_a_run_that_is_not_finished_says_how_much_is_there(run: Path) -> None:
    """Seven cells of eight pictures are planned; the last line of one was never written."""
    (file,) = (run / "cells").glob("rise--*.jsonl")
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:4]))
    assert panel.count_progress(run) == (43, 48)
    assert "not finished: 43 of 48 pictures of all cells are there" in report.write_report(run).read_text()
    (run / "grid.toml").write_text("[")
    assert panel.count_progress(run) is None
    assert "not finished" not in report.write_report(run).read_text()


def test_a_folder_without_rows_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One sentence, and exit code 2."""
    with pytest.raises(GridError, match=r"expected a run of `salience bench` with rows at .*, got none"):
        report.write_report(tmp_path / "nowhere")
    (tmp_path / "cells").mkdir()
    assert main(["report", str(tmp_path)]) == 2
    assert "expected a run of `salience bench` with rows" in capsys.readouterr().err


def test_the_command_writes_where_it_is_told(whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The tables lie beside the page."""
    assert main(["report", str(whole), "--out", str(tmp_path / "x.html")]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'x.html'}\n"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["pairs.csv", "x.csv", "x.html", "x.md"]


def test_agreement_is_spearmans_and_a_blank_map_agrees_with_nothing() -> None:
    """The engine ranks by sorting, the report by counting 256 steps."""
    some = [(noise(9, 7, seed=seed) * 12).byte() for seed in range(3)] + [torch.zeros(9, 7).byte()]
    slow = [[maps.rank_agreement(one.double(), other.double()) for other in some] for one in some]
    assert evidence.correlate_ranks([each.numpy() for each in some]) == pytest.approx(np.array(slow), abs=1e-6)


def test_mean_curves_are_means_at_shared_places() -> None:
    """Two curves of unlike steps, read off at the same places; one that is not finite is left out."""
    first, second = np.array([[0, 1], [0, 1.0]]), np.array([[0, 0.5, 1], [1, 1, 0.0]])
    total = evidence._RunningMean()
    for each in (first, second, np.array([[0, 1], [np.nan, 1]])):
        total.add(evidence._resample(each))
    x, y = total.mean
    slow = [(at + (1 if at <= 0.5 else 2 - 2 * at)) / 2 for at in x]
    assert (total.count, y.tolist()) == (2, pytest.approx(slow))


def test_a_table_says_when_it_has_too_few_pictures_to_tell_methods_apart(whole: Path, run: Path) -> None:
    """Signed ranks of n differences reach 2^(1 − n) at best; times 15 pairs, 8 pictures leave 0.12 and ten 0.03."""
    found, pairs = panel.make_panels(rows.read_rows(whole), whole)
    assert found[0].wanted == 10
    assert min(each.holm for each in pairs) == pytest.approx(15 * 2**-7)
    assert "at least 10 pictures" in report.write_report(run).read_text()
    make_run(run, 10, METHODS)
    assert min(each.holm for each in panel.make_panels(rows.read_rows(run), run)[1]) == pytest.approx(15 * 2**-9)
    assert "pictures would be needed" not in report.write_report(run).read_text()


@pytest.mark.parametrize(("ends", "count"), [((0, 1), 6), ((0, 0.9), 5), ((-0.2, 0.31), 6), ((0, 1234), 7), ((3, 3), 1)])
def test_ticks_are_few_round_and_within(ends: tuple[float, float], count: int) -> None:
    """Between four and nine of them."""
    found = curves.choose_ticks(*ends)
    assert len(found) == count
    assert all(ends[0] - 1e-9 <= each <= ends[1] + 1e-9 for each in found)


def test_a_line_runs_from_corner_to_corner() -> None:
    """Zero is at the bottom, the largest score at the top."""
    drawn = curves.make_chart("deletion/x", {"a": np.array([[0, 1], [0, 0.8]])})
    assert drawn.lines["a"] == f"46.0,{300 - 42:.1f} {460 - 10:.1f},10.0"
    assert drawn.axes[0] == "share of pixels removed"


@pytest.mark.parametrize(("half", "places"), [(0.0123, 3), (0.2, 2), (4, 1), (70, 0), (2e-6, 6), (1e-8, 0), (0, 0)])
def test_decimals_follow_the_interval(half: float, places: int) -> None:
    """Half an interval keeps two digits that count."""
    column = [Summary(Key("d", "b", "m"), "a", "higher", Mean(5.0, 5 - half, 5 + half, 9), (0, 0), "")]
    assert tables.choose_digits(column) == places


def test_an_overlay_shows_the_map_where_it_is_high() -> None:
    """Red over the highest step, the muted picture under the lowest; a blank map leaves the picture alone."""
    steps = np.zeros((8, 8), np.uint8)
    steps[:, 4:] = np.linspace(200, 255, 32).reshape(8, 4)
    under = np.full((8, 8, 3), 0.5, np.float32)
    laid = sheets.overlay_map(StoredMap(steps, (0.0, 1.0), {}), under)
    assert laid[-1, -1, 0] > laid[-1, -1, 2] + 0.2
    assert laid[0, 0] == pytest.approx([0.5, 0.5, 0.5], abs=1e-3)
    assert (sheets.overlay_map(StoredMap(steps * 0, (0.0, 0.0), {}), under) == under).all()
