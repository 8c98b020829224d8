"""Pictures of maps: sizes, colours, words."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as pil

import salience
from salience.draw import blend, overlay, sheet
from salience.draw.blend import Style
from salience.errors import SalienceError


@pytest.fixture
def why() -> salience.Explanation:
    """Explain a grey photograph of 60 by 90 with a red patch, of which the box sees the middle 60 by 60."""
    pixels = np.full((60, 90, 3), 128, np.uint8)
    pixels[20:30, 40:50] = (255, 0, 0)
    box: Any = salience.load("toy:colour")
    box.preparation = replace(box.preparation, resize=32)
    return salience.explain(box, pixels, "occlusion", window=8, stride=4)


def array(image: pil.Image) -> Any:
    """Return pixels as numbers."""
    return np.asarray(image).astype(int)


def words(figure: Any) -> str:
    """Return all that is written on a figure."""
    return "\n".join(text.get_text() for axes in figure.axes for text in axes.texts)


def test_the_overlay_has_the_photographs_size(why: salience.Explanation) -> None:
    """Pixel for pixel, so that it can be laid over the photograph."""
    assert overlay.image(why).size == (90, 60)


def test_without_opacity_grey_stays_grey(why: salience.Explanation) -> None:
    """The overlay only mutes the photograph's colours, and grey has none."""
    shown = array(overlay.image(why, alpha=0.0))

    assert (shown[5:15, 20:70] == 128).all()


def test_the_least_important_pixel_stays_the_photograph(why: salience.Explanation) -> None:
    """Opacity rises with the value: nothing covers what does not matter, and the most covers most."""
    ramp = torch.linspace(0, 1, 32).expand(32, 32).contiguous()

    shown = array(overlay.image(replace(why, saliency=ramp)))

    assert abs(shown[10, 17] - 128).max() <= 2
    assert abs(shown[10, 72] - 128).max() > 60


def test_what_the_box_did_not_see_is_dimmed_and_has_no_colour(why: salience.Explanation) -> None:
    """The box saw the middle square of the photograph, from column 15 to 75; a white line marks it."""
    shown = array(overlay.image(why))

    assert (np.ptp(shown[:, :15], axis=-1) == 0).all()
    assert (shown[:, :15] < 128).all()
    assert (shown[:, 15] == 255).all()
    assert (shown[:, 74] == 255).all()


def test_colours_do_not_change_with_the_maps_scale(why: salience.Explanation) -> None:
    """Normalisation takes offset and factor away."""
    one, other = (overlay.image(each) for each in (why, replace(why, saliency=10 * why.saliency + 3)))

    assert abs(array(one) - array(other)).max() <= 1


def test_a_signed_scale_is_symmetric_around_zero() -> None:
    """Zero takes the middle colour, which covers nothing; diverging colours choose the scale by themselves."""
    values = np.array([-1.0, 0.5])

    assert Style(scale="signed").span(values) == (-1.0, 1.0)
    assert Style(colours="coolwarm").span(values) == (-1.0, 1.0)
    assert Style().span(values) == (-1.0, 0.5)
    assert Style(scale="signed").tint(np.array([0.5]))[1] == 0


def test_percentiles_cut_single_peaks() -> None:
    """One pixel in a thousand does not decide the colours of the others."""
    low, high = Style(scale="p99").span(np.append(np.linspace(0, 1, 999), 100.0))

    assert 0 < low < 0.02
    assert 0.98 < high < 1


def test_a_figure_says_class_cost_and_raw_range(why: salience.Explanation) -> None:
    """The colour bar stands for raw values."""
    said = words(overlay.figure(why))

    low, high = float(why.saliency.min()), float(why.saliency.max())
    assert f"{low:.3g}" in said
    assert f"{high:.3g}" in said
    assert f"red {why.target.probability:.1%}" in said
    assert "saliency (occlusion)" in said
    assert f"{why.passes} passes" in said


@pytest.mark.parametrize("value", [0.25, float("nan"), float("inf")])
def test_a_blank_map_is_said_in_words(why: salience.Explanation, value: float) -> None:
    """There is nothing to colour; the reader must know why."""
    blank = replace(why, saliency=torch.full((32, 32), value))

    assert "No map to show" in words(overlay.figure(blank))
    assert overlay.image(blank).size == (90, 60)
    assert overlay.png(overlay.figure(blank)).startswith(b"\x89PNG")


def test_one_bad_pixel_is_a_map_that_is_not_finite(why: salience.Explanation) -> None:
    """A single NaN would poison minimum and maximum."""
    broken = why.saliency.clone()
    broken[0, 0] = torch.nan

    assert "not finite" in words(overlay.figure(replace(why, saliency=broken)))


