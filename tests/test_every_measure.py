"""One contract for every measure in the register, in each of its protocols."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import Any, get_args

import pytest
import torch

from salience import registry, specs
from salience.boxes import toy
from salience.case import Case, Cost, Measure
from salience.engine import seeding
from salience.engine.query.run import start_run
from salience.methods.gradient import Gradient
from salience.tasks.measure import measure_case
from salience.types import Map
from tests.helpers import apart

SIDE = 64
MORE = {"randomisation/labels": "?other=toy:colour%3Fsize=64"}  # what a protocol cannot do without
AGREEMENT = ("road/lerf-2022", "road/ptame-lerf")  # a few red pixels left are enough to agree, so both maps may reach all
NO_WORD_ON_PLACE = ("increase", "infidelity/gaussian", "accuracy")  # no score that can rise; flat maps fit; no map at all


def roster() -> list[Any]:
    """Make every measure in every protocol."""
    found = []
    for name in registry.list_names("measures"):
        cls = specs.make_measure(name)
        (protocol, *_) = registry.list_settings(type(cls))
        assert protocol.name == "protocol", f"{name}: the first field is the protocol"
        found += [pytest.param(_made(f"{name}/{each}"), id=f"{name}/{each}") for each in get_args(protocol.type)]
    return found


def _made(spec: str) -> Any:
    return specs.make_measure(spec + MORE.get(spec, ""))


every = pytest.mark.parametrize("measure", roster())


def case(saliency: Map | None = None) -> Case:
    """Make the case of a red patch on grey, whose good map is the patch, a little higher in its middle."""
    truth = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    truth[6:14, 14:22] = True
    rows, columns = torch.arange(SIDE)[:, None] - 9.5, torch.arange(SIDE)[None] - 17.5
    good = truth * (1 + torch.exp(-(rows**2 + columns**2) / 50)) + 1e-3 * random()
    explain = lambda box, image, target, seed: Gradient()(box, image, target)  # noqa: E731  # one line says it
    box = toy.load("colour", size=SIDE)
    return Case(box, toy.picture(SIDE), 0, good if saliency is None else saliency, truth, explain, Cost(3, 0.5, 1000))


def random() -> Map:
    """Draw a map without meaning, highest far from the patch."""
    drawn = torch.rand(SIDE, SIDE, generator=seeding.generator(3, "random map"))
    drawn[50, 5] = 1.01
    return drawn


@every
def test_a_good_map_beats_a_random_one_in_the_declared_direction(measure: Measure) -> None:
    """The patch is all that the box looks at."""
    good, poor = (measure_case(each, measure).value for each in (case(), case(random())))
    assert math.isfinite(good)
    if measure.better == "neither" or set(measure.needs) & {"spent", "method"}:
        return  # says nothing about the map itself
    if math.isnan(poor) or good == poor == 0 or specs.stamp(measure).startswith(NO_WORD_ON_PLACE):
        return  # not defined for a map without meaning
    if specs.stamp(measure) in AGREEMENT and good == poor:
        return
    assert good > poor if measure.better == "higher" else good < poor


@every
def test_measuring_twice_gives_the_same_and_changes_nothing(measure: Measure) -> None:
    """Pure functions: chance is seeded, and box, image and map are as before."""
    one = case()
    before = [one.image.clone(), one.saliency.clone(), torch.random.get_rng_state()]
    first, again = (measure_case(one, measure) for _ in range(2))
    assert first.value == again.value or math.isnan(first.value)
    assert first.passes == again.passes
    assert torch.equal(before[0], one.image)
    assert torch.equal(before[1], one.saliency)
    assert torch.equal(before[2], torch.random.get_rng_state())
    assert all(parameter.grad is None for parameter in one.box.module.parameters())  # type: ignore[attr-defined]


@every
def test_the_batch_size_does_not_change_the_value(measure: Measure) -> None:
    """It is the model's business, not the protocol's."""
    one, other = (measure_case(case(), measure, batch=size).value for size in (1, 7))
    assert one == pytest.approx(other, abs=1e-5, nan_ok=True)


@every
def test_its_stamp_makes_it_again(measure: Measure) -> None:
    """A number can be taken again from what is printed beside it."""
    stamp = specs.stamp(measure)
    assert specs.make_measure(stamp) == measure
    assert specs.stamp(specs.make_measure(stamp)) == stamp


@every
def test_what_it_needs_is_said_when_it_is_missing(measure: Measure) -> None:
    """One sentence, before a pass is made."""
    bare = replace(case(), truth=None, explain=None, spent=None)
    if set(measure.needs) & {"truth", "method", "spent"}:
        with pytest.raises(Exception, match="leave the measure out"):
            measure_case(bare, measure)


@every
def test_its_docstring_says_source_protocols_range_and_cost(measure: Measure) -> None:
    """The first line of the file is the citation; the class explains each protocol by name."""
    cls = type(measure)
    module = __import__(cls.__module__, fromlist=["x"])
    assert re.search(r"\b(19|20)\d\d\.", module.__doc__ or ""), "the file begins with a citation"
    text = f"{module.__doc__}{cls.__doc__}"
    for word in ("Range", "Cost", f'"{measure.protocol}"'):
        assert word in text, f"the docstring of {cls.__name__} has no {word}"


@every
def test_its_passes_go_through_probe(measure: Measure) -> None:
    """What the box answers is what is counted, so nothing is asked behind the counter."""
    one = case()
    one.box.layer_info()  # type: ignore[attr-defined]  # a box looks at itself once
    asked = 0

    def counting(module: Any, given: Any) -> None:
        nonlocal asked
        asked += len(given[0])

    hook = one.box.module.register_forward_pre_hook(counting)  # type: ignore[attr-defined]
    with start_run() as run:
        measure(one)
    hook.remove()
    if "method" not in measure.needs:  # those ask other boxes too
        assert asked == run.passes


def test_scores_do_not_depend_on_the_size_of_a_map() -> None:
    """A map twice as high is the same map for every measure that looks at order or share."""
    one = case()
    for spec in ("deletion", "insertion", "pointing-game"):
        values = [
            measure_case(replace(one, saliency=scale * one.saliency), specs.make_measure(spec)).value for scale in (1, 2)
        ]
        assert apart(torch.tensor(values[0]), torch.tensor(values[1])) < 1e-6
