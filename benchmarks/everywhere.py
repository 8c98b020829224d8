"""Every black-box method on every real picture at a small budget: nothing fails, no map is blank.

    python -m benchmarks.everywhere                        200 photographs on the default box
    python -m benchmarks.everywhere --box vgg16 --pictures 20

Prints one line a method: pictures, failures, blank maps, passes and seconds a picture.
"""

from __future__ import annotations

import argparse
import random
import time
from typing import Any

from rich.progress import track

import salience
from benchmarks import data, table
from salience import specs

SMALL: dict[str, dict[str, Any]] = {
    "rise": {"method": "rise", "masks": 64},
    "occlusion": {"method": "occlusion", "window": 96, "stride": 48},
    "iassa official": {
        "method": "iassa",
        "variant": "official",
        "window": 96,
        "stride": 48,
        "rounds": 2,
        "features": "none",
    },
    "iassa intent": {"method": "iassa", "variant": "intent", "window": 96, "stride": 48, "rounds": 1},
    "iassa plus": {"method": "iassa", "variant": "plus", "budget": 128},
}
TOYS = ("toy:colour?size=224", "toy:corner?size=224")


def main() -> None:
    """Run them all and print the table."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--box", default="efficientnet-lite0", choices=[*data.BOXES, *TOYS])
    options.add_argument("--pictures", type=int, default=200)
    given = options.parse_args()
    box = data.BOXES[given.box]() if given.box in data.BOXES else specs.open_box(given.box)
    pictures = data.list_photographs()
    chosen = pictures if given.pictures >= len(pictures) else random.Random(0).sample(pictures, given.pictures)
    rows: dict[str, list[float]] = {name: [0, 0, 0, 0] for name in SMALL}
    for photograph in track(chosen, given.box):
        for name, settings in SMALL.items():
            began = time.perf_counter()
            try:
                why = salience.explain(box, photograph, **settings)
            except Exception as problem:  # noqa: BLE001  # a failure is a figure of this table
                print(f"{photograph.name} {name}: {type(problem).__name__}: {problem}")
                rows[name][0] += 1
                continue
            rows[name][1] += bool(why.notes)
            rows[name][2] += why.passes
            rows[name][3] += time.perf_counter() - began
            for note in why.notes:
                print(f"{photograph.name} {name}: {note}")
    print(table.format_heading(box, f"N = {len(chosen)} photographs"))
    print("| method | pictures | failures | blank maps | passes a picture | seconds a picture |\n|---|---|---|---|---|---|")
    for name, (failed, blank, passes, seconds) in rows.items():
        n = len(chosen)
        print(f"| {name} | {n} | {failed:.0f} | {blank:.0f} | {passes / n:.0f} | {seconds / n:.2f} |")


if __name__ == "__main__":
    main()
