"""Twelve kinds of pictures, explained and drawn into one PNG to look at: `python -m benchmarks.picture_kinds OUT.png`."""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as pil
from torch import nn

import salience
from salience.draw import overlay
from salience.picture import read


def make_scene(side: int = 160) -> np.ndarray:
    """Draw a bright disc and a bar on a shaded ground, in 0…1 (h w 3)."""
    y, x = np.mgrid[:side, :side] / side
    ground = 0.25 + 0.3 * np.stack([x, y, 1 - x], axis=2)
    ground[(x - 0.35) ** 2 + (y - 0.4) ** 2 < 0.04] = (0.95, 0.2, 0.15)
    ground[(np.abs(x - 0.75) < 0.06) & (np.abs(y - 0.6) < 0.25)] = (0.2, 0.3, 0.95)
    return ground


def make_pictures(folder: Path) -> dict[str, Any]:
    """Write or make one of each kind."""
    import rasterio
    import tifffile
    from rasterio.transform import from_origin

    from tests.test_dicom import dicom

    scene = make_scene()
    grey, eight = scene.mean(2), (scene * 255).astype(np.uint8)
    hounsfield = (grey * 1500 - 1000).astype(np.int16)
    bands = np.concatenate([scene, scene[:, :, ::-1], *[grey[:, :, None]] * 7], axis=2)
    jpeg, absent = io.BytesIO(), (bands[:, :, :3] * 4000).astype(np.float32)
    pil.fromarray(eight).save(jpeg, "JPEG")
    absent[:30] = -9999
    place: dict[str, Any] = {"crs": "EPSG:32632", "transform": from_origin(5e5, 5.4e6, 10, 10), "nodata": -9999}
    place |= {"driver": "GTiff", "height": 160, "width": 160, "count": 3, "dtype": "float32"}
    with rasterio.open(folder / "geo.tif", "w", **place) as file:
        file.write(absent.transpose(2, 0, 1))
    tifffile.imwrite(folder / "pages.tif", np.stack([eight, eight[::-1]]), photometric="rgb")
    return {
        "JPEG": read(jpeg.getvalue(), "JPEG"),
        "16 bits grey": read((grey * 65535).astype(np.uint16), "16 bits grey"),
        "12 bits RGB": read((scene * 4095).astype(np.uint16), "12 bits RGB"),
        "float": read((grey * 3000 - 500).astype(np.float32), "float"),
        "13 bands": read((bands * 4000).astype(np.uint16), "13 bands", rgb="1,2,3"),
        "transparent": read(np.dstack([eight, (grey * 255).astype(np.uint8)]), "transparent"),
        "CT, window": read(dicom(hounsfield, WindowCenter=-400, WindowWidth=900), "CT, window"),
        "CT, no window": read(dicom(hounsfield), "CT, no window"),
        "MONOCHROME1": read(dicom(hounsfield, PhotometricInterpretation="MONOCHROME1"), "MONOCHROME1"),
        "GeoTIFF, nodata": read(folder / "geo.tif", "GeoTIFF, nodata"),
        "GeoTIFF, region": read(folder / "geo.tif", "GeoTIFF, region", region=(40, 20, 80, 120)),
        "page 2": read(folder / "pages.tif", "page 2", page=2),
    }


def main() -> None:
    """Explain each, and set the pages in rows of three."""
    pages = []
    with tempfile.TemporaryDirectory() as folder:
        for name, picture in make_pictures(Path(folder)).items():
            count = 13 if name == "13 bands" else 3
            layer = nn.Conv2d(count, 2, 1, bias=False)
            nn.init.constant_(layer.weight, -0.5)
            layer.weight.data[1, 0] = 2.0
            net = nn.Sequential(layer, nn.AdaptiveAvgPool2d(1), nn.Flatten())
            box = salience.load(net, size=64, channels=count, classes=["other", "first band"])
            why = salience.explain(box, picture, "occlusion", target="first band", window=8, stride=4)
            print(name, picture.size, picture.seen)
            pages.append(overlay.picture(why).convert("RGB"))
    size = max(each.width for each in pages), max(each.height for each in pages)
    sheet = pil.new("RGB", (3 * size[0], -(-len(pages) // 3) * size[1]), "white")
    for number, page in enumerate(pages):
        sheet.paste(page, (number % 3 * size[0], number // 3 * size[1]))
    sheet.save(sys.argv[1])


if __name__ == "__main__":
    main()
