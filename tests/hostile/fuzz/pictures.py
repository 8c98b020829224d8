"""Pictures: paths, bytes, damaged files, arrays, tensors, PIL images, and what is none of these."""

from __future__ import annotations

import io
import os
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from PIL import Image as pil

from salience.boxes import toy
from salience.picture import Picture, read
from salience.tasks.prepare import fit_picture
from tests.hostile.fuzz import values
from tests.hostile.fuzz.judge import Kind, WrongError, making

SIDE = 9
FILES = (
    "png",
    "png 16",
    "png palette",
    "jpeg",
    "jpeg exif",
    "gif",
    "gif film",
    "bmp",
    "webp",
    "tiff",
    "tiff 16",
    "tiff pages",
    "tiff floats",
    "ppm",
    "npy",
    "npz",
    "ico",
    "tga",
    "jp2",
)
DTYPES = (
    "bool",
    "uint8",
    "int8",
    "uint16",
    "int32",
    "uint64",
    "float16",
    "float32",
    "float64",
    "longdouble",
    "complex64",
    "datetime64[s]",
    "timedelta64[s]",
    "S3",
    "U3",
    "O",
    "V4",
)
SHAPES = (
    (8, 9),
    (8, 9, 3),
    (3, 8, 9),
    (8, 9, 1),
    (8, 9, 4),
    (8, 9, 6),
    (1, 1),
    (),
    (5,),
    (0, 4),
    (4, 0, 3),
    (2, 3, 8, 9),
    (70, 80, 90),
    (1, 5000),
    (3, 3, 3),
    (1, 1, 1, 1, 1),
)
FILLS = ("noise", "zeros", "ones", "nan", "inf", "one nan", "negative", "huge", "tiny")
TORCH = (
    "float32",
    "float64",
    "float16",
    "bfloat16",
    "uint8",
    "int8",
    "int64",
    "bool",
    "complex64",
    "float8_e4m3fn",
    "uint16",
)
LAYOUTS = ("plain", "sparse", "csr", "meta", "quantised", "gradient", "expanded", "nested", "conjugate", "negated")
MODES = (
    "1",
    "L",
    "P",
    "RGB",
    "RGBA",
    "CMYK",
    "YCbCr",
    "LAB",
    "HSV",
    "I",
    "F",
    "LA",
    "PA",
    "RGBX",
    "RGBa",
    "La",
    "I;16",
    "I;16B",
)
PATHS = (
    "/dev/zero",
    "/dev/null",
    "/dev/stdin",
    "/proc/self/mem",
    "loop",
    "pipe",
    "folder",
    "a" * 300,
    "a" * 5000,
    "x/" * 3000,
    "nothing.png",
    "http://example.org/a.png",
    "\udcff\udc80.png",
    "empty",
    "text",
    "svg",
    "locked",
)


@cache
def write_good(name: str) -> bytes:
    """Write a picture that is as it should be, of 9×9 pixels."""
    shades = np.random.default_rng(0).integers(0, 255, (SIDE, SIDE, 3), np.uint8)
    form, _, more = name.partition(" ")
    image, deep = pil.fromarray(shades), (shades[:, :, 0].astype(np.uint16) << 4)
    file, how = io.BytesIO(), dict[str, Any]()
    if name in ("npy", "npz"):
        return _write_arrays(name, shades)
    if form == "tiff" and more:
        return _write_tiff(more, deep)
    if name == "png 16":
        image = pil.fromarray(deep)
    if name == "png palette":
        image, how = image.quantize(8), {"transparency": 0}
    if name == "jpeg exif":
        exif = pil.Exif()
        exif[274] = 6
        how = {"exif": exif}
    if name == "gif film":
        how = {"save_all": True, "append_images": [image.rotate(90)]}
    image.save(file, {"jp2": "JPEG2000"}.get(form, form.upper()), **how)
    return file.getvalue()


def _write_arrays(name: str, shades: np.ndarray) -> bytes:
    if name == "npz":
        return read(shades.astype(np.uint16) * 16).encoded
    file = io.BytesIO()
    np.save(file, shades)
    return file.getvalue()


