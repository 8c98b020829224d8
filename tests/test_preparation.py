"""A preparation is one whole: a size takes its resize along, and what goes to waste is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import salience
from salience.boxes._options import split_options
from salience.errors import BoxError, PictureError, SettingError
from salience.picture import Geometry, Preparation, read

PUBLISHED = Preparation((224, 224), 256, "bicubic", (0.4, 0.5, 0.6), (0.2, 0.2, 0.2), "weights")
PHOTO = np.full((300, 400, 3), 200, np.uint8)


def net(channels: int = 3) -> nn.Module:
    """Make a small network."""
    return nn.Sequential(nn.Conv2d(channels, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))


@pytest.mark.parametrize(
    ("base", "options", "resize"),
    [
        (PUBLISHED, {"size": 384}, 438),  # floor(384 / 0.875), as timm rounds
        (PUBLISHED, {"size": "384", "resize": "400"}, 400),
        (PUBLISHED, {"size": 224}, 256),
        (PUBLISHED, {"size": "112x224"}, 256),
        (Preparation((224, 224), (256, 240)), {"size": 448}, (512, 480)),
        (Preparation((224, 224)), {"size": 384}, None),
        (None, {"size": 64, "resize": 40}, 40),
    ],
)
def test_a_size_takes_the_resize_along_that_belongs_to_it(base: Any, options: dict[str, Any], resize: Any) -> None:
    """The crop's share is kept; what is given wins."""
    ready, _ = split_options(base, options)
    assert ready.resize == resize


def test_a_larger_size_of_a_published_network_has_no_border() -> None:
    """At 384, timm's ResNet sees the share of the photograph that it sees at 224."""
    for size, side in (("", 224), ("&size=384", 384)):
        image, geometry = salience.load(f"timm:resnet18?weights=none{size}").preparation(read(PHOTO))
        assert image.shape == (3, side, side)
        assert float(image.min()) > 0.7
        assert geometry.share_of_border == pytest.approx(0, abs=1e-9)
        assert geometry.share_seen == pytest.approx(0.75 * 0.95**2, abs=0.01)


def test_the_size_that_a_network_was_made_for_wins() -> None:
    """The `img_size` of timm fixes the positions of a transformer; its resize grows along, and it can be scored."""
    box = salience.load("timm:vit_tiny_patch16_224?weights=none&img_size=384&backend=exact")
    assert box.size == (384, 384)
    assert box.preparation.resize == 426  # floor(384 / 0.9)
    assert box(box.preparation(read(PHOTO))[0][None]).shape == (1, 1000)
    assert salience.load("timm:xcit_nano_12_p16_384?weights=none").size == (384, 384)  # takes any


def make_vit(where: Path, side: int = 224, processor: int | None = None) -> Any:
    """Save a small transformer, and a processor where it has one."""
    import transformers

    made = transformers.ViTConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, image_size=side, num_labels=5
    )
    transformers.ViTForImageClassification(made).save_pretrained(where)
    if processor is not None:
        size = {"height": processor, "width": processor}
        transformers.ViTImageProcessor(size=size, image_mean=[0.4] * 3, image_std=[0.3] * 3).save_pretrained(where)
    return transformers.AutoModelForImageClassification.from_pretrained(where)


def test_a_network_of_transformers_without_a_processor_takes_what_is_given(tmp_path: Path) -> None:
    """Size, mean and std are all that is needed; one of them missing is asked for."""
    make_vit(tmp_path)
    ready = salience.load(f"hf:{tmp_path}?size=224&mean=0.5&std=0.5").preparation
    assert (ready.size, ready.mean, ready.std) == ((224, 224), (0.5,) * 3, (0.5,) * 3)
    with pytest.raises(BoxError, match="give size, mean and std"):
        salience.load(f"hf:{tmp_path}?size=224&mean=0.5")


def test_a_processor_is_read_on_both_paths(tmp_path: Path) -> None:
    """By name and as a module, with a size and without; the size of the network wins over the processor's."""
    module = make_vit(tmp_path, processor=196)
    for box in (salience.load(f"hf:{tmp_path}"), salience.load(module), salience.load(module, size=224)):
        assert (box.size, box.preparation.resize) == ((224, 224), (224, 224))
        assert box.preparation.mean == (0.4,) * 3
        assert box(torch.rand(1, 3, 224, 224)).shape == (1, 5)


