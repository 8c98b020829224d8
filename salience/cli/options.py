"""The options of `salience explain` that do not depend on the method. The `Doc` of each is its help."""

from __future__ import annotations

from dataclasses import MISSING, dataclass
from inspect import Parameter as Argument
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Group, Parameter
from typing_extensions import Doc

if TYPE_CHECKING:
    from salience.registry import Setting

BOX = ("--box", "--model")  # one option, by either name


@dataclass(frozen=True)
class Options:
    """What to explain, with what, at what cost, and where it goes."""

    box: Annotated[str, Doc("the classifier, as kind:name (see `salience list boxes`)")] = "zoo:efficientnet-lite0"
    method: Annotated[
        str | None,
        Doc("how to explain (see `salience list methods`); none given: iassa with variant plus"),
    ] = None
    target: Annotated[
        str,
        Doc("the class: predicted, runner-up, an index, a name (`salience list classes`); of a detector 'car 2', or all"),
    ] = "predicted"
    versus: Annotated[str | None, Doc("a second class: explain what speaks for the target rather than for this one")] = None
    budget: Annotated[
        str | None,
        Doc("what a picture may cost, as in 2000, '2000 passes' or 30s; none given: the method's own passes, 10 s at most"),
    ] = None
    tolerance: Annotated[
        float | None,
        Doc("stop sampling when the halves' maps agree in rank by 1 minus this, as in 0.1"),
    ] = None
    white: Annotated[
        str | None, Doc("the value shown as white, or one a band; none given: what the file says or plainly has")
    ] = None
    black: Annotated[str | None, Doc("the value shown as black, likewise")] = None
    bands: Annotated[str | None, Doc("the bands that the classifier takes, in order, counted from 1, as in 4,3,2")] = None
    rgb: Annotated[str | None, Doc("which of these bands are drawn as red, green and blue; none given: the first three")] = (
        None
    )
    page: Annotated[int | None, Doc("which page of a file with several, counted from 1")] = None
    region: Annotated[
        str | None, Doc("a part of the picture: row, column, height, width; of a TIFF without reading the rest")
    ] = None
    patient: Annotated[bool, Doc("name the patient in the map's files of a DICOM picture, as archives want it")] = False
    seed: Annotated[int, Doc("the same seed gives the same map")] = 0
    out: Annotated[str, Doc("the folder for pictures and records; made where it is missing")] = "salience-out"
    json: Annotated[bool, Doc("print one JSON object a picture on standard output, and nothing else")] = False
    record: Annotated[bool, Doc("also save NAME.salience, which loads again with everything in it")] = True
    photograph: Annotated[
        bool, Doc("keep the photograph in the record and the picture; without it the map stands alone")
    ] = True
    band_shares: Annotated[bool, Doc("say what each band is worth, where the classifier takes other than 1 or 3")] = True
    backend: Annotated[
        str,
        Doc("how passes run: exact; auto, the fastest way whose scores agree with exact; or a backend by name"),
    ] = "auto"
    batch: Annotated[int | None, Doc("images a pass through the box; none given: found out on this machine")] = None


def make_flags(settings: list[Setting], heading: str) -> list[Argument]:
    """Turn settings into options under a heading; an option that is not given is not passed on."""
    group = Group.create_ordered(heading)
    made = []
    for each in settings:
        negative = "" if each.name == "json" else None
        shown = None if each.default not in (None, MISSING, False) else False
        names = BOX if each.name == "box" else None
        parameter = Parameter(name=names, help=each.help, group=group, negative=negative, show_default=shown)
        hint: Any = Annotated[each.type, parameter]
        default = None if each.default is MISSING else each.default
        made.append(Argument(each.name, Argument.KEYWORD_ONLY, default=default, annotation=hint))
    return made