def _write_tiff(more: str, deep: np.ndarray) -> bytes:
    import tifffile

    file = io.BytesIO()
    values_of = {"16": deep, "floats": deep / np.float32(5000), "pages": np.stack([deep, deep + 1])}
    tifffile.imwrite(file, values_of[more], photometric="minisblack")
    return file.getvalue()


def _fill(fill: str, shape: Any) -> np.ndarray:
    noise = np.random.default_rng(0).random(shape)
    if fill == "one nan" and noise.size:
        noise.flat[noise.size // 2] = np.nan
    plain = {"zeros": 0.0, "ones": 1.0, "nan": np.nan, "inf": np.inf, "huge": 1e38, "tiny": 1e-310}
    return np.full(shape, plain[fill]) if fill in plain else noise - 2 * (fill == "negative")


def make_array(dtype: str, shape: Any, fill: str) -> np.ndarray:
    """Make an array of any type, shape and content."""
    with np.errstate(all="ignore"):
        filled = _fill(fill, tuple(shape))
        return (
            filled.view(np.uint8).astype(dtype)
            if dtype.startswith("V") and not filled.shape
            else filled.astype(dtype, casting="unsafe")
        )


def make_tensor(dtype: str, layout: str, shape: Any, fill: str) -> torch.Tensor:
    """Make a tensor of any type and layout."""
    made = torch.from_numpy(np.array(_fill(fill, tuple(shape)))).to(getattr(torch, dtype))
    wrap = {
        "sparse": lambda: made.to_sparse(),
        "csr": lambda: made.reshape(made.shape[-2:] if made.ndim > 1 else (1, -1))[:8].to_sparse_csr(),
        "meta": lambda: made.to("meta"),
        "quantised": lambda: torch.quantize_per_tensor(made.float(), 0.1, 0, torch.quint8),
        "gradient": lambda: made.requires_grad_(),
        "expanded": lambda: made[..., :1].expand(made.shape) if made.ndim else made,
        "nested": lambda: torch.nested.nested_tensor([made, made]),
        "conjugate": lambda: made.to(torch.complex64).conj(),
        "negated": lambda: torch._neg_view(made),
    }
    return wrap[layout]() if layout in wrap else made


def make_path(name: str, folder: Path) -> str:
    """Return a path at which odd things lie."""
    if name == "loop":
        (folder / "loop").symlink_to(folder / "loop")
    elif name == "pipe":
        os.mkfifo(folder / "pipe")
    elif name == "locked":
        (folder / "locked").write_bytes(write_good("png"))
        (folder / "locked").chmod(0)
    elif name in ("empty", "text", "svg"):
        (folder / name).write_text({"empty": "", "text": "hello", "svg": "<svg/>"}[name])
    return str(folder) if name == "folder" else name


class Opened:
    """A file that gives something odd."""

    def __init__(self, given: Any) -> None:
        self.given, self.name = given, given

    def read(self) -> Any:
        """Give it, or raise."""
        if isinstance(self.given, values.Raises):
            raise OSError("gone")
        return self.given


def make_source(recipe: Any, folder: Path) -> Any:  # noqa: PLR0911  # one for each kind of source
    """Make what is read."""
    way, *given = recipe
    if way == "damaged":
        form, steps, where = given
        content = values.damage(write_good(form), steps) if steps else write_good(form)
        if where == "file":
            (folder / "a.bin").write_bytes(content)
            return folder / "a.bin"
        return io.BytesIO(content) if where == "open" else content
    if way == "named":
        with_name = folder / given[0]
        with_name.write_bytes(write_good("png"))
        return with_name if given[1] else str(with_name)
    if way == "packed":  # what a record keeps of a picture, with odd arrays in it
        file = io.BytesIO()
        np.savez(file, **{key: make_array(*each) for key, each in given[0].items()})
        return file.getvalue()
    if way == "path":
        made = make_path(given[0], folder)
        return Path(made) if given[1] else made
    if way == "pil":
        return pil.new(given[0], tuple(given[1]))
    if way == "opened":
        return Opened(values.make(given[0]))
    makers = {"array": make_array, "tensor": make_tensor, "value": values.make}
    return makers[way](*given)


def is_wrong(recipe: Any) -> bool:
    """Say whether a picture cannot be right, whoever reads it."""
    way, *given = recipe
    if way == "array":
        dtype, shape, fill = given
        return 0 in shape or dtype[0] in "cdtSUOV" or (dtype[0] in "fl" and fill in ("nan", "inf", "one nan"))
    if way == "tensor":
        return (
            0 in given[2] or given[0] == "complex64" or (given[0][:5] == "float" and given[3] in ("nan", "inf", "one nan"))
        )
    return way in ("value", "opened")


def run(recipe: Any, folder: Path) -> None:
    """Read, write and read again, and prepare for a box."""
    source, how = recipe
    with making():
        made, options = make_source(source, folder), {key: values.make(each) for key, each in how.items()}
    picture = read(made, **options)
    if is_wrong(source):
        raise WrongError(f"{source} was read as {picture}")
    _expect_whole(picture)
    again = read(picture.encoded)
    same = np.array_equal(np.asarray(again.pixels), np.asarray(picture.pixels))
    if not same or (picture.exact is not None and not torch.equal(picture.exact, again.exact)):
        raise WrongError(f"{source} is another picture when it is read again")
    image, geometry = fit_picture(toy.load("colour"), picture)
    if image.shape != (3, 32, 32) or not bool(((image >= 0) & (image <= 1)).all()) or geometry.photograph != picture.size:
        raise WrongError(f"{source} was prepared as {tuple(image.shape)} from {image.min()} to {image.max()}")


def _expect_whole(picture: Picture) -> None:
    if picture.pixels.mode != "RGB" or min(picture.size) < 1 or not isinstance(picture.name, str):
        raise WrongError(f"{picture} is no picture")
    exact = picture.exact
    if exact is not None and (tuple(exact.shape[1:]) != picture.size or not bool(((exact >= 0) & (exact <= 1)).all())):
        raise WrongError(f"{picture} has values beyond 0…1, or of another size")


sources = st.one_of(
    st.tuples(st.just("damaged"), st.sampled_from(FILES), values.damages, st.sampled_from(("bytes", "file", "open"))),
    st.tuples(st.just("array"), st.sampled_from(DTYPES), st.sampled_from(SHAPES), st.sampled_from(FILLS)),
    st.tuples(
        st.just("tensor"), st.sampled_from(TORCH), st.sampled_from(LAYOUTS), st.sampled_from(SHAPES), st.sampled_from(FILLS)
    ),
    st.tuples(st.just("pil"), st.sampled_from(MODES), st.sampled_from(((4, 5), (1, 1), (0, 3)))),
    st.tuples(st.just("path"), st.one_of(st.sampled_from(PATHS), st.sampled_from(values.TEXTS)), st.booleans()),
    st.tuples(
        st.just("named"), st.sampled_from(("a.png", "\udcff.png", "é" * 60 + ".png", "a\nb.png", "[x].png")), st.booleans()
    ),
    st.tuples(st.just("value"), values.odd.filter(lambda each: "tensor" not in each["odd"] and "array" not in each["odd"])),
    st.tuples(st.just("opened"), st.one_of(values.odd.filter(lambda each: "bytes" not in each["odd"]), values.scalars)),
    st.tuples(
        st.just("packed"),
        st.fixed_dictionaries(
            {
                "exact": st.tuples(st.sampled_from(DTYPES[:11]), st.sampled_from(SHAPES), st.sampled_from(FILLS)),
                "shown": st.tuples(st.sampled_from(DTYPES), st.sampled_from(SHAPES), st.sampled_from(FILLS)),
                "seen": st.tuples(st.sampled_from(DTYPES), st.sampled_from(SHAPES), st.sampled_from(FILLS)),
            }
        ),
    ),
)
options = st.dictionaries(st.sampled_from(("white", "black", "bands", "rgb", "page", "name")), values.anything, max_size=1)
KIND = Kind("pictures", st.tuples(sources, st.one_of(st.just({}), options)), run, share=15)
