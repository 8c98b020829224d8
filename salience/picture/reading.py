"""Read whatever people call a picture, upright and at its own depth, or refuse it in one sentence."""

from __future__ import annotations

from dataclasses import dataclass, replace
from numbers import Integral
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Shaped
from PIL import Image as pil
from torch import Tensor

from salience import limits
from salience.errors import PictureError, advise, show, translate
from salience.picture import dicom, geotiff, tiff, web
from salience.picture.bands import choose_bands, choose_shown, describe_bands, to_bands_last
from salience.picture.decoding import CLEAR, decode, load, turn_to_page
from salience.picture.depth import Samples, ScaledValues, find_scale
from salience.picture.picture import KEPT, Picture, open_values


@runtime_checkable
class Opened(Protocol):
    """A file that is open for reading, in bytes."""

    def read(self) -> Any:
        """Return what is left of it."""
        ...


@dataclass(frozen=True)
class How:
    """What the user says of a picture that its file does not say, or says wrongly; None: nothing.

    >>> How(white=4095).given
    True
    """

    white: Any = None
    black: Any = None
    bands: Any = None
    rgb: Any = None
    page: Any = None
    region: tuple[int, int, int, int] | None = None

    def __post_init__(self) -> None:
        if self.page is not None and (isinstance(self.page, bool) or not isinstance(self.page, Integral)):
            raise PictureError(f"expected the number of a page, counted from 1, got {show(self.page)}: give a whole number")

    @property
    def given(self) -> bool:
        """Say whether anything is said: then the file alone does not give the same picture again."""
        return self.of_values or self.page is not None or self.region is not None

    @property
    def of_values(self) -> bool:
        """Say whether values are to be chosen or scaled, which needs all of them."""
        return any(each is not None for each in (self.white, self.black, self.bands, self.rgb))


def read(  # noqa: PLR0911  # one for each kind of source
    source: Any,
    name: Any = None,
    *,
    white: Any = None,
    black: Any = None,
    bands: Any = None,
    rgb: Any = None,
    page: Any = None,
    region: Any = None,
) -> Picture:
    """Read a picture: a path, an address, bytes, an open file, a PIL image, an array or a tensor (c h w).

    EXIF orientation is applied; alpha is laid over white; palette, CMYK and grey pictures become RGB. More than 8 bits are
    kept: `white` and `black` are what the user says, else the file, else the range that the values plainly have, and
    `Picture.seen` tells it. Float tensors are in 0…1. `bands` (from 1) are chosen in their order, `rgb` of these are drawn;
    `page` is one of several, from 1; `region` is row, column, height, width. Raises PictureError for anything else.

    >>> read(np.zeros((4, 6), np.uint8)).pixels.mode
    'RGB'
    >>> read(np.full((8, 9, 6), 900, np.uint16), bands="4,3,2").seen
    '10 bits: black 0, white 1023; 3 of 6 bands (4, 3, 2)'
    >>> read("nowhere.jpg")
    Traceback (most recent call last):
        ...
    salience.errors.PictureError: expected a picture at nowhere.jpg, got nothing there: check the path
    """
    if name is not None and not isinstance(name, str):
        raise PictureError(f"expected a text as the picture's name, got {show(name)}: give one, or none")
    how = How(white, black, bands, rgb, page, geotiff.read_region(region))
    if isinstance(source, Picture):
        return _expect_no_options(source, how)
    if isinstance(source, (str, Path)):
        return _read_file(source, name, how)
    if isinstance(source, (bytes, bytearray)):
        return _read_bytes(bytes(source), name or "bytes", how)
    if isinstance(source, pil.Image):
        with translate(PictureError, f"a picture in {name or 'a PIL image'}", "convert it to RGB first"):
            turn_to_page(source, name or "picture", page)
            return _finish(load(source, name or "picture"), name or "picture", how)
    if isinstance(source, torch.Tensor):
        return _read_tensor(source, name or "tensor", how)
    if isinstance(source, np.ndarray):
        return _read_array(source, name or "array", how)
    if isinstance(source, Opened):
        return _read_opened(source, name, how)
    raise PictureError(
        f"expected a picture (path, bytes, open file, PIL image, array or tensor), got {type(source).__name__}: give one"
    )


def _expect_no_options(picture: Picture, how: How) -> Picture:
    if how.given:
        raise PictureError(
            f"expected no options for {picture.name}, which is read already, got some: read its file with them"
        )
    return picture


def _read_file(source: str | Path, name: str | None, how: How) -> Picture:
    if web.is_address(source):
        address = web.restore_address(source)
        return _read_bytes(web.fetch(address), name or web.clean_address(address), how)
    path = Path(source)
    try:
        if not path.exists():
            raise PictureError(f"expected a picture at {path}, got nothing there: check the path")
        if path.is_dir():
            raise PictureError(f"expected a picture at {path}, got a folder: name its files, or use the command line")
        if how.region is not None and how.page is None and _begins_as_tiff(path):
            return _finish(geotiff.read(path, name or str(path), how.region), name or str(path), replace(how, region=None))
        return _read_bytes(limits.read_bytes(path), name or str(path), how)
    except OSError as problem:
        raise PictureError(f"expected to read {path}, got {problem.strerror or problem}: {advise(problem)}") from problem


def _begins_as_tiff(path: Path) -> bool:
    with limits.expect_file(path, limits.WEIGHTS).open("rb") as file:
        return file.read(4) in tiff.STARTS