@pytest.mark.parametrize(
    ("ready", "photo", "seen", "border"),
    [
        (Preparation((224, 224), 256), (400, 400), 0.766, 0.0),
        (Preparation((224, 224), 256), (600, 200), 0.255, 0.0),
        (Preparation((384, 384), 256), (400, 200), 0.75, 1 - 256 / 384),
        (Preparation((384, 384), 256), (200, 400), 0.75, 1 - 256 / 384),
        (Preparation((224, 224)), (600, 200), 1.0, 0.0),
    ],
)
def test_shares_of_photograph_and_border(ready: Preparation, photo: tuple[int, int], seen: float, border: float) -> None:
    """Upright or lying, cropped, squeezed or reaching over."""
    image, geometry = ready(read(np.full((*photo, 3), 255, np.uint8)))
    assert geometry.share_seen == pytest.approx(seen, abs=0.005)
    assert geometry.share_of_border == pytest.approx(border, abs=0.005)
    assert float((image == 0).float().mean()) == pytest.approx(border, abs=0.005)
    assert float(image[:, *geometry.inside].min()) == 1


def test_a_crop_with_a_border_says_so() -> None:
    """In the line that the record shows."""
    assert "centre crop 384×384 with a black border, mean 0" in str(Preparation((384, 384), 256))
    assert "border" not in str(Preparation((224, 224), 256))
    assert "border" not in str(Preparation((224, 224)))


def explained(photo: Any, **options: Any) -> Any:
    """Explain a picture with a small network."""
    return salience.explain(salience.load(net(), backend="exact", **options), photo, "gradient")


def test_what_goes_to_waste_is_said_past_a_bound() -> None:
    """Border, crop, range; and nothing where nothing does."""
    texture = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    assert explained(texture, size=224, resize=256).notes == ()
    (note,) = explained(texture, size=224, resize=160).notes
    assert note.startswith("32% of the image is border")
    (note,) = explained(texture[:100], size=224, resize=224).notes
    assert note.startswith("only 25% of the photograph is seen")
    (note,) = explained(texture // 32, size=224).notes
    assert note == "its values use 2.7% of the range from black to white: are white and black right?"
    why = explained((texture.astype(np.uint16) << 4), size=224)
    assert why.notes == ("12 bits: black 0, white 4095",)
    assert why.summary()["prepared"]["share_seen"] == 1
    assert why.summary()["prepared"]["values"][1] > 0.6


def test_means_match_the_channels() -> None:
    """One is spread, others are counted."""
    ready, rest = split_options(None, {"size": 64, "channels": "6", "mean": 0.5, "std": "0.1,0.2,0.3,0.4,0.5,0.6"})
    assert (ready.mean, len(ready.std), rest) == ((0.5,) * 6, 6, {"channels": 6})
    assert Preparation((8, 8), mean=(0.5,), std=(0.5,)).with_channels(4).mean == (0.5,) * 4
    assert split_options(None, {"size": 64, "channels": 1})[0].mean == (0.0,) * 3
    with pytest.raises(
        SettingError, match="expected a mean and a std for each of 4 channels, got 3: give mean= and std= with 4"
    ):
        split_options(PUBLISHED, {"channels": 4})
    with pytest.raises(SettingError, match="expected filter, one of nearest, bilinear, .*, got 'cubic'"):
        split_options(PUBLISHED, {"filter": "cubic"})


def test_grey_is_made_by_the_box_that_takes_it() -> None:
    """Three channels reach it, as ever."""
    box = salience.load(net(1), size=64, channels=1, backend="exact")
    assert box(box.preparation(read(PHOTO))[0][None]).shape == (1, 3)
    with pytest.raises(PictureError, match="expected 3 channels"):
        salience.explain(box, read(np.zeros((64, 64, 5), np.uint8)), "gradient")


def test_the_inside_of_an_image_is_where_the_photograph_is() -> None:
    """Reaching over above and below."""
    assert Geometry((4, 6), (6, 6), (-1, 5, 0, 6)).inside == (slice(1, 5), slice(0, 6))


def test_the_size_of_what_is_fed_with_features_is_not_that_of_the_images() -> None:
    """A part that makes patches of feature maps has a size of its own."""
    assert salience.load("timm:visformer_tiny?weights=none", backend="exact").size == (224, 224)
