"""Layers, CAMs and SISE on one of every family of networks, at the size it was published for, with random weights.

    python -m benchmarks.families                                        # makes the rows that are missing, and prints
    python -m benchmarks.families --into docs/results/families.md --only timm
    python -m benchmarks.families --again failed                         # those that failed once more

Libraries: torchvision (all builders of classifiers), timm (the smallest by its name of each file of architectures) and
transformers (every network for image classification, as its configuration is by default but for its depth).

Layers are proper where each has one row a picture, is another for another picture, has a gradient that is not 0, and moves
the answer when it is replaced. A map is blank where it is constant for each of three classes. SISE is made with a small
budget. Rows are kept in `benchmarks/families.csv`, one a network.
"""

from __future__ import annotations

import argparse
import csv
import gc
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

import salience
from benchmarks import table
from salience import registry
from salience.boxes.torch import TorchBox
from salience.engine.query.run import start_run
from salience.errors import BoxError

ROWS = Path(__file__).with_suffix(".csv")
COLUMNS = ("library", "network", "size", "layers", "top", "proper", "cam", "sise", "seconds", "reason")
LIBRARIES = ("torchvision", "timm", "transformers")
SECONDS = 240  # for one network, then it counts as failed
SIZES = "atto femto pico nano xxt xxs xs tiny mini xx_small x_small small little s t 050 b0 0".split()  # noqa: SIM905  # a line
NOT_SMALL = {"shieldgemma2", "timm_wrapper"}  # 4 billion weights, and what timm has already
TOO_LARGE = {"deepseek_vit_412m", "gemma4_vit_167m"}  # the smallest of their files: more than 20 GiB at their size
AT_224 = {"vit_h_14", "regnet_y_128gf"}  # published for larger pictures only with weights of their own
OTHERWISE: dict[str, dict[str, Any]] = {  # where the default is no network that works, or a large one
    "efficientnet": {"width_coefficient": 1.0, "depth_coefficient": 1.0, "hidden_dim": 1280},
    "perceiver": {"num_cross_attention_heads": 1},
}
SURE = 0.999  # random weights may leave no doubt: then every score is 0 or 1, whatever is hidden
NO_PLACES = {"perceiver": "its latents are as many as a grid has, but no places of the picture"}
Row = dict[str, str]


def main() -> None:
    """Make what is missing, then print."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--only", default="", help="a library, or library:network")
    options.add_argument("--again", default="", choices=["", "failed", "all"], help="rows that are made anew")
    options.add_argument("--table", action="store_true", help="print only")
    options.add_argument("--rows", type=Path, default=ROWS)
    options.add_argument("--into", type=Path, help="the page that is written")
    given = options.parse_args()
    rows = read_rows(given.rows)
    for library, network in [] if given.table else list_networks():
        known = rows.get((library, network))
        anew = known is None or given.again == "all" or (given.again == "failed" and bool(known["reason"]))
        if anew and given.only in ("", library, f"{library}:{network}"):
            rows[library, network] = make_row(library, network)
            write_rows(given.rows, rows)  # at once, so that a run can be killed
    page = format_page(list(rows.values()))
    if given.into:
        given.into.write_text(page, encoding="utf-8")
    else:
        print(page)


def list_networks() -> Iterator[tuple[str, str]]:
    """List library and network."""
    yield from (("transformers", name) for name in list_transformers())
    yield from (("timm", name) for name in list_timm())
    yield from (("torchvision", name) for name in list_torchvision())


def list_torchvision() -> list[str]:
    """List all builders of classifiers, the quickest first."""
    from torchvision import models

    return sorted(models.list_models(module=models), key=lambda name: models.get_model_weights(name).DEFAULT.meta["_ops"])


def list_timm() -> list[str]:
    """List one network of each file of timm: the smallest, to judge by its name, for pictures of up to 300 pixels."""
    import timm

    files = (
        [each for each in timm.list_models(module=file) if not each.startswith("test_")] for file in timm.list_modules()
    )
    return sorted({min(names, key=rank_name) for names in files if names} - TOO_LARGE)


def rank_name(name: str) -> tuple[bool, int, int, str]:
    """Rank a name of timm: one for large pictures last, the words for small networks first."""
    import timm

    published = timm.get_pretrained_cfg(name)
    parts = name.split("_")
    words = [number for number, word in enumerate(SIZES) if word in parts or any(part.endswith(word) for part in parts)]
    return (
        max((published.input_size if published else None) or (3, 224)) > 300,
        min(words, default=99),
        len(name),
        name,
    )


def list_transformers() -> list[str]:
    """List the names of all configurations for image classification."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES as NAMES

    return sorted(
        f"{name}:{each}"
        for name, classes in NAMES.items()
        if name not in NOT_SMALL
        for each in ([classes] if isinstance(classes, str) else classes)
    )


