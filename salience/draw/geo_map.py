"""A map as GeoTIFF, with the reference of the picture that was explained."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from salience.explanation import Explanation
from salience.files import write_whole
from salience.picture import geotiff


def write_map(why: Explanation, picture: str | Path, base: Path, *, region: Sequence[int] | None = None) -> list[Path]:
    """Write BASE.map.tif, the raw values at the picture's size, NaN outside what the box saw; nothing without a reference.

    >>> import salience, tempfile, tifffile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     tifffile.imwrite(f"{folder}/a.tif", np.zeros((32, 32, 3), np.uint8))
    ...     why = salience.explain("toy:colour", f"{folder}/a.tif", "occlusion", window=16, stride=16)
    ...     write_map(why, f"{folder}/a.tif", Path(folder, "a"))
    []
    """
    from rasterio.io import MemoryFile
    from rasterio.windows import Window

    with geotiff.open_file(Path(picture), Path(picture).name) as file:
        points, crs = file.gcps
        if file.crs is None and not points and file.transform.is_identity:
            return []
        transform = file.transform
        if region is not None:
            transform = file.window_transform(Window(region[1], region[0], region[3], region[2]))
        placed = {"gcps": points, "crs": crs} if points and region is None else {"transform": transform, "crs": file.crs}
    values = why.at_photograph.numpy().astype(np.float32)
    shape = {"height": values.shape[0], "width": values.shape[1], "count": 1, "dtype": "float32", "nodata": np.nan}
    with MemoryFile() as memory:
        with memory.open(driver="GTiff", compress="deflate", predictor=3, **shape, **placed) as made:
            made.write(values, 1)
            made.set_band_description(1, f"saliency, {why.called}")
        return [write_whole(base.with_name(f"{base.name}.map.tif"), bytes(memory.getbuffer()))]
