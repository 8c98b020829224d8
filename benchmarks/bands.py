"""Which band, and where? Networks of 4 and of 13 channels, trained on drawn scenes whose class hangs on one band.

    python -m benchmarks.bands                                   every method, both networks
    python -m benchmarks.bands --methods rise lime --scenes 20
    python -m benchmarks.bands --into docs/results/bands.md

Every scene has patches in every band; the class says whether the patch in the planted band is dark, missing or bright. A
row is a method and a network: the planted band's share of what the score loses, everywhere and where the map is high; in
how many scenes it is the first of all bands; in how many the map's peak lies in the planted patch; seconds a scene.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

import salience
from benchmarks import table
from salience import registry
from salience.boxes.torch import TorchBox
from salience.engine import seeding

SIDE, PATCH = 32, 8
CLASSES = ("dark", "nothing", "bright")
TRAINED = 2400  # scenes that a network learns from
READ = """Scenes have patches in every band; the class says whether that in the planted band is dark, missing or bright.
The planted band's share is of what the score loses when one band after the other is hidden, everywhere or where the map is
high. Then: in how many scenes it is the first of all bands; in how many the map's peak lies in the planted patch; seconds a
scene. MC-RISE paints half of the cells, mostly black in the planted band, which is evidence of another class.
"""
PLANTED = {4: 4, 13: 9}  # channels, and the band that the class hangs on, counted from 1
ELSEWHERE = {"attention-rollout", "attention-relevance", "p-tame"}  # for transformers, or trained beforehand
SETTINGS: dict[str, dict[str, Any]] = {  # windows, cells and blurs that fit 32 pixels
    "occlusion": {"window": 8, "stride": 2},
    "iassa": {"window": 12, "stride": 3, "rounds": 3},
    "de-cam": {"cells": 8},
    "extremal-perturbation": {"areas": (0.06,), "steps": 60, "cell": 4, "sigma": 3.0, "blur": 0.0},
}


@dataclass(frozen=True)
class Scene:
    """An image, its class, and the region of the patch in the planted band."""

    image: Tensor
    label: int
    region: Tensor


def draw_scene(channels: int, planted: int, number: int) -> Scene:
    """Draw a scene: grey with noise, a dark or a bright patch somewhere in every band, in the planted one by class."""
    source = seeding.generator(0, "scenes of bands", channels, number)
    image = 0.5 + 0.05 * torch.randn(channels, SIDE, SIDE, generator=source)
    label, region = number % 3, torch.zeros(SIDE, SIDE, dtype=torch.bool)
    for band in range(channels):
        top, left = torch.randint(2, SIDE - PATCH - 1, (2,), generator=source).tolist()
        sign = label - 1 if band == planted - 1 else int(torch.randint(2, (), generator=source)) * 2 - 1
        image[band, top : top + PATCH, left : left + PATCH] += 0.35 * sign
        if band == planted - 1:
            region[top : top + PATCH, left : left + PATCH] = True
    return Scene(image.clamp(0, 1), label, region)


def make_detector(channels: int, planted: int) -> nn.Module:
    """Make a network that answers by the planted band, with weights set by hand: the mean of 5×5 pixels, dark or bright."""
    net = nn.Sequential(
        nn.Conv2d(channels, 2, 5, padding=2, padding_mode="replicate"),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(2, 3),
    )
    with torch.no_grad():
        net[0].weight.zero_()
        net[0].weight[:, planted - 1] = torch.tensor([-1.0, 1.0])[:, None, None] / 25
        net[0].bias.copy_(torch.tensor([0.4, -0.6]))
        net[4].weight.copy_(torch.tensor([[600.0, 0.0], [0.0, 0.0], [0.0, 600.0]]))
        net[4].bias.copy_(torch.tensor([0.0, 2.0, 0.0]))
    return net


def train_network(channels: int, planted: int, steps: int = 300) -> nn.Module:
    """Train a small convolutional network on scenes that are drawn beforehand."""
    images, labels = draw_batch(channels, planted, range(1000, 1000 + TRAINED))
    images = (images - 0.5) / 0.25
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Conv2d(channels, 16, 3, padding=1, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(32, 3),
        )
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-2, total_steps=steps)
    for step in range(steps):
        chosen = torch.randint(TRAINED, (48,), generator=seeding.generator(0, "training on bands", step))
        optimiser.zero_grad()
        functional.cross_entropy(net(images[chosen]), labels[chosen]).backward()
        optimiser.step()
        schedule.step()
    return net.eval()


def draw_batch(channels: int, planted: int, numbers: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Draw scenes as a batch, with their labels."""
    scenes = [draw_scene(channels, planted, number) for number in numbers]
    return torch.stack([each.image for each in scenes]), torch.tensor([each.label for each in scenes])


