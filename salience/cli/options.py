"""The options of `salience explain` that do not depend on the method. The comment behind each is its help."""

from __future__ import annotations

from dataclasses import MISSING, dataclass
from inspect import Parameter as Argument
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Group, Parameter

if TYPE_CHECKING:
    from salience.registry import Setting


@dataclass(frozen=True)
class Options:
    """What to explain, with what, at what cost, and where it goes."""

    box: str = "zoo:efficientnet-lite0"  # the classifier, as kind:name (see `salience list boxes`)
    method: str | None = None  # how to explain (see `salience list methods`); none given: iassa with variant plus
    target: str = "predicted"  # the class: predicted, runner-up, an index, or a name (see `salience list classes`)
    versus: str | None = None  # a second class: explain what speaks for the target rather than for this one
    budget: str | None = None  # what a picture may cost, as in 2000, "2000 passes" or 10s; none given: the method's own
    tolerance: float | None = None  # stop sampling when the halves' maps agree in rank by 1 minus this, as in 0.1
    seed: int = 0  # the same seed gives the same map
    out: str = "salience-out"  # the folder for pictures and records; made where it is missing
    json: bool = False  # print one JSON object a picture on standard output, and nothing else
    record: bool = True  # also save NAME.salience, which loads again with everything in it
    lane: str = "auto"  # how passes run: exact; auto, the fastest way whose scores agree with exact; or a lane by name
    batch: int | None = None  # images a pass through the box; none given: found out on this machine


def flags(settings: list[Setting], heading: str) -> list[Argument]:
    """Turn settings into options under a heading; an option that is not given is not passed on."""
    group = Group.create_ordered(heading)
    made = []
    for each in settings:
        negative = "" if each.name == "json" else None
        shown = None if each.default not in (None, MISSING, False) else False
        look = Parameter(help=each.help, group=group, negative=negative, show_default=shown)
        hint: Any = Annotated[each.type, look]
        default = None if each.default is MISSING else each.default
        made.append(Argument(each.name, Argument.KEYWORD_ONLY, default=default, annotation=hint))
    return made
