"""Pictures in, images out, and the way back."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as pil

from salience.errors import PictureError, SettingError
from salience.picture import Geometry, Preparation, read
from tests.helpers import apart, noise

CORNER = (200, 30, 40)


def corner(mode: str = "RGB", side: tuple[int, int] = (12, 20)) -> pil.Image:
    """Make a grey picture, wider than high, whose top left is red."""
    image = pil.new("RGB", (side[1], side[0]), (90, 90, 90))
    image.paste(CORNER, (0, 0, side[1] // 2, side[0] // 2))
    return image.convert(mode)


def saved(image: pil.Image, form: str = "PNG", **more: Any) -> bytes:
    """Encode."""
    file = io.BytesIO()
    image.save(file, form, **more)
    return file.getvalue()


def pixel(encoded: Any, x: int = 1, y: int = 1) -> tuple[int, ...]:
    """Read a picture and one of its pixels."""
    return read(encoded).pixels.getpixel((x, y))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photographs_stand_upright(orientation: int) -> None:
    """A telephone writes how it was held into EXIF; the red corner must come out at the top left."""
    back = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # pil's Transpose that undoes what the orientation says
    stored = corner() if orientation == 1 else corner().transpose(pil.Transpose(back[orientation]))
    exif = pil.Exif()
    exif[0x0112] = orientation
    found = read(saved(stored, exif=exif))
    assert found.size == (12, 20)
    assert found.pixels.tobytes() == corner().tobytes()


def test_alpha_is_laid_over_white() -> None:
    """What cannot be seen is paper, not what the file hides there."""
    image = corner("RGBA")
    image.putalpha(0)
    assert pixel(saved(image)) == (255, 255, 255)
    image.putalpha(128)
    assert pixel(saved(image)) == pytest.approx([255 - (255 - each) * 128 / 255 for each in CORNER], abs=1)
    assert pixel(saved(image.convert("LA")))[0] > 128
    clear = corner("P")
    assert pixel(saved(clear, transparency=clear.getpixel((1, 1)))) == (255, 255, 255)


@pytest.mark.parametrize("mode", ["P", "CMYK", "L", "1", "YCbCr", "HSV", "I", "F"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    """Palette, print, grey and scientific pictures keep what they show."""
    found = read(corner().quantize() if mode == "P" else corner(mode))
    assert found.pixels.mode == "RGB"
    if mode in ("P", "CMYK", "YCbCr", "HSV"):
        assert found.pixels.getpixel((1, 1)) == pytest.approx(CORNER, abs=8)


def test_sixteen_bits_become_eight_over_their_full_range() -> None:
    """Half of 65535 is half of 255; cutting off the high byte would make noise of it."""
    deep = pil.fromarray(np.array([[0, 32768, 65535]], dtype=np.uint16))
    for given in (deep, saved(deep), saved(deep, "TIFF")):
        assert [pixel(given, x, 0)[0] for x in range(3)] == [0, 128, 255]
    unit = pil.fromarray(np.array([[0.0, 0.5, 1.0]], dtype=np.float32))
    assert [pixel(unit, x, 0)[0] for x in range(3)] == [0, 128, 255]


def test_arrays_are_height_width_channels_and_tensors_channels_first() -> None:
    """Numpy's images are HWC bytes, torch's are CHW floats."""
    array = np.asarray(corner())
    assert read(array).pixels.tobytes() == corner().tobytes()
    assert read(torch.from_numpy(array.copy())).pixels.tobytes() == corner().tobytes()
    assert read(array[:, :, 0]).pixels.getpixel((1, 1)) == (200, 200, 200)
    assert read(array[:, :, :1]).pixels.getpixel((1, 1)) == (200, 200, 200)
    floats = torch.from_numpy(array / np.float32(255)).permute(2, 0, 1)
    assert read(floats).pixels.tobytes() == corner().tobytes()
    assert read(floats[:1]).pixels.getpixel((1, 1)) == (200, 200, 200)


def test_floats_take_no_detour_over_eight_bits() -> None:
    """An image at the box's size reaches it as it was given."""
    image = noise(3, 9, 9, dtype=torch.float32)
    got, _ = Preparation((9, 9))(read(image))
    assert torch.equal(got, image)
    smaller, _ = Preparation((4, 4))(read(image))
    assert apart(smaller, Preparation((4, 4))(read(read(image).pixels))[0]) < 0.01