def make_box(net: nn.Module, **options: Any) -> TorchBox:
    """Make a box of a network; it finds out the channels itself."""
    box: TorchBox = salience.load(net, size=SIDE, classes=list(CLASSES), backend="exact", **options)
    return box


def list_methods() -> list[str]:
    """List the methods that need neither attention nor a training."""
    return [name for name in registry.list_names("methods") if name not in ELSEWHERE]


def choose_scenes(box: TorchBox, planted: int, count: int) -> list[Scene]:
    """Choose the first scenes with a bright patch that the box finds."""
    drawn = (draw_scene(box.channels, planted, number) for number in range(2, 900, 3))
    found = (each for each in drawn if int(box(each.image[None]).argmax(1)) == each.label)
    return [scene for _, scene in zip(range(count), found, strict=False)]


def explain_scene(box: TorchBox, scene: Scene, method: str, planted: int) -> dict[str, float]:
    """Explain a scene by a method, and say what it found of the planted band and of its place."""
    began = time.perf_counter()
    why = salience.explain(box, scene.image, method, target="bright", **SETTINGS.get(method, {}))
    seconds, bands = time.perf_counter() - began, why.bands
    if bands is None:
        raise AssertionError(f"expected the share of each band of {box.channels}, got none")
    high = bands.high_shares
    return {
        "share": bands.shares[planted - 1],
        "share, map high": high[planted - 1] if high else 0.0,
        "first": float(bands.ranked[0] == planted),
        "first, map high": float(bool(high) and max(range(len(high)), key=high.__getitem__) == planted - 1),
        "inside": float(scene.region.flatten()[int(why.saliency.argmax())]),
        "seconds": seconds,
    }


def write_rows(channels: int, methods: Sequence[str], count: int) -> Iterator[str]:
    """Train a network and yield a line a method."""
    planted = PLANTED[channels]
    box = make_box(train_network(channels, planted), mean=0.5, std=0.25)
    images, labels = draw_batch(channels, planted, range(300))
    right = float((box(images).argmax(1) == labels).float().mean())
    yield f"\n### {channels} channels, the class in band {planted}: {right:.1%} of 300 scenes right\n"
    yield "| method | share | where the map is high | first band | and where high | peak inside | seconds |"
    yield "|---" * 7 + "|"
    scenes = choose_scenes(box, planted, count)
    for method in methods:
        rows = [explain_scene(box, scene, method, planted) for scene in scenes]
        mean = {name: fmean(row[name] for row in rows) for name in rows[0]}
        counts = [f"{sum(row[name] for row in rows):.0f} of {len(rows)}" for name in ("first", "first, map high", "inside")]
        shares = f"{mean['share']:.2f} | {mean['share, map high']:.2f}"
        yield f"| {method} | {shares} | {' | '.join(counts)} | {mean['seconds']:.2f} |"


def main() -> None:
    """Train, explain, and print or write the table."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--channels", type=int, nargs="*", default=list(PLANTED), choices=list(PLANTED))
    options.add_argument("--methods", nargs="*", default=list_methods())
    options.add_argument("--scenes", type=int, default=10)
    options.add_argument("--into", type=Path, help="the page to write")
    given = options.parse_args()
    lines = [table.format_heading(None, f"{given.scenes} scenes of {SIDE}×{SIDE}, defaults but for windows and cells")]
    print(lines[0], flush=True)
    for channels in given.channels:
        for line in write_rows(channels, given.methods, given.scenes):
            print(line, flush=True)
            lines.append(line)
    if given.into:
        made = "Made by `python -m benchmarks.bands --into docs/results/bands.md`.\n"
        given.into.write_text("\n".join(["# Many bands\n", made, READ, *lines]) + "\n")


if __name__ == "__main__":
    main()
