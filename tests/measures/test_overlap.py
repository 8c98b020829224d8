"""The measures of SISE's paper against their definitions."""

from __future__ import annotations

import torch

from salience.boxes import toy
from salience.measures._kept import drop, kept
from salience.measures._overlap import covered, iou, top
from tests.helpers import noise


def test_exactly_so_many_pixels_are_on_top() -> None:
    """Even in a map with huge ties at zero, as a gate makes them."""
    saliency = torch.zeros(8, 8)
    saliency[2, 3] = 1
    marked = top(saliency, 5)
    assert int(marked.sum()) == 5
    assert bool(marked[2, 3])
    assert marked.flatten()[:4].tolist() == [True] * 4


def test_the_overlap_is_that_of_the_highest_fifth() -> None:
    """By hand: 20 of 100 pixels, 12 of them in a truth of 30."""
    saliency, truth = torch.zeros(10, 10), torch.zeros(10, 10, dtype=torch.bool)
    saliency[:2], truth[:3] = 1, True
    truth[0, :8] = False
    assert iou(saliency, truth) == 12 / 30
    assert iou(saliency, truth.logical_not() & (saliency > 0)) == 8 / 20


def test_as_many_pixels_as_the_truth_has_are_held_against_it() -> None:
    """A map that is the truth covers all of it, its opposite nothing, chance its share."""
    truth = torch.zeros(40, 40, dtype=torch.bool)
    truth[5:25, 10:30] = True
    assert covered(truth.float(), truth) == 1
    assert covered(1 - truth.float(), truth) == 0
    assert abs(covered(noise(40, 40), truth) - 0.25) < 0.06
    assert covered(noise(40, 40), truth & ~truth) == 0


def test_keeping_the_patch_keeps_the_score_and_keeping_the_rest_loses_it() -> None:
    """Six per cent of the pixels are red; a map of them needs no other."""
    box, image = toy.load("colour"), toy.picture(32)
    patch = torch.zeros(32, 32)
    patch[6:14, 14:22] = 1
    before, after = kept(box, image, 0, patch)
    assert before == float(box(image[None])[0, 0])
    assert abs(after - before) < 1e-6
    _, worse = kept(box, image, 0, -patch)
    assert abs(worse - 1 / 3) < 0.01
    assert drop(before, worse) > 0.5
    assert drop(0.4, 0.5) == 0
    assert drop(0.0, 0.0) == 0
