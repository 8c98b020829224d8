"""Measure an explanation: each figure stamped with its protocol and what it cost."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from salience import registry, specs
from salience.case import Better, Case, Measure, Sample
from salience.engine import target as targets
from salience.engine.query.budget import Budget
from salience.engine.query.run import start_run
from salience.errors import BoxError, SettingError, show
from salience.explanation import Explanation
from salience.tasks.assemble_case import assemble_case
from salience.tasks.prepare import fit_picture
from salience.types import BlackBox, OpenBox, QuestionBox, Target


@dataclass(frozen=True)
class Measurement:
    """A number with the protocol that it was taken by.

    >>> Measurement("sparsity/gini", 0.5, "higher", passes=0, seconds=0.0)
    Measurement(protocol='sparsity/gini', value=0.5, better='higher', passes=0, seconds=0.0)
    """

    protocol: str  # the spec that makes the measure again: "deletion/rise-2018"
    value: float  # NaN where the measure is not defined for the case
    better: Better
    passes: int
    seconds: float
    evidence: Mapping[str, Any] = field(default_factory=dict, repr=False)


def measure(
    box: Any,
    why: Explanation,
    measures: Sequence[Any],
    *,
    target: Target | None = None,
    truth: Any = None,
    batch: int | None = None,
    trust: bool = False,
) -> list[Measurement]:
    """Measure an explanation: one figure a measure, each stamped with its protocol.

    `measures` are specs like "deletion", "average-drop/sise-15" or "sparsity/gini" (`salience list measures`), or
    measure objects. `truth` is where the object is: a mask of the photograph's size, white on black, as anything that
    `picture.read` takes. `target` is needed only where the explanation is of a contrast or a function. `trust` lets the
    explanation's settings name boxes that run code, as those of a file of your own may. Raises
    SettingError where a measure needs something that is not there, BoxError for another box than the one explained.

    >>> import torch
    >>> from salience import explain
    >>> why = explain("toy:colour", torch.rand(3, 32, 32), "occlusion", window=8, stride=8)
    >>> [(each.protocol, each.better) for each in measure("toy:colour", why, ["sparsity", "deletion"])]
    [('sparsity/gini', 'higher'), ('deletion/rise-2018', 'lower')]
    """
    box = ask_again(specs.open_box(box), why)
    if box.fingerprint != why.box["fingerprint"]:
        raise BoxError(f"expected the box that was explained, {why.box['name']}, got another: {box.name}; load that one")
    wanted = why.target.index if target is None else target
    if wanted is None:
        raise SettingError(f"expected the target for an explanation of {why.target.name}, got none: give target=")
    target = targets.resolve(wanted, [0.0] * len(box.classes), box.classes)
    if not isinstance(trust, bool):  # "no" would be yes
        raise SettingError(f"expected true or false for trust, got {show(trust)}")
    if not trust:
        specs.expect_harmless(why.settings, f"the explanation of {why.image}", "measure it with trust (--trust)")
    method = registry.make_method(why.method, **why.settings)
    budget = None if why.budget == str(Budget()) else why.budget
    sample = Sample(why.image, why.picture, mask=truth)
    case = assemble_case(box, why, sample, target, method, budget=budget, batch=batch)
    return [measure_case(case, each, batch) for each in make_measures(measures)]


def ask_again(box: BlackBox, why: Explanation) -> BlackBox:
    """Ask a model about the places of an explanation again; a box of classes stays as it is.

    >>> import torch
    >>> from salience import explain
    >>> from salience.boxes import toy
    >>> box = toy.load("colour")
    >>> ask_again(box, explain(box, torch.rand(3, 32, 32), "occlusion", window=16, stride=16)) is box
    True
    """
    if not isinstance(box, QuestionBox):
        return box
    image, geometry = fit_picture(box, why.picture)
    places = (why.box.get("question") or {}).get("places", {})
    own = tuple(name for name in places if " at " in name)  # places that its user named
    return box.ask(image, geometry, own if len(own) == 2 else own[0] if own else None)[0]


def make_measures(wanted: Sequence[Any]) -> list[Measure]:
    """Make measures of their specs, each once.

    >>> [specs.write_measure(measure) for measure in make_measures(["deletion", "sparsity/gini"])]
    ['deletion/rise-2018', 'sparsity/gini']
    """
    if not isinstance(wanted, (list, tuple)):
        raise SettingError(f"expected a list of measures, got {show(wanted)}: see `salience list measures`")
    measures = [specs.make_measure(spec) for spec in wanted]
    stamps = [specs.write_measure(each) for each in measures]
    twice = {stamp for stamp in stamps if stamps.count(stamp) > 1}
    if twice:
        raise SettingError(f"expected each measure once, got {', '.join(sorted(twice))} twice: leave one out")
    return measures


def find_missing(measure: Measure, case: Case) -> str | None:
    """Say what a measure needs and a case has not; None where nothing is missing.

    >>> import torch
    >>> from salience.boxes import toy
    >>> case = Case(toy.load("colour"), torch.rand(3, 32, 32), 0, torch.rand(32, 32))
    >>> find_missing(specs.make_measure("pointing-game"), case)
    'the place of the object'
    """
    missing = {
        "truth": ("the place of the object", case.truth is None),
        "method": ("the method of the map", case.explain is None),
        "gradients": ("a box with gradients", not isinstance(case.box, OpenBox)),
        "spent": ("what the map cost", case.spent is None),
    }
    return next((missing[need][0] for need in measure.needs if missing[need][1]), None)


def measure_case(case: Case, measure: Measure, batch: int | None = None) -> Measurement:
    """Measure one case; SettingError where something that the measure needs is missing.

    >>> import torch
    >>> from salience.boxes import toy
    >>> case = Case(toy.load("colour"), torch.rand(3, 32, 32), 0, torch.ones(32, 32))
    >>> measure_case(case, specs.make_measure("sparsity")).value
    0.0
    """
    missing = find_missing(measure, case)
    if missing is not None:
        raise SettingError(f"expected {missing} for {specs.write_measure(measure)}, got none: leave the measure out")
    began = time.perf_counter()
    with start_run(batch=batch) as run:
        result = measure(case)
    seconds = time.perf_counter() - began
    return Measurement(
        specs.write_measure(measure), float(result.value), measure.better, run.passes, seconds, result.evidence
    )
