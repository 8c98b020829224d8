"""Whose maps does coarse rounding change? Methods that sample, in bfloat16 and in exact: `python -m benchmarks.precision`.

The same seed in both backends, so that the masks are the same and only the scores' rounding differs. Beside it two seeds of
the reference, which differ by chance, on the first two pictures. Rank agreement of the maps, mean and least over pictures.

    python -m benchmarks.precision --reference openvino                 float32 in place of exact, three times as fast
    python -m benchmarks.precision --backend openvino --methods sobol   does float32 by itself agree with exact?
"""

from __future__ import annotations

import argparse
import random
import sys

from torch import Tensor

import salience
from benchmarks import data, table
from salience.engine.maps import rank_agreement

PASSES = {  # four designs of Sobol, and more masks than cells where a system is solved
    "sobol": 264,
    "hsic": 264,
    "kernel-shap": 264,
    "lime": 264,
    "hipe": 132,
    "rise": 132,
    "mc-rise": 132,
    "multiscale-rise": 132,
    "occlusion": 132,
    "iassa": 132,
    "de-cam": 132,
}
SEEDED = 2  # pictures that are explained with another seed as well


def main() -> None:
    """Explain the same pictures in both backends, compare, print."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--pictures", type=int, default=6)
    options.add_argument("--methods", default=",".join(PASSES))
    options.add_argument("--reference", default="exact")
    options.add_argument("--backend", default="openvino bfloat16")
    given = options.parse_args()
    pictures = random.Random(5).sample(data.list_photographs(), given.pictures)
    boxes = [salience.load("zoo:efficientnet-lite0", backend=name) for name in (given.reference, given.backend)]
    agreed: dict[str, list[float]] = {name: [] for name in given.methods.split(",")}
    by_chance: dict[str, list[float]] = {name: [] for name in agreed}
    for number, picture in enumerate(pictures):
        for name, found in agreed.items():

            def explain(box: object, seed: int = 0, name: str = name, picture: object = picture) -> Tensor:
                seeds = {} if name in ("hipe", "occlusion") else {"seed": seed}
                return salience.explain(box, picture, name, budget=PASSES[name], **seeds).saliency

            one, other = map(explain, boxes)
            found.append(rank_agreement(one, other))
            if number < SEEDED:
                by_chance[name].append(rank_agreement(one, explain(boxes[0], seed=1)))
            print(number, name, round(found[-1], 4), by_chance[name][number:], file=sys.stderr, flush=True)
    words = f"{given.backend} against {given.reference}, N = {len(pictures)} photographs"
    print(table.format_heading(None, f"zoo:efficientnet-lite0, {words}"))
    print("| method | passes | ρ, mean | ρ, least | two seeds, ρ |\n" + "|---" * 5 + "|")
    for name, found in agreed.items():
        chance = sum(by_chance[name]) / len(by_chance[name])
        print(f"| {name} | {PASSES[name]} | {sum(found) / len(found):.4f} | {min(found):.4f} | {chance:.2f} |")


if __name__ == "__main__":
    main()
