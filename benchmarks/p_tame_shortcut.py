"""Does P-TAME explain the classifier or find objects? `python -m benchmarks.p_tame_shortcut`: a planted shortcut.

Every picture has a handwritten digit at a random place among scraps of other digits, and a coloured code of six by six
pixels in the corner. One classifier was taught by the code, whatever the digit is, another by the digit, whatever the
code. Explainers for both are trained on the same pictures, where both agree, with the same features, which never saw a
code: of a network that knows digits, and of one that knows nothing. Prints where the maps' peaks lie.
"""

from __future__ import annotations

import argparse
import gzip
import tempfile

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks import table
from benchmarks.data import expect_folder
from salience.boxes.torch import TorchBox
from salience.engine import seeding
from salience.engine.perturb import masks
from salience.engine.training.loop import Loop
from salience.methods.p_tame import PTame
from salience.picture import Preparation

SIDE, DIGIT, CODE, EDGE = 48, 20, 6, 1  # pixels: of a picture, a digit, a code, and from the corner to the code


def main() -> None:
    """Train everything, explain, print."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--classifier-steps", type=int, default=600)
    options.add_argument("--steps", type=int, default=500)
    options.add_argument("--learn", type=int, default=2000)
    options.add_argument("--test", type=int, default=200)
    given = options.parse_args()
    classifiers = {
        "by the code": train_classifier((16, 32, 64), "code", given),
        "by the digit": train_classifier((16, 32, 64), "digit", given),
    }
    features = {
        "knows digits": train_classifier((24, 48, 96), "none", given),
        "knows nothing": make_box(make_network((24, 48, 96), 7)),
    }
    words = f"{given.learn} pictures, {given.steps} steps; {given.test} other pictures"
    print(table.format_heading(None, words))
    head = "taught | right with the code | without it | features | peak on the code | peak on the digit"
    print(f"| {head} | mean map σ(Z) | without the code |\n" + "|---" * 8 + "|")
    for name, classifier in classifiers.items():
        for source, aux in features.items():
            print(make_row(name, classifier, source, aux, given), flush=True)


def make_row(name: str, classifier: TorchBox, source: str, aux: TorchBox, given: argparse.Namespace) -> str:
    """Train one explainer and say where it looks."""
    learn, _, _ = make_pictures(range(given.learn), "both")
    test, labels, places = make_pictures(range(7000, 7000 + given.test), "both")
    plain, _, _ = make_pictures(range(7000, 7000 + given.test), "none")
    with tempfile.TemporaryDirectory() as folder:
        loop = Loop(steps=given.steps, check=0, save=given.steps)
        method = PTame().fit(classifier, learn, out=folder, loop=loop, keep=False, aux=aux, held=0, mirror=False)
        targets = classifier(test).argmax(1).tolist()
        found = torch.stack([each.saliency for each in method.many(classifier, test, targets)])
        soft = PTame(explainer=method.explainer, values="sigmoid")
        means = [float(torch.stack([m.saliency for m in soft.many(classifier, at, targets)]).mean()) for at in (test, plain)]
    peaks = torch.stack([torch.tensor(divmod(int(each.argmax()), SIDE)) for each in found])
    code = ((peaks >= EDGE - 1) & (peaks <= EDGE + CODE)).all(1).double().mean()  # and the pixels around it
    digit = ((peaks >= places) & (peaks < places + DIGIT)).all(1).double().mean()
    right = [float((classifier(at).argmax(1) == labels).double().mean()) for at in (test, plain)]
    cells = [f"{value:.0%}" for value in right] + [source] + [f"{float(value):.0%}" for value in (code, digit)]
    return "| " + " | ".join([name, *cells, *(f"{value:.4f}" for value in means)]) + " |"


def train_classifier(widths: tuple[int, ...], by: str, given: argparse.Namespace) -> TorchBox:
    """Teach a network by the code, by the digit, or by digits without codes; half of the time through random masks."""
    net = make_network(widths, seed=len(by)).train()
    optimiser = torch.optim.AdamW(net.parameters(), lr=2e-3)
    steps = given.classifier_steps
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=5e-3, total_steps=steps)
    for step in range(steps):
        drawn = torch.randint(7000, (64,), generator=seeding.generator(0, "teach", by, step)).tolist()
        shown, labels, _ = make_pictures(drawn, by, salt=step)
        lot = next(masks.sample_grids(64 * (step + 1), (SIDE, SIDE), 6, 0.5, 1, start=64 * step))
        half = torch.cat([shown[:32], shown[32:] * lot.rasterise(shown)[:32, None]])
        loss = functional.cross_entropy(net((half - 0.5) / 0.5), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if step + 1 < steps:
            schedule.step()
    return make_box(net)


def make_box(net: nn.Module) -> TorchBox:
    """Make a box of a network."""
    grey = (0.5, 0.5, 0.5)
    ready = Preparation((SIDE, SIDE), mean=grey, std=grey)
    return TorchBox(net.eval(), ready, [str(digit) for digit in range(10)], name="digits", backend="exact")


def make_network(widths: tuple[int, ...], seed: int) -> nn.Module:
    """Make convolutions in stages, each half the size of the one before, and the mean over places."""
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for before, width in zip((3, *widths), widths, strict=False):
        stage = [nn.Conv2d(before, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(2)]
        layers += [nn.Sequential(*stage)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], 10))


def make_pictures(numbers: range | list[int], by: str, salt: int = -1) -> tuple[Tensor, Tensor, Tensor]:
    """Draw pictures and say what each is called, and where its digit is; every one has its own chances.

    `by` says what is right: "digit" and "code", with any code and any digit beside it; "both"; or "none", without codes.
    """
    digits, names = read_mnist()
    shown, labels, places = torch.zeros(len(numbers), 3, SIDE, SIDE), [], []
    colours = torch.rand(10, 3, CODE // 2, CODE // 2, generator=seeding.generator(0, "codes")).round()
    for at, number in enumerate(numbers):
        source = seeding.generator(0, "picture", number, salt)
        for top, left, other in torch.randint(1 << 30, (10, 3), generator=source).tolist():
            scrap = digits[other % len(digits), 6:14, 6:14]
            shown[at, :, top % (SIDE - 8) :, left % (SIDE - 8) :][:, :8, :8] = 0.7 * scrap
        room = SIDE - DIGIT
        top, left = (CODE + 2 + torch.randint(room - CODE - 2, (2,), generator=source)).tolist()
        shown[at, :, top : top + DIGIT, left : left + DIGIT] = digits[number]
        another, digit = int(torch.randint(10, (), generator=source)), int(names[number])
        code = another if by in ("digit", "code") else digit
        if by != "none":
            block = functional.interpolate(colours[code][None], scale_factor=2)[0]
            shown[at, :, EDGE : EDGE + CODE, EDGE : EDGE + CODE] = block
        labels.append(code if by == "code" else digit)
        places.append((top, left))
    return shown, torch.tensor(labels), torch.tensor(places)


_digits: list[Tensor] = []


def read_mnist() -> tuple[Tensor, Tensor]:
    """Read handwritten digits: the middle of each, 20 by 20 pixels, and their names."""
    if not _digits:
        with gzip.open(expect_folder() / "small" / "mnist-images-idx3-ubyte.gz") as file:
            pixels = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 28, 28)
        with gzip.open(expect_folder() / "small" / "mnist-labels-idx1-ubyte.gz") as file:
            names = np.frombuffer(file.read(), np.uint8, offset=8)
        _digits.extend([torch.from_numpy(pixels[:, 4:24, 4:24].copy()).float() / 255, torch.from_numpy(names.copy()).long()])
    return _digits[0], _digits[1]


if __name__ == "__main__":
    main()
