"""HiPe against its definition."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from salience.boxes import toy
from salience.engine.query import loop
from salience.engine.query.run import start_run
from salience.errors import BudgetError, SettingError
from salience.methods.hipe import Hipe
from tests.helpers import curved, noise, same

IMAGE = noise(3, 16, 16)


def slow(box, image: torch.Tensor, cells: int, depths: int, threshold: float) -> tuple[torch.Tensor, list[int]]:
    """Hide windows in plain loops, deciding at every depth by the map of the depths before; count them."""
    side = image.shape[-1]
    whole, saliency, counts = float(box(image[None])[0, 1]), torch.zeros(side, side, dtype=torch.float64), []
    for depth in range(depths):
        cell = side // (cells * 2**depth)
        above, before, count = float(saliency.min() + threshold * (saliency.max() - saliency.min())), saliency.clone(), 0
        for top in range(-cell, side, cell):
            for left in range(-cell, side, cell):
                inside = (slice(max(0, top), top + 2 * cell), slice(max(0, left), left + 2 * cell))
                if depth > 0 and float(before[inside].max()) <= above:
                    continue
                hidden = image.clone()
                hidden[:, inside[0], inside[1]] = 0.5
                saliency[inside] += max(0.0, whole - float(box(hidden[None])[0, 1]))
                count += 1
        counts.append(count)
    return saliency, counts


@pytest.mark.parametrize(("threshold", "target"), [(0.5, 1), (0.2, 1), (0.8, 1)])
def test_hipe_equals_its_definition_in_plain_loops(threshold: float, target: int) -> None:
    """Windows, choice and sum of every depth, in double precision."""
    box = curved(16)
    found = loop.run_to_end(Hipe(cells=4, depths=3, threshold=threshold).watch(box, IMAGE, target))
    expected, counts = slow(box, IMAGE, 4, 3, threshold)
    assert [each["windows"] for each in found.evidence["depths"]] == counts
    assert counts[0] == 25
    assert 0 < counts[2] < 17**2
    assert same(found.saliency, expected.float(), 1e-6)


def test_one_depth_on_a_linear_box_adds_up_the_terms_of_the_windows() -> None:
    """Each inner pixel lies in four windows, and hiding a window costs the sum of its terms."""
    weights = noise(4, 4).repeat_interleave(2, 0).repeat_interleave(2, 1)
    found = Hipe(cells=4, depths=1)(toy.linear(weights), torch.ones(3, 8, 8, dtype=torch.float64), 1)
    terms = torch.nn.functional.pad(4 * weights[::2, ::2], (1, 1, 1, 1))  # a cell's, with nothing around
    windows = terms.unfold(0, 2, 1).unfold(1, 2, 1).sum((2, 3))
    cells = windows.unfold(0, 2, 1).unfold(1, 2, 1).sum((2, 3))
    assert same(found, cells.repeat_interleave(2, 0).repeat_interleave(2, 1).float(), 1e-5)


def test_a_lone_pixel_is_found_with_few_passes() -> None:
    """Only windows near it are divided: at first three by three that touch its cell, and 160 in all of 5,684."""
    weights = torch.zeros(64, 64, dtype=torch.float64)
    weights[21, 42] = 1
    with start_run() as run:
        found = loop.run_to_end(Hipe().watch(toy.linear(weights), torch.ones(3, 64, 64, dtype=torch.float64), 1))
    assert divmod(int(found.saliency.argmax()), 64) == (21, 42)
    assert run.passes == 1 + sum(each["windows"] for each in found.evidence["depths"])
    assert [each["windows"] for each in found.evidence["depths"]] == [81, 9, 25, 45]
    assert sum(each["grid"] for each in found.evidence["depths"]) == 9**2 + 17**2 + 33**2 + 65**2
    assert [each["cell"] for each in found.evidence["depths"]] == [8, 4, 2, 1]


def test_a_score_that_never_falls_ends_after_the_first_depth() -> None:
    """There is nothing to look closer at, and the record says so."""
    with start_run() as run:
        found = loop.run_to_end(Hipe().watch(toy.load("constant"), toy.picture(), 0))
    assert run.passes == 1 + 9**2
    assert found.notes == ("hiding no window lowered the score",)
    assert float(found.saliency.abs().max()) == 0


def test_a_budget_keeps_the_most_promising_windows() -> None:
    """Five more passes than the first depth takes go to the windows where its map is highest."""
    box = curved(16)
    with start_run("31 passes") as run:
        found = loop.run_to_end(Hipe(cells=4, depths=3).watch(box, IMAGE, 1))
    first = Hipe(cells=4, depths=1)(box, IMAGE, 1)
    assert run.passes == 31
    assert [each["windows"] for each in found.evidence["depths"]] == [25, 5]
    changed = (found.saliency - first).abs() > 1e-7
    assert bool(changed.any())
    assert float(first[changed].max()) == float(first.max())


def test_the_map_of_each_depth_can_be_watched() -> None:
    """The first step is the map of one depth; costs only add up."""
    steps = [step.saliency for step in Hipe(cells=4, depths=3).watch(curved(16), IMAGE, 1)]
    assert len(steps) == 3
    assert same(steps[0], Hipe(cells=4, depths=1)(curved(16), IMAGE, 1), 1e-6)
    assert all(bool((later >= earlier).all()) for earlier, later in pairwise(steps))


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"cells": 0}, "expected 1 ≤ cells, got 0"),
        ({"depths": 0}, "expected 1 ≤ depths, got 0"),
        ({"threshold": 1.5}, "expected 0 ≤ threshold ≤ 1, got 1.5"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, float], text: str) -> None:
    """In one sentence with the range."""
    with pytest.raises(SettingError, match=text):
        Hipe(**settings)


def test_a_budget_below_the_first_depth_is_refused() -> None:
    """Half a cover would leave pixels that nobody looked at."""
    text = "at least 82 passes for the first depth of hipe, 8 cells, got 81"
    with start_run(81), pytest.raises(BudgetError, match=text):
        Hipe()(curved(16), IMAGE, 1)