def build(library: str, network: str) -> TorchBox:
    """Make the network with random weights, and a box of it."""
    if library != "transformers":
        smaller = {"size": 224} if network in AT_224 else {}
        return salience.load(f"{library}:{network}?weights=none", backend="exact", **smaller)
    import transformers

    kind, _, name = network.partition(":")
    try:
        net, config = build_transformer(getattr(transformers, name), shallow=True)
    except Exception:  # noqa: BLE001  # some have lists that must be as long as they are deep
        net, config = build_transformer(getattr(transformers, name), shallow=False)
    size = getattr(getattr(config, "vision_config", config), "image_size", None)
    side = size if isinstance(size, int) and 56 <= size <= 384 else 256 if kind.startswith("mobilevit") else 224
    return salience.load(net, size=side, mean=0.5, std=0.5, backend="exact")


def build_transformer(cls: Any, *, shallow: bool) -> tuple[nn.Module, Any]:
    """Make a network of transformers as its configuration is by default."""
    config = cls.config_class()
    config.num_labels = 10
    for key, value in OTHERWISE.get(config.model_type, {}).items():
        setattr(config, key, value)
    config.id2label = config.id2label or {index: str(index) for index in range(10)}
    if shallow:
        make_shallow(config)
        make_shallow(getattr(config, "vision_config", None))
    return cls(config).eval(), config


def make_shallow(config: Any) -> None:
    """Cut a transformer to four blocks, and stages to two: what repeats shows nothing new."""
    if isinstance(getattr(config, "num_hidden_layers", None), int):
        config.num_hidden_layers = min(config.num_hidden_layers, 4)
    depths = getattr(config, "depths", None) or getattr(config, "depth", None)
    if isinstance(depths, (list, tuple)):
        setattr(config, "depths" if hasattr(config, "depths") else "depth", [min(each, 2) for each in depths])


def train_a_little(net: nn.Module, size: tuple[int, int]) -> None:
    """Give a network what it has as soon as it is trained: no zeros, no tiny scales, and statistics in its normalisations.

    Without, some start as a function that does not depend on the picture, or hardly.
    """
    with torch.no_grad():
        for name, weight in net.named_parameters():
            constant = weight.is_floating_point() and weight.numel() > 1 and bool((weight == weight.flatten()[0]).all())
            if constant and float(weight.abs().max()) < 0.02 and "bias" not in name:
                weight.fill_(1) if bool(weight.any()) or weight.ndim == 1 else weight.normal_(0, 0.02)
        averages = [each for each in net.modules() if isinstance(each, nn.modules.batchnorm._BatchNorm)]  # noqa: SLF001  # the base of all
        for each in averages:
            each.train()
            each.momentum = None  # the mean over all pictures
        if averages:
            net(torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(3)))
    net.eval()


def make_row(library: str, network: str) -> Row:
    """Build the network, look at its layers and make two maps; a failure is the reason that the row gives."""
    row = dict.fromkeys(COLUMNS, "") | {"library": library, "network": network}
    began = time.perf_counter()
    torch.manual_seed(0)
    signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    try:
        box = build(library, network)
        box(torch.zeros(1, 3, *box.size))
        row["size"] = f"{box.size[0]}"  # it is built, and takes pictures
        train_a_little(box.module, box.size)
        measure_box(box, row)
    except (Exception, TooLongError) as problem:  # noqa: BLE001  # a failure is a figure of this table
        row["reason"] = row["reason"] or f"{type(problem).__name__}: {' '.join(str(problem).split())[:160]}"
    signal.alarm(0)
    row["seconds"] = f"{time.perf_counter() - began:.1f}"
    gc.collect()
    print(library, network, row["layers"], row["top"], row["reason"] or "", row["seconds"], flush=True)
    return row


class TooLongError(BaseException):
    """A network took too long; no guard takes this for an error of the network."""


def stop(*_: Any) -> None:
    """Leave a network that takes too long."""
    raise TooLongError(f"more than {SECONDS} s")


def measure_box(box: TorchBox, row: Row) -> None:
    """Fill in what is proper and what is blank."""
    image = torch.rand(3, *box.size, generator=torch.Generator().manual_seed(1))
    info = box.layer_info()
    row["layers"], row["top"] = str(len(info.blocks)), info.top
    fault = NO_PLACES.get(row["network"].partition(":")[0]) or find_fault(box, info.blocks)
    row["proper"], row["reason"] = "no" if fault else "yes", fault
    passes = 1 + len(info.blocks)  # the fewest that SISE can do with; more where that is not enough
    for column, method in (("cam", "grad-cam"), ("sise", "sise")):
        blank = all(is_blank(box, image, method, target, passes * (1, 8, 40)[target]) for target in range(3))
        row[column] = "blank" if blank else "yes"
        row["reason"] = row["reason"] or (f"{method} is blank" if blank else "")


