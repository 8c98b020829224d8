"""What the table of best masks counts."""

from __future__ import annotations

import pytest
import torch

from benchmarks import best_masks, best_masks_table
from salience.boxes import toy
from salience.engine import maps
from salience.engine.query import loop
from salience.engine.query.run import start_run
from salience.methods.de_cam import DeCam
from tests.helpers import noise


def test_a_map_is_cut_to_exactly_its_highest_pixels() -> None:
    """Cutting at many shares at once marks what marking one count at a time does, ties included."""
    saliency = (noise(9, 7) * 5).floor()
    shares = [0.0, 0.02, 0.31, 0.5, 1.0]
    for share, mask in zip(shares, best_masks.cut(saliency, shares), strict=True):
        assert torch.equal(mask > 0, maps.mark_top(saliency, round(share * 63)))


def test_a_score_is_negative_where_another_class_is_ahead() -> None:
    """Of a red patch the box is sure that it is red: blue's probability comes with a minus sign."""
    box, image, whole = toy.load("colour"), toy.picture(), torch.ones(1, 32, 32)
    (red,), (blue,) = (best_masks.score_shown(box, image, target, whole) for target in (0, 2))
    assert red == pytest.approx(float(box(image[None])[0, 0]), abs=1e-5)
    assert blue == pytest.approx(-float(box(image[None])[0, 2]), abs=1e-5)


def test_a_linear_boxs_own_weights_cut_at_a_share_keep_the_largest_terms() -> None:
    """The score through a mask of the k highest pixels is the sum of the k largest terms; areas stand before the ladder."""
    image, weights = torch.ones(3, 8, 8), torch.rand(8, 8, generator=torch.Generator().manual_seed(0)) / 64
    half = torch.zeros(8, 8).index_fill_(0, torch.arange(4), 1.0)
    row = best_masks.measure_masks(toy.linear(weights), image, 1, {"half": half}, {"weights": weights})
    terms = weights.flatten().sort(descending=True).values.cumsum(0)
    expected = [float(terms[round(share * 64) - 1]) for share in (0.5, *best_masks_table.LADDER)]
    assert [abs(each) for each in row["cuts"]["weights"]] == pytest.approx(expected, abs=1e-5)
    area, kept = row["best"]["half"]
    assert (area, abs(kept)) == pytest.approx((0.5, float((weights * half).sum())), abs=1e-5)
    assert abs(row["cuts"]["veil"][0]) == pytest.approx(abs(row["whole"]) / 2, abs=1e-5)


def test_the_fitness_in_the_table_is_the_one_that_was_searched() -> None:
    """The best mask's area and score give the fitness that DE-CAM's trace ends with."""
    with start_run(60, 8):
        found = loop.run_to_end(DeCam(cells=4).watch(toy.load("colour"), toy.picture(), 0))
    mask = found.evidence
    assert best_masks_table.fitness(mask["area"], mask["kept"]) == pytest.approx(mask["search"][-1][1], abs=1e-6)


def test_the_smallest_area_is_the_lowest_rung_that_keeps_enough() -> None:
    """Later rungs may keep less; where no rung keeps enough, the whole picture does. A mask's area is rounded up."""
    scores = [0.0] * 50
    scores[9], scores[30] = -0.75, 0.9
    assert best_masks_table.smallest(scores, 0.8) == 0.2
    assert best_masks_table.smallest(scores, 1.0) == 0.62
    assert best_masks_table.smallest([0.1] * 50, 0.8) == 1.0
    assert [best_masks_table.round_area(area) for area in (0.0, 0.02, 0.021, 1.0)] == [0.02, 0.02, 0.04, 1.0]


def test_maps_are_cut_where_the_searchs_fitness_is_highest() -> None:
    """A score that is full from the third rung on is worth most at the third."""
    assert best_masks_table.fittest([0.1, 0.1] + [0.9] * 48) == (0.06, 0.9)


def test_pictures_whose_best_mask_keeps_too_little_are_left_out_of_its_table(capsys: pytest.CaptureFixture[str]) -> None:
    """Of two pictures one mask keeps nine tenths; evolution is fitter on that one only."""
    about = {
        "box": "b",
        "backend": "exact",
        "budget": 9,
        "whole": 0.8,
        "passes": {"regions, evolved": 9, "regions, unevolved": 9},
    }
    cuts = dict.fromkeys(("regions, evolved, m*", "regions, unevolved, m*", "other"), [0.8] * 52)
    best = ({"regions, evolved": (0.3, kept), "regions, unevolved": (0.4, 0.6)} for kept in (0.79, 0.1))
    rows = [about | {"best": each, "cuts": cuts} for each in best]
    best_masks_table.print_tables(rows)
    printed = capsys.readouterr().out
    assert "on the 1 of 2 pictures where m* (regions, evolved) does" in printed
    line = next(line for line in printed.splitlines() if line.startswith("| regions |"))
    assert line.split(" | ")[2] == "0.500 ± 0.500"
