"""Pictures of any depth, of any number of bands, and from anywhere."""

from __future__ import annotations

import io
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image as pil
from torch import nn

import salience
from salience.errors import PictureError
from salience.explanation import Explanation
from salience.picture import Picture, Preparation, read
from tests.helpers import apart, noise, same

RAMP = np.linspace(0, 1, 64 * 64).reshape(64, 64)
WHOLE = Preparation((64, 64))


def tiff(values: np.ndarray, **more: Any) -> bytes:
    """Write a TIFF."""
    file = io.BytesIO()
    tifffile.imwrite(file, values, **more)
    return file.getvalue()


def deep_png(values: np.ndarray, chunk: bytes = b"") -> bytes:
    """Write 16 bits of grey or of colours as PNG, which Pillow does of grey alone."""
    import struct
    import zlib

    def pack(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    kind = {1: 0, 3: 2, 4: 6}[values.shape[2]]
    head = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], 16, kind, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    bits = pack(b"sBIT", chunk) if chunk else b""
    return b"\x89PNG\r\n\x1a\n" + pack(b"IHDR", head) + bits + pack(b"IDAT", zlib.compress(rows)) + pack(b"IEND", b"")


DEEP = {
    "12 bits": ((RAMP * 4095).astype(np.uint16), "12 bits: black 0, white 4095"),
    "10 bits": ((RAMP * 1023).astype(np.uint16), "10 bits: black 0, white 1023"),
    "16 bits": ((RAMP * 65535).astype(np.uint16), "16 bits: black 0, white 65535"),
    "8 bits in 16": ((RAMP * 255).astype(np.uint16), ""),
    "CT": ((RAMP * 4095 - 1024).astype(np.int16), "12 bits, signed: black -1024, white 3071"),
    "CT in 32 bits": ((RAMP * 4095 - 1024).astype(np.int32), "12 bits, signed: black -1024, white 3071"),
    "signed 8 bits": ((RAMP * 255 - 128).astype(np.int8), "8 bits, signed: black -128, white 127"),
    "32 bits": ((RAMP * 3e9).astype(np.uint32), "more than 16 bits: black 0, white 3e+09"),
    "float 0…1": (RAMP.astype(np.float32), ""),
    "float 0…255": ((RAMP * 255).astype(np.float32), "floats: black 0, white 255"),
    "float 0…4000": ((RAMP * 4000).astype(np.float32), "floats: black 0, white 4000"),
    "float -1…1": ((RAMP * 2 - 1).astype(np.float32), "floats: black -1, white 1"),
    "half floats": ((RAMP * 60000).astype(np.float16), "floats: black 0, white 60000"),
}


@pytest.mark.parametrize("name", DEEP)
def test_a_ramp_of_any_depth_goes_from_black_to_white(name: str) -> None:
    """From a file and from an array, in fine steps, and what was seen is said."""
    values, said = DEEP[name]
    for source in (tiff(values), values):
        picture = read(source)
        assert picture.seen == said
        assert np.asarray(picture.pixels).min() == 0
        assert np.asarray(picture.pixels).max() == 255
        image, _ = WHOLE(picture)
        assert apart(image[0], torch.from_numpy(RAMP)) < (1e-3 if "8" in name or "10" in name else 4e-4) * 4


