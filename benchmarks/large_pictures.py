"""What a picture of 100 million pixels takes, from reading to the saved record: `python -m benchmarks.large_pictures`.

Each kind runs in a process of its own. Memory is the peak above what the process held before the picture was there, so the
caller's array or the file's bytes are in it; it stands beside the bytes of the picture's own values.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

KINDS = (
    *("array RGB", "array RGB noise", "array 16 bits", "array 16 bits noise", "array 6 bands"),
    *("JPEG", "PNG", "TIFF 16 bits", "DICOM"),
)


def make_values(side: int, bands: int, kind: Any, noise: bool) -> np.ndarray:  # one of its kinds
    """Draw waves with grain as a camera's, or noise, row by row, so that nothing else of this size is made."""
    rng, top = np.random.default_rng(0), np.iinfo(kind).max
    values = np.empty((side, side, bands), kind)
    across = (np.arange(side)[:, None] / 97 + np.arange(bands)).astype(np.float32)
    for row in range(side):
        grain = rng.random((side, bands), np.float32)
        values[row] = (grain if noise else 0.5 + 0.4 * np.sin(across + row / 53) + grain / 50) * top
    return values[:, :, 0] if bands == 1 else values


def make_source(kind: str, side: int, folder: Path) -> Callable[[], Any]:
    """Return what gives the picture: a function that makes the array, or the path of a file, which is written now."""
    deep, noise = "16" in kind or "6 bands" in kind or kind == "DICOM", "noise" in kind
    bands = 6 if "6 bands" in kind else 1 if deep else 3
    make = lambda: make_values(side, bands, np.uint16 if deep else np.uint8, noise)  # noqa: E731  # one line
    if kind.startswith("array"):
        return make
    path = folder / "picture"
    write_file(kind, make(), path)
    return lambda: path


def write_file(kind: str, values: np.ndarray, path: Path) -> None:
    """Write a file of a kind."""
    import tifffile
    from PIL import Image as pil

    if kind in ("JPEG", "PNG"):
        pil.fromarray(values).save(path, kind, **({"quality": 90} if kind == "JPEG" else {"compress_level": 1}))
    elif kind == "DICOM":
        from tests.test_dicom import dicom

        path.write_bytes(dicom(values >> 4, WindowCenter=2048, WindowWidth=4096, RescaleSlope=1, RescaleIntercept=-1024))
    else:
        tifffile.imwrite(path, values)


def weigh(kind: str, side: int) -> dict[str, Any]:
    """Explain one picture and save the record."""
    import torch

    import salience

    bands = 6 if "6 bands" in kind else 3
    net = torch.nn.Sequential(torch.nn.Conv2d(bands, 4, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    box = salience.load(net, size=224, backend="exact", channels=bands)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = make_source(kind, side, folder)
        small = make_source("array 6 bands" if bands == 6 else "array RGB", 300, folder)()
        salience.explain(box, small, "gradient").save(folder / "warm.salience")
        before, peak = read_memory(), Peak()
        with peak:
            picture = source()
            began = time.process_time()
            salience.explain(box, picture, "gradient").save(folder / "large.salience")
            seconds = time.process_time() - began
        record = (folder / "large.salience").stat().st_size
    deep = bands == 6 or "16" in kind or kind == "DICOM"
    own = side * side * (bands if bands == 6 or not deep else 1) * (2 if deep else 1)
    return {"kind": kind, "own": own, "peak": peak.bytes - before, "record": record, "seconds": seconds}


def read_memory() -> int:
    """Read the resident bytes of this process."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * resource.getpagesize()


class Peak:
    """The most memory that was resident while a block ran."""

    def __enter__(self) -> None:
        self.bytes, self.done = read_memory(), threading.Event()
        self.thread = threading.Thread(target=self.watch)
        self.thread.start()

    def watch(self) -> None:
        """Look again and again."""
        while not self.done.wait(0.005):
            self.bytes = max(self.bytes, read_memory())

    def __exit__(self, *_: object) -> None:
        self.done.set()
        self.thread.join()


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=10_000)
    parser.add_argument("--kind", choices=KINDS)
    given = parser.parse_args()
    if given.kind:
        print(json.dumps(weigh(given.kind, given.side)))
        return
    print("| picture | own MB | peak MB | times its own | record MB | processor seconds |\n|---|---|---|---|---|---|")
    for kind in KINDS:
        command = [sys.executable, "-m", "benchmarks.large_pictures", "--kind", kind, "--side", str(given.side)]
        row = json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
        sizes = [f"{row[each] / 1e6:.0f}" for each in ("own", "peak")]
        ratio = f"{row['peak'] / row['own']:.2f}"
        print("|", " | ".join([kind, *sizes, ratio, f"{row['record'] / 1e6:.0f}", f"{row['seconds']:.1f}"]), "|", flush=True)


if __name__ == "__main__":
    main()
