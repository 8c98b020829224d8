"""Do the maps of the backend `auto` agree with those of the exact one? `python -m benchmarks.agreement`.

Prints, for RISE and for occlusion as it comes, the rank agreement of the two maps on the same masks, and what the backend
check saw.
"""

from __future__ import annotations

import argparse
import random

from rich.progress import track

from benchmarks import data, table
from salience.engine import maps
from salience.methods.occlusion import Occlusion
from salience.methods.rise import Rise
from salience.picture import read


def main() -> None:
    """Explain the same pictures in both backends and compare."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--pictures", type=int, default=6)
    options.add_argument("--masks", type=int, default=400)
    options.add_argument("--boxes", nargs="*", default=["efficientnet-lite0", "vit-tiny", "mobilenet-v2"])
    given = options.parse_args()
    chosen = random.Random(5).sample(data.list_photographs(), given.pictures)
    methods = {f"RISE (centred), {given.masks} masks": Rise(given.masks, estimator="centred"), "occlusion": Occlusion()}
    print(table.format_heading(None, f"N = {len(chosen)} photographs"))
    print("| box | backend | check: mean difference | check: rank agreement | method | maps' ρ, mean | maps' ρ, least |")
    print("|---" * 7 + "|")
    for name in given.boxes:
        exact, fast = data.BOXES[name]("exact"), data.BOXES[name]("auto")
        agreed: dict[str, list[float]] = {method: [] for method in methods}
        for photograph in track(chosen, name, transient=True):
            image, _ = exact.preparation(read(photograph))  # type: ignore[attr-defined]  # all boxes here have one
            top = int(exact(image[None])[0].argmax())
            for method, explain in methods.items():
                agreed[method].append(maps.rank_agreement(explain(exact, image, top), explain(fast, image, top)))
        check = fast.check  # type: ignore[attr-defined]  # as above
        seen = f"{name} | {fast.backend} | {check['mean difference']:.4f} | {check['rank agreement']:.4f}"
        for method, found in agreed.items():
            print(f"| {seen} | {method} | {sum(found) / len(found):.4f} | {min(found):.4f} |", flush=True)


if __name__ == "__main__":
    main()