def test_a_telephones_photograph_with_a_second_frame_is_read() -> None:
    """MPO holds the photograph and a smaller copy; it is no film."""
    encoded = saved(corner(), "MPO", save_all=True, append_images=[corner()])
    assert read(encoded).size == (12, 20)


def wrong(tmp_path: Path) -> dict[str, tuple[Any, str]]:
    """Make what people hand in by mistake, with what they should be told."""
    (tmp_path / "text.jpg").write_text("this is no picture at all")
    (tmp_path / "empty.png").write_bytes(b"")
    photograph = saved(pil.fromarray((noise(60, 60, 3) * 255).byte().numpy()), "JPEG")
    bomb = saved(pil.new("1", (20000, 20000)))
    film = saved(corner("P"), "GIF", save_all=True, append_images=[pil.new("P", (20, 12), 7)])
    return {
        "text": (tmp_path / "text.jpg", "expected a picture in .*text.jpg, got text: give a JPEG, PNG"),
        "nothing": (tmp_path / "empty.png", "expected a picture in .*empty.png, got an empty file"),
        "missing": (tmp_path / "none.png", "expected a picture at .*none.png, got nothing there: check the path"),
        "folder": (tmp_path, "got a folder"),
        "cut short": (photograph[: len(photograph) // 2], r"expected a whole picture in bytes, got a damaged one"),
        "noise": (bytes(range(256)) * 4, "got something else: give a JPEG, PNG"),
        "drawing": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "got a drawing in SVG or XML"),
        "film": (film, "expected a still picture in bytes, got 2 frames: extract one of them"),
        "bomb": (bomb, "expected at most [0-9,]+ pixels in bytes, got more: scale it down first"),
        "normalised": (
            noise(3, 4, 4, dtype=torch.float32) * 4 - 2,
            "values from 0 to 1 in tensor, got -1.* to 1.*before normalisation",
        ),
        "NaN": (torch.full((3, 4, 4), float("nan")), "expected values from 0 to 1 in tensor, got nan"),
        "batch": (torch.zeros(1, 3, 4, 4), r"array \(h w\), \(h w c\) or \(c h w\) .* as tensor, got shape \(1, 3, 4, 4\)"),
        "normalised array": (np.full((4, 4, 3), -2.0), "values from 0 to 1 in array, got -2 to -2"),
        "no pixel": (np.zeros((0, 5, 3), np.uint8), "at least one pixel"),
        "number": (5, "expected a picture .* got int"),
        "lazy": (pil.open(io.BytesIO(photograph[: len(photograph) // 2])), "got a damaged one"),
        "infinite": (pil.fromarray(np.full((2, 2), np.inf, np.float32)), "expected finite pixel values in picture"),
    }


def test_what_is_no_picture_is_refused_in_one_sentence(tmp_path: Path) -> None:
    """What was expected, what came, and mostly what to do."""
    for given, text in wrong(tmp_path).values():
        with pytest.raises(PictureError, match=text) as raised:
            read(given)
        assert "\n" not in str(raised.value)


PREPARATIONS = {
    "squash": Preparation((24, 24)),
    "short side and crop": Preparation((24, 24), 30),
    "squash and crop": Preparation((24, 24), (28, 28)),
    "crop of another shape": Preparation((20, 32), 40),
    "padding": Preparation((40, 40), 24),
    "odd padding": Preparation((31, 31), 24),
}


@pytest.mark.parametrize("prepare", PREPARATIONS.values(), ids=PREPARATIONS)
@pytest.mark.parametrize("size", [(60, 90), (90, 60), (48, 48), (61, 83)])
def test_a_map_comes_back_to_where_it_was(prepare: Preparation, size: tuple[int, int]) -> None:
    """The prepared picture, restored as if it were a map, has its bright square where the photograph has it."""
    middle = size[0] // 2, size[1] // 2
    pixels = np.zeros((*size, 3), np.uint8)
    pixels[middle[0] - 9 : middle[0] + 3, middle[1] - 4 : middle[1] + 8] = 255
    image, geometry = prepare(read(pixels))
    back = geometry.restore(image[0])
    assert image.shape[-2:] == prepare.size
    assert back.shape == size
    light = torch.nan_to_num(back).clamp(min=0)
    rows, columns = torch.arange(size[0]) + 0.5, torch.arange(size[1]) + 0.5
    assert float((light.sum(1) * rows).sum() / light.sum()) == pytest.approx(middle[0] - 3, abs=0.6)
    assert float((light.sum(0) * columns).sum() / light.sum()) == pytest.approx(middle[1] + 2, abs=0.6)
    assert float(light.sum()) == pytest.approx(144, rel=0.1)


def test_where_the_box_did_not_look_there_is_no_value() -> None:
    """Beyond a centre crop the map is NaN, not zero."""
    _, geometry = Preparation((24, 24), 24)(read(np.zeros((24, 48, 3), np.uint8)))
    assert geometry.seen == (0, 24, 12, 36)
    back = geometry.restore(torch.ones(24, 24))
    assert torch.isnan(back[:, :12]).all()
    assert bool((back[:, 12:36] == 1).all())


def test_a_truth_mask_is_brought_to_the_boxs_input() -> None:
    """The other way round: an array at the photograph's size, seen as the box saw it."""
    truth = torch.zeros(60, 90)
    truth[20:40, 40:60] = 1
    geometry = Geometry((60, 90), (30, 30), (0, 60, 15, 75))
    expected = torch.zeros(30, 30)
    expected[10:20, 12:22] = 1
    assert apart(geometry.project(truth)[11:19, 13:21], torch.ones(8, 8)) == 0
    assert abs(float(geometry.project(truth).sum() - expected.sum())) <= 40


def photograph() -> pil.Image:
    """Draw noise with large and small structure, 333 by 500."""
    small = pil.fromarray((noise(30, 45, 3) * 255).byte().numpy()).resize((500, 333), pil.Resampling.BICUBIC)
    return pil.blend(small, pil.fromarray((noise(333, 500, 3, seed=1) * 255).byte().numpy()), 0.2)


def worst(prepare: Preparation, theirs: Callable[[pil.Image], torch.Tensor], image: pil.Image) -> float:
    """Compare our image with theirs, normalisation undone, in steps of 1/255."""
    ours, _ = prepare(read(image))
    mean, std = (torch.tensor(each)[:, None, None] for each in (prepare.mean, prepare.std))
    return apart(ours, theirs(image) * std + mean) * 255


@pytest.mark.parametrize("name", ["resnet50", "vit_b_16", "efficientnet_b0", "inception_v3", "swin_t"])
def test_preparation_is_torchvisions(name: str) -> None:
    """`weights.transforms()`, pixel for pixel."""
    from torchvision import models

    from salience.boxes.torchvision import read_preparation

    weights = models.get_model_weights(name).DEFAULT
    for image in (photograph(), photograph().rotate(90, expand=True), photograph().resize((100, 150))):
        assert worst(read_preparation(weights), weights.transforms(), image) <= 2


@pytest.mark.parametrize("name", ["resnet18", "vit_tiny_patch16_224", "tf_efficientnet_lite0", "convnext_atto", "resnet50d"])
def test_preparation_is_timms(name: str) -> None:
    """`create_transform` of the model's own configuration."""
    import timm
    from timm.data import create_transform, resolve_model_data_config

    from salience.boxes.timm import read_preparation

    net = timm.create_model(name)
    theirs = create_transform(**resolve_model_data_config(net))
    for image in (photograph(), photograph().rotate(90, expand=True)):
        assert worst(read_preparation(net), theirs, image) <= 2


@pytest.mark.parametrize("name", ["ViTImageProcessor", "ConvNextImageProcessor", "DeiTImageProcessor"])
def test_preparation_is_transformers(name: str) -> None:
    """The processor's, made of its settings."""
    import transformers

    from salience.boxes.hf import read_preparation

    processor = getattr(transformers, name)()
    theirs = lambda image: torch.as_tensor(processor(image, return_tensors="pt")["pixel_values"][0])  # noqa: E731  # one line
    assert worst(read_preparation(processor), theirs, photograph()) <= 2


def test_a_preparation_says_itself_in_a_line() -> None:
    """The record shows it, for wrong preprocessing is the commonest mistake."""
    said = str(Preparation((224, 224), 256, "bicubic", (0.5,) * 3, (0.5,) * 3, "timm"))
    assert said == "short side to 256 (bicubic), centre crop 224×224, mean 0.5, std 0.5 (timm)"
    assert str(Preparation((8, 9))) == "squeezed to (8, 9) (bilinear), mean 0, std 1 (given)"


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"size": (0, 5)}, "expected size as"),
        ({"size": (5, 5), "std": (0.0, 1.0, 1.0)}, "std above zero"),
    ],
)
def test_impossible_preparations_are_refused(settings: dict[str, Any], text: str) -> None:
    """A length of zero, a division by zero."""
    with pytest.raises(SettingError, match=text):
        Preparation(**settings)
