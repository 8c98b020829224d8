"""One map, many numbers: the same Grad-CAM maps of the same pictures, by every protocol of a measure's name.

    python -m benchmarks.average_drop

The predicted class of Imagenette pictures that the box gets right, drawn by seed. A mean leaves out the pictures for
which a protocol gives no number; N says how many are left.
"""

from __future__ import annotations

import argparse
import itertools
import math
from typing import get_args

from rich.progress import track

from benchmarks import data, table
from salience import registry, specs
from salience.case import Case, Measure
from salience.tasks.measure import measure_case

NAMES = ("average-drop", "increase", "insertion", "deletion")


def main() -> None:
    """Explain, measure, print."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--pictures", type=int, default=30)
    options.add_argument("--box", default="efficientnet-lite0", choices=data.BOXES)
    given = options.parse_args()
    box = data.BOXES[given.box]()
    pool = data.iterate_recognised(data.sample_cases(data.read_cases("imagenette"), 200), box)
    chosen = list(itertools.islice(pool, given.pictures))
    measures = [measure for name in NAMES for measure in list_protocols(name)]
    values: dict[str, list[float]] = {specs.write_measure(each): [] for each in measures}
    for _, image, truth, top in track(chosen, "pictures"):
        case = Case(box, image, top, registry.make_method("grad-cam")(box, image, top), truth)
        for measure in measures:
            figure = measure_case(case, measure)
            values[figure.protocol].append(figure.value)
    print(table.format_heading(box, f"Grad-CAM, predicted class, {len(chosen)} pictures"))
    print("| measure | better | mean | N |\n|---|---|---|---|")
    for measure in measures:
        found = [each for each in values[specs.write_measure(measure)] if not math.isnan(each)]
        mean = f"{sum(found) / len(found):.3f} ± {table.half_interval(found):.3f}" if found else "not defined"
        print(f"| {specs.write_measure(measure)} | {measure.better} | {mean} | {len(found)} |")


def list_protocols(name: str) -> list[Measure]:
    """Make a measure by each of its protocols."""
    (protocol, *_) = registry.list_settings(type(specs.make_measure(name)))
    return [specs.make_measure(f"{name}/{each}") for each in get_args(protocol.type)]


if __name__ == "__main__":
    main()