def test_long_and_odd_names_stay_on_the_page(why: salience.Explanation) -> None:
    """Lines are shortened in the middle; a dollar sign is not mathematics; an unknown letter is no warning."""
    name = "grüße $x^ 火 " * 40
    figure = overlay.figure(replace(why, target=replace(why.target, name=name), image=name, notes=(name,)))

    overlay.png(figure)
    edges = [text.get_window_extent() for axes in figure.axes for text in axes.texts]
    assert all(edge.x0 >= 0 and edge.x1 <= figure.bbox.width for edge in edges)


def test_a_picture_is_the_figure_without_matplotlib(why: salience.Explanation) -> None:
    """The same page, and the same pixels where there are no letters, whose edges differ a little."""
    pictures = overlay.picture(why), pil.open(io.BytesIO(overlay.png(overlay.figure(why)))).convert("RGB")

    apart = abs(array(pictures[0]) - array(pictures[1])).max(-1)

    assert apart.shape == pictures[1].size[::-1]
    assert (apart > 1).mean() < 0.02
    assert (apart[60:330] == 0).all()


def test_a_frame_of_words_stands_where_the_figure_has_it(why: salience.Explanation) -> None:
    """A blank map is said in a white frame over the photograph."""
    blank = replace(why, saliency=torch.zeros(32, 32))
    pictures = overlay.picture(blank), pil.open(io.BytesIO(overlay.png(overlay.figure(blank)))).convert("RGB")

    assert (abs(array(pictures[0]) - array(pictures[1])).max(-1) > 40).mean() < 0.01


def test_a_figure_leaves_pyplot_alone(why: salience.Explanation) -> None:
    """No global figure is made, so nothing piles up and no window opens."""
    from matplotlib import pyplot as plt

    before = plt.get_fignums()
    overlay.figure(why)

    assert plt.get_fignums() == before


def test_save_writes_the_figure(why: salience.Explanation, tmp_path: Any) -> None:
    """A PNG of two panels is wider than one."""
    one, two = (overlay.save(why, tmp_path / f"{k}.png", side_by_side=bool(k)) for k in (0, 1))

    assert pil.open(io.BytesIO(one.read_bytes())).width < pil.open(io.BytesIO(two.read_bytes())).width


@pytest.mark.parametrize(
    ("look", "said"),
    [({"alpha": 2}, "alpha"), ({"colours": "turbi"}, "turbo"), ({"scale": "min"}, "minmax"), ({"size": 3}, "64")],
)
def test_a_wrong_look_is_refused(why: salience.Explanation, look: dict[str, Any], said: str) -> None:
    """In one sentence, with close names."""
    with pytest.raises(SalienceError, match=said):
        overlay.figure(why, **look)


def test_a_sheet_has_a_row_a_picture_and_a_column_a_method(why: salience.Explanation) -> None:
    """Two rows of the photograph and two maps; an empty place stays empty."""
    drawn = sheet.sheet([[why, why], [why, None]], titles=["one", "two"])

    said = words(drawn)
    assert "one" in said
    assert "two" in said
    assert said.count("red") == 2
    assert sum(len(axes.images) for axes in drawn.axes) == 5


def test_a_sheet_refuses_ragged_rows(why: salience.Explanation) -> None:
    """Columns are methods."""
    with pytest.raises(SalienceError, match="rows of one length"):
        sheet.sheet([[why, why], [why]])


def test_the_scale_suits_the_map_unless_one_is_asked_for() -> None:
    """Few pixels that tower over the rest are cut at percentiles, with two colours where they do so on both sides."""
    even = np.linspace(-1, 1, 1000)
    towers = np.concatenate([np.linspace(0, 1, 995), [9.0] * 5])
    assert Style().of(even).scale == "minmax"
    assert (Style().of(towers).scale, Style().of(towers).colours) == ("p99", None)
    both = Style().of(np.concatenate([towers, -towers]))
    assert (both.scale, both.signed) == ("p99", True)
    assert Style(colours="magma").of(-towers).colours == "magma"
    assert Style(scale="signed").of(towers).scale == "signed"


def test_a_best_mask_is_shown_between_photograph_and_map(why: salience.Explanation) -> None:
    """The photograph through the mask, grey where it hides, and in words what it keeps; other methods have no such panel."""
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    masked = salience.explain("toy:colour", pixels, "de-cam", target="red", budget=200)
    seen = blend.show_mask(masked)
    hidden = masked.evidence["mask"].numpy() < 1e-3
    assert seen is not None
    assert np.allclose(seen[hidden], 0.5, atol=1e-2)
    assert f"best mask: mean opacity {masked.evidence['area']:.0%}" in words(overlay.figure(masked))
    assert blend.show_mask(why) is None
    assert "best mask" not in words(overlay.figure(why))
