"""Keras models on the torch backend, and functions of JAX."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import salience
from salience import specs
from salience.boxes import toy
from salience.engine.inside import cams
from salience.errors import BoxError
from salience.types import OpenBox
from tests.helpers import apart, noise

IMAGES = noise(3, 3, 32, 32, dtype=torch.float32)


def model(end: str = "softmax", classes: int = 3, colours: int = 3) -> Any:
    """Make a small Keras model of two blocks; a dropout and a batch norm are sensitive to modes."""
    os.environ["KERAS_BACKEND"] = "torch"
    import keras

    keras.utils.set_random_seed(0)
    layers = [
        keras.layers.Input((32, 32, colours)),
        keras.layers.Conv2D(6, 3, activation="relu", name="first"),
        keras.layers.MaxPooling2D(),
        keras.layers.BatchNormalization(),
        keras.layers.Conv2D(8, 3, activation="relu", name="second"),
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dropout(0.5),
        keras.layers.Dense(classes, activation=end),
    ]
    return keras.Sequential(layers)


@pytest.mark.parametrize(("end", "classes"), [("softmax", 3), ("sigmoid", 3), ("sigmoid", 1), ("linear", 3)])
def test_a_keras_model_answers_as_it_does_by_itself(end: str, classes: int) -> None:
    """Colours last inside; size, head and logits are read from the model."""
    net = model(end, classes)
    box: Any = salience.load(net, backend="exact")
    known = net(IMAGES.permute(0, 2, 3, 1), training=False).detach()
    known = torch.cat([1 - known, known], 1) if classes == 1 else known.softmax(1) if end == "linear" else known
    assert isinstance(box, OpenBox)
    assert box.size == (32, 32)
    assert apart(box(IMAGES), known) < 1e-6


def test_methods_look_inside_a_keras_model() -> None:
    """Layers by their Keras names, gradients, feature maps with colours last: Grad-CAM by hand."""
    net = model()
    box: Any = salience.load(net, backend="exact")
    assert box.layers() == ("first", "second")
    shown = box.activations(IMAGES, ["second"])["second"]
    assert shown.shape == (3, 8, 13, 13)
    gradients = box.differentiate(IMAGES[:1], [1], ["second"]).gradients["second"]
    by_hand = torch.einsum("c,cyx->yx", gradients[0].mean((1, 2)), shown[0]).relu()
    found = salience.explain(box, IMAGES[0], "grad-cam", target=1).saliency
    assert apart(found, cams.enlarge(by_hand[None], IMAGES)[0]) < 1e-6
    assert float(salience.explain(box, toy.picture(32), "sise", target=1).saliency.max()) > 0


def test_a_grey_keras_model_gets_grey() -> None:
    """The mean of the colours."""
    net = model(colours=1)
    box = salience.load(net, backend="exact")
    known = net(IMAGES.mean(1)[..., None], training=False).detach()
    assert apart(box(IMAGES), known) < 1e-6


def test_a_keras_model_may_come_from_a_file(tmp_path: Path) -> None:
    """Its own format, which holds no code; or through `py:`."""
    net = model()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras's own deprecations
        net.save(tmp_path / "net.keras")
    box = specs.open_box(f"keras:{tmp_path / 'net.keras'}?backend=exact", classes=["a", "b", "c"])
    assert apart(box(IMAGES), salience.load(net, backend="exact")(IMAGES)) < 1e-6
    (tmp_path / "mine_of_keras.py").write_text("from tests.boxes.test_keras import model\nnet = model()\n")
    assert apart(specs.open_box(f"py:{tmp_path / 'mine_of_keras.py'}:net?size=32&backend=exact")(IMAGES), box(IMAGES)) < 1e-6
    with pytest.raises(BoxError, match="expected a Keras model in none.keras, got .*: save it with model.save"):
        specs.open_box("keras:none.keras")


def test_a_function_of_jax_is_a_box(tmp_path: Path) -> None:
    """It takes numpy, is compiled for each batch size, and returns arrays that nobody may write to."""
    (tmp_path / "mine_of_jax.py").write_text(
        "import jax, jax.numpy as np\n"
        "filters = 1.5 * np.eye(3) - 0.5\n"
        "@jax.jit\n"
        "def score(images):\n"
        "    return jax.nn.softmax(40 * jax.nn.relu(images @ filters).mean((1, 2)))\n"
    )
    box = specs.open_box(f"py:{tmp_path / 'mine_of_jax.py'}:score?size=32", takes="numpy")
    assert apart(box(IMAGES), toy.load("colour")(IMAGES)) < 1e-5
    known = salience.explain(toy.load("colour"), toy.picture(32), "rise", masks=100, target=0).saliency
    assert apart(salience.explain(box, toy.picture(32), "rise", masks=100, target=0).saliency, known) < 1e-5
    assert np.asarray(known).shape == (32, 32)


@pytest.mark.parametrize("end", ["softmax", "sigmoid", None])
@pytest.mark.parametrize("build", ["sequential", "functional", "nested", "own class", "four channels", "channels first"])
def test_models_of_any_build_answer_as_by_themselves(build: str, end: str | None) -> None:
    """However deep the last activation lies."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(0)
    channels = 4 if build == "four channels" else 3
    first = build == "channels first"
    shape = (channels, 16, 16) if first else (16, 16, channels)
    conv = layers.Conv2D(4, 3, data_format="channels_first" if first else "channels_last")
    pool = layers.GlobalAveragePooling2D(data_format="channels_first" if first else "channels_last")
    dense = layers.Dense(3, activation=end)

    class Own(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.pool, self.dense = conv, pool, dense

        def call(self, images: Any, training: bool = False) -> Any:  # as Keras calls it
            return self.dense(self.pool(self.conv(images)))

    start = keras.Input(shape)
    net: Any = {
        "functional": lambda: keras.Model(start, dense(pool(conv(start)))),
        "nested": lambda: keras.Sequential([start, conv, pool, keras.Sequential([dense])]),
        "own class": Own,
    }.get(build, lambda: keras.Sequential([start, conv, pool, dense]))()
    images = noise(2, channels, 16, 16, dtype=torch.float32)
    box = salience.load(net, backend="exact", **({"size": 16} if build == "own class" else {}))
    raw = torch.as_tensor(net(images if first else images.permute(0, 2, 3, 1), training=False)).detach()
    assert apart(box(images), raw if end else raw.softmax(1)) < 1e-5
    assert box.channels == channels


def test_a_keras_model_of_two_inputs_is_refused() -> None:
    """With what to do."""
    import keras
    from keras import layers

    one, other = keras.Input((16, 16, 3)), keras.Input((16, 16, 3))
    net = keras.Model([one, other], layers.GlobalAveragePooling2D()(layers.Add()([one, other])))
    with pytest.raises(BoxError, match="expected a Keras model with one input, the images, got one with 2"):
        salience.load(net)
