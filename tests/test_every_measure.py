"""One contract for every measure in the register, in each of its protocols."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any, get_args

import pytest
import torch
from torch import Tensor

from salience import registry, specs
from salience.boxes import toy
from salience.case import Case, Cost, Explain, Measure
from salience.engine import seeding
from salience.engine.query.run import start_run
from salience.methods.gradient import Gradient
from salience.tasks.measure import measure_case
from salience.types import Image, Map, Target
from tests.helpers import Asked, apart

SIDE = 64
MORE = {"randomisation/labels": "?other=toy:colour%3Fsize=64"}  # what a protocol cannot do without


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


def with_slow(every: list[Any]) -> list[Any]:
    """Mark as slow all protocols of a measure but the first."""
    seen, found = set[type[Any]](), []
    for each in every:
        kind = type(each.values[0])
        found.append(each if kind not in seen else pytest.param(*each.values, id=each.id, marks=pytest.mark.slow))
        seen.add(kind)
    return found


every = pytest.mark.parametrize("measure", roster())
first_of_each = pytest.mark.parametrize(
    "measure", with_slow(roster())
)  # a measure's other protocols only by `make test-all`


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


def upside_down() -> Map:
    """Draw a map that is lowest on the patch."""
    return 1 - case().saliency / 2


def with_a_rival(top: int, left: int) -> Case:
    """Make the case of a red and a green patch, whose map is the square at a place."""
    image, saliency = toy.picture(SIDE), 1e-3 * random()
    image[:, 40:48, 40:48] = torch.tensor([0.0, 1, 0])[:, None, None]
    saliency[top : top + 8, left : left + 8] += 1
    return replace(case(saliency), image=image)


def all_red(target: int) -> Case:
    """Make the case of an image that no small change makes green."""
    image = torch.zeros(3, SIDE, SIDE)
    image[0] = 1
    return replace(case(), image=image, target=target)


def of_a_sum(saliency: Map) -> Case:
    """Make the case of a box that adds up the pixels of the patch, each channel alike."""
    truth = case().place

    def add(images: Tensor) -> Tensor:
        share = (images.mean(1) * truth).sum((1, 2)) / truth.sum()
        return torch.stack([share, 1 - share], dim=1)

    return replace(case(saliency), box=Asked(add, SIDE))


def of_a_difference(saliency: Map) -> Case:
    """Make the case of a box that subtracts what lies beside the patch, so that its output rises where that is hidden."""
    box = toy.linear(2 * case().place.float() - 1)
    return replace(case(saliency), box=box, image=torch.ones(3, SIDE, SIDE), target=1)


def by(explain: Explain) -> Case:
    """Make the case of a method."""
    return replace(case(), explain=explain)


def steady(box: Any, image: Image, target: Target, seed: int | None) -> Map:
    """Give one map for everything."""
    return case().saliency


def nervous(box: Any, image: Image, target: Target, seed: int | None) -> Map:
    """Give another map for another image and another seed."""
    return torch.rand(SIDE, SIDE, generator=seeding.generator(seed or 0, str(float(image.double().sum()))))


# A better case and a worse, where a map on the patch and one without meaning do not differ in what is measured.
PAIRS: dict[str, Callable[[], tuple[Case, Case]]] = {
    "accuracy/pgd": lambda: (all_red(0), case()),  # what is faint gives way
    "accuracy": lambda: (all_red(0), all_red(1)),
    "cost": lambda: (case(), replace(case(), spent=Cost(4, 0.6, 2000))),
    "increase/grad-cam-logit": lambda: (of_a_difference(case().place.float()), of_a_difference(upside_down())),
    "increase": lambda: (with_a_rival(6, 14), with_a_rival(40, 40)),
    "infidelity/gaussian": lambda: (of_a_sum(case().place.float()), of_a_sum(random())),
    "max-sensitivity": lambda: (by(steady), by(nervous)),
    "randomisation": lambda: (case(), by(steady)),
    "road": lambda: (case(), case(upside_down())),
    "stability": lambda: (by(steady), by(nervous)),
}


@every
def test_a_better_case_has_the_better_value_in_the_declared_direction(measure: Measure) -> None:
    """The patch is all that the box looks at; for measures of something else there is a pair of their own."""
    name = specs.write_measure(measure)
    make = next((PAIRS[each] for each in PAIRS if name.startswith(each)), lambda: (case(), case(random())))
    good, poor = (measure_case(each, measure).value for each in make())
    assert math.isfinite(good)
    assert math.isfinite(poor)
    if measure.better == "neither":
        assert abs(good - poor) > 0.01
    else:
        assert good > poor if measure.better == "higher" else good < poor


@first_of_each
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


@first_of_each
def test_the_batch_size_does_not_change_the_value(measure: Measure) -> None:
    """It is the model's business, not the protocol's."""
    one, other = (measure_case(case(), measure, batch=size).value for size in (4, 9))
    assert one == pytest.approx(other, abs=1e-5, nan_ok=True)


@every
def test_its_stamp_makes_it_again(measure: Measure) -> None:
    """A number can be taken again from what is printed beside it."""
    stamp = specs.write_measure(measure)
    assert specs.make_measure(stamp) == measure
    assert specs.write_measure(specs.make_measure(stamp)) == stamp


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


@first_of_each
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