def is_blank(box: TorchBox, image: torch.Tensor, method: str, target: int, passes: int) -> bool:
    """Make one map and say whether it is constant."""
    if method == "sise" and float(box(image[None]).max()) > SURE:
        box = box.with_logits()
    with start_run(passes):
        saliency = registry.make_method(method)(box, image, target)
    return not bool(saliency.isfinite().all()) or float(saliency.max() - saliency.min()) == 0


def find_fault(box: TorchBox, layers: tuple[str, ...]) -> str:
    """Say what is wrong with the first layer that is not proper; nothing where all are."""
    two = torch.rand(2, 3, *box.size, generator=torch.Generator().manual_seed(2))
    values = box.activations(two, layers)
    gradients = box.differentiate(two[:1], [0], layers).gradients
    for layer in layers:
        one, other = values[layer]
        checks: dict[str, Callable[[], bool]] = {
            "is the same for every picture": lambda one=one, other=other: torch.equal(one, other),
            "has no gradient": lambda layer=layer: not bool(gradients[layer].any()),
            "moves no score": lambda layer=layer: layer == layers[-1] and moves_nothing(box, two[:1], layer, values[layer]),
        }
        for words, fails in checks.items():
            if fails():
                return f"layer {layer} {words}"
    return ""


def moves_nothing(box: TorchBox, image: torch.Tensor, layer: str, values: torch.Tensor) -> bool:
    """Replace a layer by what it is for the picture, and for another; say whether the logits stay."""
    scores = box.with_logits().forward_from(image, layer, values)
    if len(scores) != 2:
        raise BoxError(f"expected scores of two changes of {layer}, got {len(scores)}")
    return torch.equal(scores[0], scores[1])


def read_rows(file: Path) -> dict[tuple[str, str], Row]:
    """Read what was made before."""
    if not file.is_file():
        return {}
    with file.open(encoding="utf-8", newline="") as opened:
        return {(row["library"], row["network"]): row for row in csv.DictReader(opened)}


def write_rows(file: Path, rows: dict[tuple[str, str], Row]) -> None:
    """Write all rows, in the order of the libraries and the alphabet."""
    ordered = sorted(rows.values(), key=lambda row: (LIBRARIES.index(row["library"]), row["network"]))
    with file.open("w", encoding="utf-8", newline="") as opened:
        writer = csv.DictWriter(opened, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(ordered)


def format_page(rows: list[Row]) -> str:
    """Lay out a line a library, then those that failed, then every network with its layers."""
    built = [row for row in rows if row["size"]]
    lines = [
        "# Families of networks\n",
        "`python -m benchmarks.families`: one network of each family at its published size, with random weights; what",
        "starts as zeros or as a tiny scale is set to what a training would make of it, and batch norms have seen noise.",
        "Layers are proper where each has one row a picture, changes with it, has a gradient and moves the answer.",
        "A map is blank where it is constant for each of three classes; SISE has as many passes as it has layers and one,",
        "then eight and forty times as many, and explains logits where random weights leave no doubt between 0 and 1.\n",
        table.format_heading(None, f"{len(rows)} networks"),
        "| library | networks | built | proper layers | Grad-CAM not blank | SISE not blank | all three |",
        "|---|---|---|---|---|---|---|",
        *(format_counts(name, [row for row in rows if row["library"] == name]) for name in LIBRARIES),
        format_counts("**all**", rows),
        "\nThose that are not built, or fail:\n",
        *([f"- {row['library']} `{row['network']}`: {row['reason']}" for row in rows if row["reason"]] or ["- none"]),
        "\n| library | network | size | layers | last feature maps |\n|---|---|---|---|---|",
        *(f"| {r['library']} | {r['network']} | {r['size']} | {r['layers']} | `{r['top']}` |" for r in built),
    ]
    return "\n".join(lines) + "\n"


def format_counts(name: str, rows: list[Row]) -> str:
    """Count a library's rows; percentages are of those that could be built."""
    built = [row for row in rows if row["size"]]
    kinds = ("proper", "cam", "sise")
    counts = [sum(row[kind] == "yes" for row in built) for kind in kinds]
    counts.append(sum(all(row[kind] == "yes" for kind in kinds) for row in built))
    cells = [f"{count} ({count / max(len(built), 1):.0%})" for count in counts]
    return f"| {name} | {len(rows)} | {len(built)} | {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