def test_an_array_that_changes_later_changes_no_picture() -> None:
    """Its values are the picture's own."""
    values = (RAMP * 4095).astype(np.uint16)
    picture = read(values)
    values[:] = 0
    assert float(picture.exact.max()) == 1


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
def test_a_large_picture_is_resized_in_strips_as_it_would_be_whole(mode: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which takes the memory of a strip."""
    values = (noise(301, 203, 5) * 4095).numpy().astype(np.uint16)
    prepare = Preparation((40, 50), filter=mode, mean=(0.0,) * 5, std=(1.0,) * 5)
    whole = prepare(read(values))[0]
    monkeypatch.setattr("salience.picture.depth.STRIP", 7000)
    assert len(read(values).deep.strips) > 40
    assert same(prepare(read(values))[0], whole, 1e-6)
    assert read(values).pixels.tobytes() == chosen_pixels(read(values).exact[:3])


def test_what_a_record_keeps_has_the_depth_of_the_file() -> None:
    """Sixteen bits take two bytes, and are the same again, to the last bit; what earlier records kept still opens."""
    values = (noise(64, 64, 6) * 65535).numpy().astype(np.uint16)
    picture = read(values, black=7, white=65000, rgb="3,2,1")
    again = read(picture.encoded)
    assert np.array_equal(again.deep.values, values)
    assert (again.seen, again.shown, again.pixels.tobytes()) == (picture.seen, picture.shown, picture.pixels.tobytes())
    assert len(picture.encoded) < 1.01 * values.nbytes + 2000
    file = io.BytesIO()
    np.savez_compressed(file, exact=picture.exact, shown=np.array(picture.shown), seen=np.array(picture.seen))
    assert same(read(file.getvalue()).exact, picture.exact, 0)


def test_sixteen_bits_reach_the_network_whole() -> None:
    """Two steps of 65,535 that share their high byte stay two values: grey, and in colours, from TIFF, PNG and arrays."""
    values = noise(64, 64, 3).mul(65535).round().numpy().astype(np.uint16)
    for bands in (values, values[:, :, :1]):
        flat = bands[:, :, 0] if bands.shape[2] == 1 else bands
        for source in (tiff(flat), tiff(flat, compression="zlib"), tiff(flat, byteorder=">"), deep_png(bands), flat):
            image, _ = WHOLE(read(source, white=65535))
            assert same(image, torch.from_numpy(bands / 65535).permute(2, 0, 1).expand(3, -1, -1).float(), 1e-7)


@pytest.mark.parametrize("bands", [1, 3])
@pytest.mark.parametrize("byteorder", "<>")
def test_a_packed_tiff_that_only_pillow_unpacks_keeps_its_depth(
    bands: int, byteorder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without imagecodecs, tifffile refuses LZW; Pillow gives the high bytes of a colour, and asked again, the low."""

    def refuse(page: tifffile.TiffPage) -> None:
        raise ValueError("<COMPRESSION.LZW: 5> requires the 'imagecodecs' package")

    values = noise(40, 50, bands).mul(65535).round().numpy().astype(np.uint16)
    flat = values[:, :, 0] if bands == 1 else values
    packed = tiff(flat, compression="zlib", predictor=True, byteorder=byteorder)
    monkeypatch.setattr(tifffile.TiffPage, "asarray", refuse)
    image, _ = Preparation((40, 50))(read(packed, white=65535))
    assert same(image, torch.from_numpy(values / 65535).permute(2, 0, 1).expand(3, -1, -1).float(), 1e-7)


def test_what_nobody_unpacks_is_said_with_the_package_that_would(monkeypatch: pytest.MonkeyPatch) -> None:
    """Six bands, packed."""

    def refuse(page: tifffile.TiffPage) -> None:
        raise ValueError("<COMPRESSION.LZW: 5> requires the 'imagecodecs' package")

    packed = tiff(np.zeros((8, 9, 6), np.uint16), planarconfig="contig", photometric="minisblack", compression="zlib")
    monkeypatch.setattr(tifffile.TiffPage, "asarray", refuse)
    with pytest.raises(
        PictureError, match="expected to unpack bytes, got a TIFF packed as .*: install imagecodecs, or unpack it"
    ):
        read(packed)


def test_sixteen_bits_with_transparency_are_laid_over_white() -> None:
    """In fine steps; chosen as bands, they are as the file has them."""
    values = noise(20, 30, 4).mul(65535).round().numpy().astype(np.uint16)
    unit = torch.from_numpy(values / 65535).permute(2, 0, 1).float()
    for source in (deep_png(values), tiff(values, photometric="rgb", extrasamples=["unassalpha"])):
        picture = read(source, white=65535)
        assert same(picture.exact, unit[:3] * unit[3:] + 1 - unit[3:], 1e-6)
        assert same(read(source, white=65535, bands="1,2,3,4").exact, unit, 1e-7)


def test_a_file_that_states_its_white_is_believed() -> None:
    """A dark scan of 12 bits is dark: SMaxSampleValue in a TIFF, sBIT in a PNG; and a TIFF whose white is zero is turned."""
    dark = (RAMP * 900).astype(np.uint16)
    stated = tiff(dark, extratags=[(340, "H", 1, 0, True), (341, "H", 1, 4095, True)])
    assert read(stated).seen == "uint16, as the file states: black 0, white 4095"
    assert np.asarray(read(stated).pixels).max() == round(900 / 4095 * 255)
    assert np.asarray(read(deep_png(dark[:, :, None], b"\x0c")).pixels).max() == round(900 / 4095 * 255)
    assert np.asarray(read(deep_png(dark[:, :, None] << 4, b"\x0c")).pixels).max() == round(900 / 4095 * 255)
    inverted = read(tiff((RAMP * 65535).astype(np.uint16), photometric="miniswhite"))
    assert np.asarray(inverted.pixels)[0, 0, 0] == 255


def test_white_and_black_override() -> None:
    """Also for 8 bits, and for each band."""
    values = (RAMP * 200).astype(np.uint8)
    assert np.asarray(read(values, white=100).pixels).max() == 255
    assert read(values, black=50, white=100).seen == "uint8: black 50, white 100"
    assert np.asarray(read(values, black=50, white="150").pixels)[0].max() == 0
    pair = np.stack([RAMP * 10, RAMP * 1000], axis=2).astype(np.float32)
    assert same(read(pair, black=0, white="10,1000").exact, torch.from_numpy(RAMP).float().expand(2, -1, -1), 1e-6)
    with pytest.raises(PictureError, match="expected black and white to differ in array, got 7 for both"):
        read(values, black=7, white=7)


def test_eight_bits_are_not_stretched() -> None:
    """A dark photograph is dark, whatever its values; the image is the one that it always was."""
    dark = (noise(60, 80, 3) * 12).byte().numpy()
    picture = read(dark)
    assert (picture.exact, picture.seen) == (None, "")
    assert np.array_equal(np.asarray(picture.pixels), dark)
    assert read(tiff(dark)).pixels.tobytes() == picture.pixels.tobytes()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_deep_scans_stand_upright(orientation: int) -> None:
    """As Pillow turns plain ones."""
    plain = (noise(12, 20) * 255).byte().numpy()
    extra = {"extratags": [(274, "H", 1, orientation, True)]}
    ours, theirs = read(tiff(plain.astype(np.uint16), **extra)), read(tiff(plain, **extra))
    assert ours.pixels.tobytes() == theirs.pixels.tobytes()


def test_bands_are_chosen_ordered_and_drawn() -> None:
    """Counted from 1, planar or not, from a file of numpy, from pages, and from tensors."""
    scene = noise(6, 40, 50).mul(4095).round().numpy().astype(np.uint16)
    scene[0, 0, 0] = 4095
    npy = io.BytesIO()
    np.save(npy, scene)
    last = np.ascontiguousarray(scene.transpose(1, 2, 0))
    planar = tiff(scene, planarconfig="separate", photometric="minisblack")
    chunky = tiff(last, planarconfig="contig", photometric="minisblack")
    unit = torch.from_numpy(scene / 4095).float()
    for source in (scene, last, npy.getvalue(), planar, chunky, unit):
        picture = read(source)
        assert same(picture.exact, unit, 1e-7)
        assert "6 bands, 1, 2, 3 drawn as red, green, blue" in picture.seen
        chosen = read(source, bands="4,3,2")
        assert same(chosen.exact, unit[[3, 2, 1]], 1e-7)
        drawn = read(source, rgb=[6, 5, 4]).pixels
        assert drawn.tobytes() == chosen_pixels(unit[[5, 4, 3]])
    pages = tiff(scene, photometric="minisblack", metadata=None)
    assert same(read(pages, bands="4,3,2").exact, unit[[3, 2, 1]], 1e-7)
    with pytest.raises(PictureError, match="expected bands from 1 to 6 in array, got 7: they are counted from 1"):
        read(scene, bands=[7])


def chosen_pixels(colours: torch.Tensor) -> bytes:
    """Round to 8 bits."""
    return (colours.permute(1, 2, 0) * 255).round().byte().numpy().tobytes()


def test_a_count_of_bands_that_does_not_match_is_one_sentence() -> None:
    """Six bands for three channels, three for four; one band is spread to all of them."""
    with pytest.raises(PictureError, match="expected 3 channels in array, got 6: .* choose them with bands="):
        WHOLE(read(np.zeros((64, 64, 6), np.uint8)))
    with pytest.raises(PictureError, match="expected 4 channels in array, got 3"):
        WHOLE(read(np.zeros((64, 64, 3), np.uint8)), 4)
    image, _ = WHOLE(read((RAMP * 65535).astype(np.uint16)), 5)
    assert image.shape == (5, 64, 64)


def test_four_bands_of_eight_bits_are_transparency_or_a_channel_as_the_network_takes_them() -> None:
    """Laid over white for three channels, as they are for four."""
    four = (noise(64, 64, 4) * 255).byte().numpy()
    image, _ = WHOLE(read(four), 4)
    assert same(image, torch.from_numpy(four).permute(2, 0, 1).float() / 255, 0)
    assert WHOLE(read(four))[0].shape == (3, 64, 64)


def test_a_network_of_six_bands_explains_a_scene(tmp_path: Path) -> None:
    """From the file to the record and back, with the values as they were."""
    scene = noise(6, 80, 90).mul(4095).round().numpy().astype(np.uint16)
    means = {"mean": [0.1 * each for each in range(6)], "std": 0.5}
    net = nn.Sequential(nn.Conv2d(6, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    box = salience.load(net, size=64, channels=6, classes=["a", "b", "c"], backend="exact", **means)
    why = salience.explain(box, read(scene, rgb="4,3,2"), "occlusion", window=32, stride=32, fill="blur")
    again = Explanation.load(why.save(tmp_path / "scene.salience"))
    assert again.picture.size == (80, 90)
    assert same(again.picture.exact, why.picture.exact, 0)
    assert again.picture.pixels.tobytes() == why.picture.pixels.tobytes()
    assert again.picture.seen in why.notes


def test_sources_of_every_kind_are_the_same_picture(tmp_path: Path) -> None:
    """Arrays and tensors with the channels first or last, bytes, paths and open files."""
    array = (noise(40, 50, 3) * 255).byte().numpy()
    file = io.BytesIO()
    pil.fromarray(array).save(file, "PNG")
    path = tmp_path / "photo.png"
    path.write_bytes(file.getvalue())
    tensor = torch.from_numpy(array)
    file.seek(0)
    with path.open("rb") as opened:
        sources = [
            array,
            array.transpose(2, 0, 1),
            tensor,
            tensor.permute(2, 0, 1),
            file,
            opened,
            path,
            str(path),
            file.getvalue(),
        ]
        for source in sources:
            assert read(source).pixels.tobytes() == array.tobytes()
    with path.open(encoding="latin-1") as text, pytest.raises(PictureError, match='got one of str: open it with "rb"'):
        read(text)
    for address in ("s3://example.org/cat.jpg", Path("ftp://example.org/cat.jpg")):
        with pytest.raises(PictureError, match="expected an address of http or https, got .*: download it first"):
            read(address)


def test_a_thumbnail_is_no_second_picture() -> None:
    """A reduced page, or a smaller one, is passed over; of several alike the user chooses."""
    scan, small = (RAMP * 65535).astype(np.uint16), (RAMP[::4, ::4] * 65535).astype(np.uint16)
    for kind in (0, 1):
        file = io.BytesIO()
        with tifffile.TiffWriter(file) as writer:
            writer.write(scan)
            writer.write(small, subfiletype=kind)
        assert read(file.getvalue()).size == (64, 64)
        assert read(file.getvalue(), page=2).size == (16, 16)
    two = tiff(np.stack([scan, scan]), photometric="minisblack")
    with pytest.raises(PictureError, match="expected one picture in bytes, got 2 pages: choose one with page="):
        read(two)
    assert read(two, page=2).size == (64, 64)
    with pytest.raises(PictureError, match="expected a page from 1 to 2 in bytes, got 3"):
        read(two, page=3)


def test_plain_tiffs_with_a_thumbnail_are_read_too() -> None:
    """8 bits, which Pillow reads."""
    file = io.BytesIO()
    scan = (noise(64, 64, 3) * 255).byte().numpy()
    with tifffile.TiffWriter(file) as writer:
        writer.write(scan, photometric="rgb")
        writer.write(scan[::4, ::4], photometric="rgb", subfiletype=1)
    assert read(file.getvalue()).pixels.tobytes() == scan.tobytes()


def test_nan_and_nonsense_are_refused_in_one_sentence() -> None:
    """A file of floats with holes, a damaged TIFF, complex numbers."""
    holes = RAMP.astype(np.float32).copy()
    holes[3, 3] = np.nan
    for source, text in (
        (tiff(holes), "expected finite pixel values in bytes, got NaN or infinity: replace them first"),
        (tiff(RAMP.astype(np.float32))[:200], "expected a whole picture in bytes, got a damaged one"),
        (RAMP.astype(np.complex64), "expected numbers as pixels in array, got complex64"),
        (np.zeros((65, 65, 65), np.uint8), r"of at most 64 bands as array, got shape \(65, 65, 65\)"),
    ):
        with pytest.raises(PictureError, match=text):
            read(source)


def test_nothing_is_encoded_before_a_record_is_saved(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Twelve million pixels as PNG take two seconds; an explanation of a small network takes hundredths of one."""
    asked: list[str] = []
    write = Picture.write
    monkeypatch.setattr(Picture, "write", lambda picture, file: asked.append(picture.name) or write(picture, file))
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    big = np.random.default_rng(0).integers(0, 255, (3000, 4000, 3), dtype=np.uint8)
    box = salience.load(net, size=64, backend="exact")
    began = time.perf_counter()
    picture = read(big)
    reading = time.perf_counter() - began
    why = salience.explain(box, big, "grad-cam")
    whole = time.perf_counter() - began - reading
    assert asked == []
    assert whole < why.seconds + 2 * reading + 1
    small = salience.explain(box, big[:60, :80], "grad-cam")
    again = Explanation.load(small.save(tmp_path / "big.salience"))
    assert asked == ["array"]
    assert again.picture.pixels.tobytes() == big[:60, :80].tobytes()
    assert picture.size == (3000, 4000)


def test_a_deep_file_is_kept_as_it_came_and_with_options_as_its_values() -> None:
    """Either way what is kept reads as the same picture."""
    file = tiff((RAMP * 4000).astype(np.uint16))
    assert read(file).encoded == file
    for picture in (
        read(file),
        read(file, white=5000),
        read(file, bands="1", rgb="1"),
        read(RAMP),
        read(torch.rand(3, 9, 9)),
    ):
        again = read(picture.encoded)
        assert same(again.exact, picture.exact, 0)
        assert (again.seen, again.pixels.tobytes()) == (picture.seen, picture.pixels.tobytes())


def test_a_picture_is_scaled_at_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With what was seen, and what share of the photograph, as data."""
    import json

    from salience import cli

    (tmp_path / "scan.tif").write_bytes(tiff((RAMP * 900).astype(np.uint16)))
    words = ["explain", str(tmp_path / "scan.tif"), "--box", "toy:colour", "--method", "occlusion", "--out", str(tmp_path)]
    assert cli.main([*words, "--white", "4095", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert "uint16: black 0, white 4095" in told["notes"]
    assert (told["prepared"]["share_seen"], told["prepared"]["share_of_border"]) == (1, 0)
    assert told["prepared"]["values"][1] == pytest.approx(900 / 4095, abs=0.01)
    assert cli.main([*words, "--page", "2"]) == 2
    assert "expected a page from 1 to 1 in" in capsys.readouterr().err
