"""Are the boxes what they say? Top-1 and top-5 on real labelled pictures: `python -m benchmarks.accuracy`.

Prints a Markdown table, in the exact backend and in the one that `auto` chooses.
"""

from __future__ import annotations

import argparse

import torch
from rich.progress import track

from benchmarks import data, table
from salience.engine.query.ask import choose_backend
from salience.picture import read


def main() -> None:
    """Score every labelled picture and count."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--boxes", nargs="*", default=["efficientnet-lite0", "vit-tiny", "mobilenet-v2"])
    given = options.parse_args()
    print(table.format_heading(None, "top-1 / top-5 in per cent"))
    print("| box | backend | images (200) | localisation/imagenette (200) | localisation/coco (77) |\n|---|---|---|---|---|")
    samples = [
        (data.expect_folder() / "images" / row["file"], (int(row["class_index"]),))
        for row in data.read_table("images/index.csv")
    ]
    sets = [samples, *([(each.file, each.classes) for each in data.read_cases(name)] for name in ("imagenette", "coco"))]
    for name in given.boxes:
        for backend in ("exact", "auto"):
            box = data.BOXES[name](backend)
            cells = []
            for pictures in sets:
                right = torch.zeros(2)
                for file, answers in track(pictures, f"{name} {backend}", transient=True):
                    image, _ = box.preparation(read(file))  # type: ignore[attr-defined]  # all boxes here have one
                    choose_backend(box, image)
                    best = box(image[None])[0].topk(5).indices.tolist()
                    right += torch.tensor([best[0] in answers, bool(set(best) & set(answers))]).float()
                first, fifth = (right / len(pictures) * 100).tolist()
                cells.append(f"{first:.1f} / {fifth:.1f}")
            print(f"| {name} | {box.backend} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
