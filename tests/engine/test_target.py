"""What is explained."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from salience.engine import target
from salience.errors import TargetError, UnknownName

CLASSES = ("tench, Tinca tinca", "crane", "ox", "crane", "Border collie")
ROW = [0.1, 0.2, 0.4, 0.05, 0.25]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (None, 2),
        ("predicted", 2),
        ("pred", 2),
        ("runner-up", 4),
        (0, 0),
        ("0", 0),
        (np.int64(3), 3),
        (torch.tensor(3), 3),
        ("ox", 2),
        ("OX ", 2),
        ("tinca tinca", 0),
        ("tench", 0),
        ("tench, tinca tinca", 0),
        ("border Collie", 4),
        ((0, "ox"), (0, 2)),
        (["predicted", "runner-up"], (2, 4)),
    ],
)
def test_a_target_is_found_by_index_name_synonym_or_rank(wanted: object, found: object) -> None:
    """Each way of saying it names one class."""
    assert target.resolve(wanted, ROW, CLASSES) == found


def test_equal_scores_go_to_the_lower_index() -> None:
    """Ties must not depend on the sort's mood."""
    assert target.resolve("predicted", [0.3, 0.3, 0.3], "abc") == 0
    assert target.resolve("runner-up", [0.3, 0.3, 0.3], "abc") == 1


def test_a_name_that_looks_like_a_number_is_a_name_first() -> None:
    """With classes called 1, 2, 3 the text "1" is the class of that name, and the number 1 is the second class."""
    assert target.resolve("1", [0.1, 0.2, 0.7], ("1", "2", "3")) == 0
    assert target.resolve(1, [0.1, 0.2, 0.7], ("1", "2", "3")) == 1


def test_an_ambiguous_name_is_refused_with_its_indices() -> None:
    """ImageNet has two cranes, a bird and a machine; only the reader knows which."""
    with pytest.raises(
        TargetError, match=r"one class called 'crane', got 2: give its index, one of 1 \(crane\), 3 \(crane\)"
    ):
        target.resolve("crane", ROW, CLASSES)


def test_an_unknown_name_offers_close_ones() -> None:
    """A typing error is the likeliest reason."""
    with pytest.raises(UnknownName, match="expected the name of a class, got 'tensh': did you mean tench"):
        target.resolve("tensh", ROW, CLASSES)


@pytest.mark.parametrize("wanted", [5, -1, "-1", "17", (0, 9)])
def test_an_index_out_of_range_is_refused(wanted: object) -> None:
    """Negative indices would quietly count from the end."""
    with pytest.raises(TargetError, match="expected a class from 0 to 4, got"):
        target.resolve(wanted, ROW, CLASSES)


@pytest.mark.parametrize("wanted", [2.7, object(), b"ox"])
def test_what_is_no_target_is_refused(wanted: object) -> None:
    """2.7 is not class 2."""
    with pytest.raises(TargetError, match="expected a class index, name or pair as target, got"):
        target.resolve(wanted, ROW, CLASSES)


def test_a_contrast_has_two_sides() -> None:
    """Three classes have no difference."""
    with pytest.raises(TargetError, match="expected a pair of classes for a contrast, got 3"):
        target.resolve((0, 1, 2), ROW, CLASSES)


def test_one_class_has_no_runner_up() -> None:
    """There is nobody behind the first."""
    with pytest.raises(TargetError, match="two classes or more for the runner-up"):
        target.resolve("runner-up", [1.0], ("only",))


def test_scores_are_read_off_each_row() -> None:
    """An index takes its column, a pair the difference, a function what it says."""
    rows = torch.tensor([[0.1, 0.2, 0.7], [0.5, 0.3, 0.2]])
    assert target.pick(2, rows).tolist() == rows[:, 2].tolist()
    assert target.pick((0, 1), rows).tolist() == (rows[:, 0] - rows[:, 1]).tolist()
    assert target.pick(lambda each: each.max(1).values, rows).tolist() == rows.max(1).values.tolist()


def test_a_target_function_must_return_one_score_a_row() -> None:
    """A scalar would be spread over the batch without a word."""
    with pytest.raises(TargetError, match=r"one score a row, shape \(2,\), got \(\)"):
        target.pick(lambda each: each.sum(), torch.ones(2, 3))


@pytest.mark.parametrize("wanted", [3, -1, (0, 3)])
def test_reading_a_class_that_is_not_there_is_refused(wanted: object) -> None:
    """A method may be called without `explain`, which resolves targets."""
    with pytest.raises(TargetError, match="expected a class from 0 to 2, got"):
        target.pick(wanted, torch.ones(2, 3))


def test_targets_are_named_in_words() -> None:
    """The record and the page say what was explained."""
    assert target.describe(2, CLASSES) == "ox"
    assert target.describe((2, 1), CLASSES) == "ox − crane"
    assert target.describe(len, CLASSES) == "len"
