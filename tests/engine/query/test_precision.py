"""A method that amplifies rounding gets passes in float32, and nobody else is slowed down by it."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch

import salience
from salience import registry
from salience.boxes import toy
from salience.describe.explanation import describe_backend
from salience.engine.maps import rank_agreement
from salience.engine.query.ask import choose_backend
from salience.engine.query.precision import list_admitted, refine
from salience.estimates import PreciseMethod
from salience.explanation import Explanation
from salience.runtime import backends
from salience.types import BackendBox
from tests.helpers import Asked, noise

SOBOL = registry.make_method("sobol")
PICTURE = noise(3, 8, 8, dtype=torch.float32)
WEIGHTS = noise(3, 8, 8, seed=1, dtype=torch.float32)


def weigh(images: torch.Tensor) -> torch.Tensor:
    """Score two classes by pixels that matter more or less, and by pairs of rows."""
    pixels = (images * WEIGHTS).sum(1)
    score = torch.sigmoid(0.2 * (pixels.sum((1, 2)) - (pixels[:, ::2] * pixels[:, 1::2]).sum((1, 2))))
    return torch.stack([1 - score, score], dim=1)


class Coarse(Asked, BackendBox):
    """A box whose fastest backend rounds its scores to three digits in base two."""

    def __init__(self, backend: str = "auto") -> None:
        super().__init__(weigh)
        self.automatic = backend == "auto"
        self.backend, self.backend_chosen, self.check = backend.replace("auto", "exact"), not self.automatic, {}

    def choose_backend(self, images: torch.Tensor, *, anew: bool = False) -> None:
        """Take the first that is admitted."""
        self.backend, self.backend_chosen = list_admitted(self, ("torch bfloat16", "exact"))[0], True

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Round where it is coarse."""
        scores = super().__call__(images)
        return (scores * 32).round() / 32 if "16" in self.backend else scores


def explain(box: Coarse, method: str = "sobol") -> Explanation:
    """Explain the picture with few passes."""
    return salience.explain(box, PICTURE, method, target=1, budget=144, cells=4)


def test_a_method_that_amplifies_rounding_gets_another_backend_than_the_others() -> None:
    """The map is that of exact, and the box's own choice stays."""
    box, exact = Coarse(), explain(Coarse("exact")).saliency
    rise, sobol = explain(box, "rise"), explain(box)
    assert (rise.box["backend"], sobol.box["backend"], box.backend) == ("torch bfloat16", "exact", "torch bfloat16")
    assert torch.equal(sobol.saliency, exact)
    assert rank_agreement(explain(Coarse("torch bfloat16")).saliency, exact) < 0.98


def test_a_backend_that_was_named_is_used() -> None:
    """Whoever names one knows it."""
    assert explain(Coarse("torch bfloat16")).box["backend"] == "torch bfloat16"


def test_the_record_says_that_the_method_asked_for_it() -> None:
    """Nobody else would know why passes are slower."""
    why = explain(Coarse())
    assert why.box["check"]["precision"] == "float32"
    assert describe_backend(why.box) == "exact passes, in float32, which the method asks for"
    assert "precision" not in explain(Coarse(), "rise").box["check"]


def test_two_methods_at_once_keep_their_backends() -> None:
    """Each computes with a box of its own, of one network."""
    box, exact = Coarse(), explain(Coarse("exact")).saliency
    with ThreadPoolExecutor(4) as threads:
        records = list(threads.map(lambda method: explain(box, method), ["rise", "sobol"] * 6))
    assert {each.box["backend"] for each in records[::2]} == {"torch bfloat16"}
    assert all(torch.equal(each.saliency, exact) for each in records[1::2])


def test_what_is_set_on_a_box_is_set_on_its_finer_copy() -> None:
    """The copy is made once, and so knows the size of its batches; it is no second truth."""
    box = Coarse()
    finer = refine(box, SOBOL)
    box.name = "renamed"
    assert refine(box, SOBOL) is finer is refine(finer, SOBOL)
    assert (finer.name, finer.backend_chosen) == ("renamed", False)


def test_a_choice_that_is_precise_enough_is_not_made_again() -> None:
    """Where a box computes in float32 already, choosing would cost passes for nothing."""
    box = Coarse()
    box.backend, box.backend_chosen, box.check = "openvino", True, {"speed-up": 3.0}
    finer = refine(box, SOBOL)
    assert isinstance(finer, BackendBox)
    assert (finer.backend, finer.backend_chosen, finer.check) == ("openvino", True, {"speed-up": 3.0})


def test_a_network_chooses_among_what_is_precise_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """And what it chose is remembered apart from what it takes for other methods."""
    asked: dict[str, Sequence[str]] = {}

    def choose(_score: Any, _images: Any, about: str, admitted: Sequence[str], **_: Any) -> tuple[str, dict[str, Any]]:
        asked[about] = admitted
        return admitted[0], {}

    monkeypatch.setattr(backends, "choose_remembered", choose)
    box = toy.load("colour", backend="auto")
    choose_backend(box, toy.picture())
    choose_backend(refine(box, SOBOL), toy.picture())
    coarse = [{each for each in admitted if each.endswith("bfloat16")} for admitted in asked.values()]
    assert (len(coarse), "torch bfloat16" in coarse[0], coarse[1]) == (2, True, set())


def test_the_methods_that_ask_for_float32_are_those_that_were_measured_to_need_it() -> None:
    """docs/results/precision.md has the figures."""
    classes = {name: registry.find_method(name) for name in registry.list_names("methods")}
    assert {name for name, each in classes.items() if isinstance(each, PreciseMethod)} == {"hipe", "sobol"}
