"""From a case and measures to figures: each stamped with its protocol and what it cost."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from salience import registry
from salience.case import Better, Case, Explain, Measure
from salience.engine.query.run import current, start_run
from salience.errors import SettingError
from salience.types import BlackBox, Image, Map, OpenBox, Target


@dataclass(frozen=True)
class Measurement:
    """A number with the protocol that it was taken by."""

    protocol: str  # the spec that makes the measure again: "deletion/rise-2018"
    value: float  # NaN where the measure is not defined for the case
    better: Better
    passes: int
    seconds: float
    evidence: Mapping[str, Any] = field(default_factory=dict, repr=False)


def make_measures(specs: Sequence[Any]) -> list[Measure]:
    """Make measures of their specs, each once."""
    made = [registry.make_measure(each) for each in specs]
    twice = {each for each in map(registry.stamp, made) if [registry.stamp(one) for one in made].count(each) > 1}
    if twice:
        raise SettingError(f"expected each measure once, got {', '.join(sorted(twice))} twice: leave one out")
    return made


def find_missing(measure: Measure, case: Case) -> str | None:
    """Say what a measure needs and a case has not; None where nothing is missing."""
    missing = {
        "truth": ("the place of the object", case.truth is None),
        "method": ("the method of the map", case.explain is None),
        "gradients": ("a box with gradients", not isinstance(case.box, OpenBox)),
        "spent": ("what the map cost", case.spent is None),
    }
    return next((missing[need][0] for need in measure.needs if missing[need][1]), None)


def measure_case(case: Case, measure: Measure, batch: int | None = None) -> Measurement:
    """Measure one case; SettingError where something that the measure needs is missing."""
    missing = find_missing(measure, case)
    if missing is not None:
        raise SettingError(f"expected {missing} for {registry.stamp(measure)}, got none: leave the measure out")
    began = time.perf_counter()
    with start_run(batch=batch) as run:
        found = measure(case)
    seconds = time.perf_counter() - began
    return Measurement(registry.stamp(measure), float(found.value), measure.better, run.passes, seconds, found.evidence)


def make_explain(method: Any, budget: Any, batch: int | None) -> Explain:
    """Make the function that asks a method once more; its passes count as the measure's."""

    def explain(box: BlackBox, image: Image, target: Target, seed: int | None) -> Map:
        seeded = any(each.name == "seed" for each in registry.list_settings(type(method)))
        changed = replace(method, seed=seed) if seeded and seed is not None else method
        outer = current.get()
        with start_run(budget, batch) as run:
            saliency: Map = changed(box, image, target)
        if outer is not None:
            outer.count(run.passes)
        return saliency.detach()

    return explain
