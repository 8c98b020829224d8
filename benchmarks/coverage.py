"""How often the error maps hold: 95 % intervals of maps of few masks, against a reference of 50,000.

    python -m benchmarks.coverage --box mnist-lenet5-cln --pictures 2 --seeds 10
    python -m benchmarks.coverage --box efficientnet-lite0 --pictures 1 --seeds 6 --but "mc-rise"

`held` is the share of pixels whose interval, 1.96 errors to both sides, holds the reference; `error / distance` the
error's root mean square over that of what the map is off. The reference is the same method with other masks; a
design of masks changes no expectation, so all have one reference. LIME and KernelSHAP are not here: each seed cuts the
picture anew, so there is no common truth.
"""

from __future__ import annotations

import argparse
import itertools
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import torch
from rich.progress import track

from benchmarks import data, small, table
from salience import registry
from salience.engine.query import loop
from salience.engine.query.run import start_run
from salience.engine.query.score_cache import share_scores
from salience.estimates import Estimate
from salience.types import BlackBox, Image

METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "rise": ("rise", {}),
    "rise, normalised": ("rise", {"estimator": "normalised"}),
    "rise, centred": ("rise", {"estimator": "centred"}),
    "rise, ridge": ("rise", {"estimator": "ridge"}),
    "rise, centred, antithetic": ("rise", {"estimator": "centred", "design": "antithetic"}),
    "rise, centred, stratified": ("rise", {"estimator": "centred", "design": "stratified"}),
    "rise, centred, sobol": ("rise", {"estimator": "centred", "design": "sobol"}),
    "mc-rise": ("mc-rise", {}),
    "multiscale-rise": ("multiscale-rise", {}),
}

SMALL = {"mnist-lenet5-cln": small.lenet, "cifar10-resnet20": lambda: small.cifar(20)}


def main() -> None:
    """Print a table."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--box", default="mnist-lenet5-cln", choices=[*SMALL, *data.BOXES])
    options.add_argument("--pictures", type=int, default=8)
    options.add_argument("--seeds", type=int, default=20)
    options.add_argument("--masks", type=int, default=2048)
    options.add_argument("--reference", type=int, default=50_000)
    options.add_argument("--but", default="", help="methods of the table to leave out, with semicolons")
    given = options.parse_args()
    wanted = [each for each in METHODS if each not in given.but.split(";")]
    box = (SMALL | data.BOXES)[given.box]()
    rows: dict[str, list[dict[str, float]]] = defaultdict(list)
    for image, top in track(list(itertools.islice(iterate_pictures(box), given.pictures)), "pictures"):
        with share_scores():  # RISE's estimators share their masks
            for name in wanted:
                rows[name].append(measure_coverage(box, image, top, name, given))
    words = f"{given.masks:,} masks against {given.reference:,}; N = {given.pictures} pictures × {given.seeds} seeds"
    print(table.format_heading(box, words))
    print(table.format_rows(rows, lead="method"))


def iterate_pictures(box: BlackBox) -> Iterator[tuple[Image, int]]:
    """Give pictures with the class that the box finds in them."""
    if box.name in SMALL:
        for image in (small.read_mnist_pictures if "mnist" in box.name else small.read_cifar_pictures)(40)[0]:
            yield image, int(box(image[None])[0].argmax())
    else:
        for _, image, _, top in data.iterate_recognised(
            data.sample_cases(data.read_cases("imagenette", "coco"), 277, seed=3), box
        ):
            yield image, top


def measure_coverage(box: BlackBox, image: Image, top: int, name: str, given: argparse.Namespace) -> dict[str, float]:
    """Compare the maps of some seeds with the reference of another."""
    plain = "rise, centred" if name.startswith("rise, centred") else name
    truth = run_method(box, image, top, plain, given.reference, seed=10**6)
    inside, squares, errors = [], [], []
    for seed in range(given.seeds):
        one = run_method(box, image, top, name, given.masks, seed)
        error = sum(each.error.square() for each in (one, truth) if each.error is not None)
        error, off = torch.as_tensor(error).sqrt(), (one.saliency - truth.saliency).abs()
        inside.append((off < 1.96 * error).float().mean())
        squares.append(off.square().mean())
        errors.append(error.square().mean())
    ratio = torch.stack(errors).mean() / torch.stack(squares).mean()
    return {"held": float(torch.stack(inside).mean()), "error / distance": float(ratio.sqrt())}


def run_method(box: BlackBox, image: Image, top: int, name: str, masks: int, seed: int) -> Estimate:
    """Run one method to its end."""
    method, settings = METHODS[name]
    with start_run(masks, 64 if image.shape[-1] < 64 else 8):
        return loop.run_to_end(registry.make_method(method, **settings, seed=seed).watch(box, image, top))


if __name__ == "__main__":
    main()