def _read_opened(source: Opened, name: str | None, how: How) -> Picture:
    called = name or getattr(source, "name", "file")
    called = called if isinstance(called, str) else "file"
    with translate(PictureError, f"a file of bytes as {called}", "open it anew"):
        encoded = source.read()
    if not isinstance(encoded, bytes):
        raise PictureError(f'expected a file of bytes as {called}, got one of {type(encoded).__name__}: open it with "rb"')
    return _read_bytes(encoded, called, how)


def _read_bytes(encoded: bytes, name: str, how: How) -> Picture:
    kept = open_values(encoded, name) if encoded.startswith(KEPT) and not how.given else None
    if kept is not None:
        return kept
    private = dicom.recognise(encoded[:160])
    called = Path(name).name if private else name  # folders are often named after patients
    decoded = decode(
        encoded, called, how.page, stack=how.bands is not None, windowed=how.white is None and how.black is None
    )
    return _finish(decoded, called, how, None if how.given or private else encoded)


def _read_array(array: np.ndarray, name: str, how: How) -> Picture:
    values = to_bands_last(array, name, first=False)
    return _finish(_find_plain(values, name, how), name, how)


def _read_tensor(tensor: Tensor, name: str, how: How) -> Picture:
    if tensor.is_nested or tensor.is_quantized or tensor.is_meta or tensor.layout != torch.strided:
        raise PictureError(f"expected a dense tensor of numbers in {name}, got {_name_form(tensor)}: make it dense first")
    with translate(PictureError, f"a tensor of numbers in {name}", "convert it to float32 or uint8"):
        small = tensor.is_floating_point() and tensor.dtype.itemsize < 4  # no numbers of numpy's
        array = (tensor.float() if small else tensor).detach().cpu().resolve_conj().resolve_neg().numpy()
    values = to_bands_last(array, name, first=tensor.is_floating_point() or tensor.shape[:1] in ((1,), (3,)))
    if tensor.is_floating_point() and how.white is None and how.black is None:
        _expect_unit(values, name)
    return _finish(_find_plain(values, name, how), name, how)


def _name_form(tensor: Tensor) -> str:
    forms = {"nested": tensor.is_nested, "quantised": tensor.is_quantized, "meta": tensor.is_meta}
    return f"a {next((form for form, holds in forms.items() if holds), 'sparse')} one"


def _find_plain(values: Shaped[np.ndarray, "h w c"], name: str, how: How) -> pil.Image | Samples:
    """Give 8 bits of grey, of colours, or of colours and transparency to Pillow, and samples of anything else."""
    bands = values.shape[2]
    normalised = values.dtype.kind == "f" and bands == 3 and values.min() < 0
    if normalised and how.white is None and how.black is None:
        _expect_unit(values, name)
    if values.dtype == np.bool_:
        values = values * np.uint8(255)
    if values.dtype != np.uint8 or bands not in (1, 3, 4) or how.of_values:
        return Samples(values if isinstance(values, np.memmap) and not values.flags.writeable else values.copy())
    return pil.fromarray(np.ascontiguousarray(values[:, :, 0] if bands == 1 else values))


def _expect_unit(values: Shaped[np.ndarray, "h w c"], name: str) -> None:
    if not np.isfinite(values).all() or values.min() < 0 or values.max() > 1:
        raise PictureError(
            f"expected values from 0 to 1 in {name}, got {values.min():.3g} to {values.max():.3g}: "
            "give the picture before normalisation, for the box applies its own, or say what is black= and white="
        )


def _finish(decoded: pil.Image | Samples, name: str, how: How, file: bytes | None = None) -> Picture:
    """Make the picture of what was decoded."""
    if how.region is not None:
        decoded = geotiff.cut(decoded, how.region, name)
    if isinstance(decoded, Samples):
        return _finish_samples(decoded, name, how, file)
    if how.of_values:
        kept = decoded if decoded.mode in ("L", "LA", "RGB", "RGBA") else decoded.convert("RGB")
        return _finish_samples(Samples(to_bands_last(np.asarray(kept), name, first=False)), name, how, file)
    if decoded.mode not in CLEAR and "transparency" not in decoded.info:
        return Picture(decoded if decoded.mode == "RGB" else decoded.convert("RGB"), name, file=file)
    above = decoded.convert("RGBA")
    pixels = pil.alpha_composite(pil.new("RGBA", above.size, "white"), above).convert("RGB")
    return Picture(pixels, name, whole=np.asarray(above), file=file)


def _finish_samples(samples: Samples, name: str, how: How, file: bytes | None) -> Picture:
    count = samples.values.shape[2]
    taken = choose_bands(how.bands, count, name)
    chosen = samples.values if how.bands is None else samples.values[:, :, taken]
    missing = samples.missing
    scale = find_scale(Samples(chosen, samples.black, samples.white, missing=missing), how.black, how.white, name)
    clear = samples.alpha and how.bands is None
    deep = ScaledValues(chosen, scale, clear, missing)
    if not deep.is_finite():
        raise PictureError(
            f"expected values of one range in {name}, got {chosen.min():.3g} to {chosen.max():.3g}: scale them"
        )
    shown = choose_shown(how.rgb, deep.bands, name)
    absent = "" if missing is None else f"{100 * missing.mean():.2g} % without data, shown black"
    said = (scale.describe(), describe_bands(taken[: deep.bands], shown, count - clear), samples.said, absent)
    return Picture(None, name, deep, "; ".join(each for each in said if each), shown, file=file)
