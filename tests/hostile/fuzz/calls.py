"""Calls of `explain`, `watch`, `load` and `measure`: methods, settings, targets, budgets, and boxes of every sort."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from hypothesis import strategies as st
from torch import nn

import salience
from salience import registry
from salience import specs as specs_of
from salience.boxes import toy
from salience.explanation import Explanation
from tests import trained
from tests.hostile.fuzz import values
from tests.hostile.fuzz.judge import Kind, WrongError, making

SMALL: dict[str, dict[str, Any]] = {  # settings that make a method quick
    "occlusion": {"window": 16, "stride": 16},
    "rise": {"masks": 8},
    "mc-rise": {"masks": 8},
    "iassa": {},
    "lime": {"masks": 8},
    "kernel-shap": {"masks": 16},
    "sobol": {"designs": 1},
    "hsic": {"masks": 8},
    "multiscale-rise": {"masks": 8},
    "smooth-grad": {"copies": 2},
    "integrated-gradients": {"steps": 3},
    "extremal-perturbation": {"steps": 2},
    "p-tame": {},
    "gradient": {},
    "grad-cam": {},
    "layer-cam": {},
    "score-cam": {},
    "sise": {},
    "cam": {},
    "recipro-cam": {},
    "fullgrad": {},
    "guided-backprop": {},
    "ablation-cam": {},
    "eigen-cam": {},
    "hipe": {},
    "de-cam": {"generations": 2, "population": 4},
}
SAMPLING = ("rise", "mc-rise", "iassa", "lime", "kernel-shap", "sobol", "hsic", "multiscale-rise", "hipe", "de-cam")
OPTIONS = ("target", "budget", "seed", "tolerance", "batch", "progress", "band_shares")
COUNTS = ("seed", "batch")  # options that are whole numbers
MEASURES = (
    "sparsity",
    "deletion",
    "insertion",
    "average-drop",
    "increase",
    "complexity",
    "infidelity",
    "road",
    "aopc",
    "pointing-game",
)


def expect_sound(why: Explanation) -> None:
    """Expect a finite map of the right size, or one that says what is wrong with it."""
    size = why.geometry.size
    if not isinstance(why, Explanation) or tuple(why.saliency.shape) != size or not why.saliency.is_floating_point():
        raise WrongError(f"a map of {tuple(why.saliency.shape)} for {size}")
    if not torch.isfinite(why.saliency).all() and not any("not finite" in note for note in why.notes):
        raise WrongError("a map that is not finite, and says nothing of it")
    if not math.isfinite(why.target.probability):
        raise WrongError(f"a score of {why.target.probability}")


def run_options(recipe: Any, _folder: Path) -> None:
    """Explain with odd options and settings."""
    method, settings, options, image = recipe
    with making():
        name = values.make(method)
    given = {
        **SMALL.get(name if isinstance(name, str) else "", {}),
        **{key: values.make(each) for key, each in settings.items()},
    }
    if isinstance(name, str) and name == "p-tame":
        given.setdefault("explainer", trained.file())
    if (
        isinstance(name, str)
        and name in SAMPLING
        and "budget" not in options
        and not any(key in given for key in ("masks", "designs"))
    ):
        options = {**options, "budget": 16}
    options = {key: each for key, each in options.items() if key not in settings}
    made = {key: values.make(each) for key, each in options.items()}
    if callable(made.get("progress")):
        made["progress"] = lambda *_: None  # what it raises is its caller's
    with making():
        picture = _make_image(image)
    found = salience.explain(toy.load("colour"), picture, name, **made, **given)
    for why in found if isinstance(found, list) else [found]:
        expect_sound(why)
    _expect_typed(name, settings, options)


def _make_image(image: Any) -> Any:
    pictures = {
        "one": toy.picture,
        "list": lambda: [toy.picture(), toy.picture(colour=1)],
        "none": list,
        "batch": lambda: torch.rand(2, 3, 32, 32),
    }
    return pictures[image]() if image in pictures else values.make(image)


def _expect_typed(name: str, settings: Any, options: Any) -> None:
    """Expect that no text stands for a number and no fraction for a count."""
    if isinstance(name, str):
        _expect_settings(
            {each.name: each.type for each in registry.list_settings(registry.find_method(name))}, name, settings
        )
    for key in COUNTS:
        if isinstance(options.get(key), (str, float, bool)):
            raise WrongError(f"{options[key]!r} was taken for the number {key}")


def _expect_settings(hints: dict[str, Any], name: str, settings: Any) -> None:
    for key, value in settings.items():
        whole = hints.get(key) in (int, int | None)
        number = whole or hints.get(key) in (float, float | None)
        if key == "seed" and value is None:
            continue  # none given
        plain = isinstance(value, (int, float)) and not (whole and isinstance(value, (float, bool)))
        if number and not plain and not (value is None and hints[key] not in (int, float)) and not isinstance(value, dict):
            raise WrongError(f"{value!r} was taken for the number {key} of {name}")


@st.composite
def option_recipes(draw: Any) -> Any:
    """Draw a call with one or two odd things in it."""
    name = draw(st.sampled_from(sorted(SMALL)))
    fields = [each.name for each in registry.list_settings(registry.find_method(name)) if each.name != "explainer"]
    where = draw(st.sampled_from(("setting", "option", "both", "method", "image", "unknown")))
    settings: dict[str, Any] = {}
    options: dict[str, Any] = {}
    method: Any = name
    if where in ("setting", "both") and fields:
        settings[draw(st.sampled_from(fields))] = draw(values.anything)
    if where in ("option", "both"):
        options[draw(st.sampled_from(OPTIONS))] = draw(values.anything)
    if where == "unknown":
        settings[
            draw(st.text(min_size=1, max_size=5).filter(lambda text: text not in (*OPTIONS, "box", "image", "method")))
        ] = draw(values.anything)
    if where == "method":
        method = draw(values.anything.filter(lambda each: each is not None))
    image = draw(st.sampled_from(("list", "none", "batch"))) if where == "image" else "one"
    if where == "image" and draw(st.booleans()):
        options["target"] = draw(st.lists(st.one_of(values.anything, st.sampled_from(("red", 1))), max_size=3))
    return method, settings, options, image


SPECS = (
    "toy:colour",
    "toy:corner",
    "toy:constant",
    "toy:",
    "toy",
    ":",
    "",
    "py:os:getcwd",
    "py:json:loads",
    "py::",
    "py:a b:c",
    "py:nowhere.py:x",
    "py:math:pi",
    "torch:none.pt",
    "onnx:none.onnx",
    "openvino:none.xml",
    "trained:none",
    "function:x",
    "estimator:none",
    "timm:",
    "nonsense:a",
    "object:1",
    "zoo:",
    "zoo:x",
    "hf:",
)
KEYS = (
    "size",
    "backend",
    "head",
    "channels",
    "batch",
    "classes",
    "mean",
    "std",
    "resize",
    "filter",
    "output",
    "name",
    "takes",
    "x",
    "of",
)
ANSWERS = (
    "none",
    "text",
    "object",
    "ragged",
    "complex",
    "nan",
    "inf",
    "shape",
    "integers",
    "bools",
    "huge",
    "no columns",
    "scalar",
    "sparse",
    "meta",
    "quantised",
    "gradient",
    "dict",
    "empty dict",
    "tuple",
    "generator",
    "other rows",
    "changing",
    "deep",
    "bytes",
    "self",
    "same",
)
ERRORS = (
    "value",
    "memory",
    "recursion",
    "stop",
    "exit",
    "broken",
    "long",
    "lines",
    "assertion",
    "generator exit",
    "os",
    "unicode",
    "group",
    "base",
)


class BrokenError(Exception):
    """An error that cannot be said."""

    def __str__(self) -> str:
        """Raise another."""
        raise RuntimeError("no words")


class Base(BaseException):
    """What no `except Exception` sees."""


def fail(way: str) -> Any:
    """Raise something."""
    errors: dict[str, Any] = {
        "value": ValueError("bad"),
        "memory": MemoryError("box"),
        "recursion": RecursionError(),
        "stop": StopIteration(),
        "exit": SystemExit(0),
        "broken": BrokenError(),
        "long": ValueError("x" * 100_000),
        "lines": ValueError("a\n\nb"),
        "assertion": AssertionError(),
        "generator exit": GeneratorExit(),
        "os": OSError(28, "No space left on device"),
        "base": Base(),
        "unicode": UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"),
        "group": ExceptionGroup("two", [ValueError("a")]),
    }
    raise errors[way]


def answer(way: str, images: Any, calls: list[int]) -> Any:
    """Return something."""
    count = len(images)
    calls.append(count)
    soft = torch.full((count, 3), 1 / 3)
    answers = {
        "none": lambda: None,
        "text": lambda: "cat",
        "object": object,
        "ragged": lambda: [[0.1], [0.2, 0.3]],
        "complex": lambda: soft * 1j,
        "nan": lambda: soft * math.nan,
        "inf": lambda: soft * math.inf,
        "shape": lambda: torch.zeros(count, 3, 4, 4),
        "bools": lambda: soft > 0,
        "integers": lambda: torch.ones(count, 3, dtype=torch.int64),
        "huge": lambda: soft * 1e38,
        "no columns": lambda: torch.zeros(count, 0),
        "scalar": lambda: 0.5,
        "sparse": lambda: soft.to_sparse(),
        "meta": lambda: soft.to("meta"),
        "deep": lambda: values.make({"odd": "deep"}),
        "quantised": lambda: torch.quantize_per_tensor(soft, 0.1, 0, torch.quint8),
        "gradient": lambda: soft.requires_grad_(),
        "dict": lambda: {"logits": soft, "x": None},
        "empty dict": dict,
        "tuple": lambda: (soft, soft),
        "generator": lambda: iter(soft),
        "other rows": lambda: torch.zeros(count + 1, 3),
        "changing": lambda: torch.zeros(count, 2 + len(calls) % 3),
        "bytes": lambda: b"ab",
        "self": lambda: values.Raises(),
        "same": lambda: images,
    }
    return answers[way]()


NEVER = (
    "none",
    "text",
    "object",
    "ragged",
    "complex",
    "nan",
    "inf",
    "meta",
    "no columns",
    "other rows",
    "deep",
    "bytes",
    "self",
)


class Net(nn.Module):
    """A network that answers or raises oddly, or has no forward."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way, self.calls = way, list[int]()
        self.conv = nn.Conv2d(3, 3, 1)

    def forward(self, images: Any) -> Any:
        """Answer."""
        seen = self.conv(images)
        return fail(self.way) if self.way in ERRORS else answer(self.way, seen, self.calls)


class Late(nn.Module):
    """A network that answers rightly at first."""

    def __init__(self, way: str, first: int) -> None:
        super().__init__()
        self.way, self.first, self.calls, self.inner = way, first, list[int](), toy.Colour()

    def forward(self, images: Any) -> Any:
        """Answer."""
        self.calls.append(len(images))
        seen = self.inner(images)
        if len(self.calls) <= self.first:
            return seen
        return fail(self.way) if self.way in ERRORS else answer(self.way, images, self.calls)


MODULES: dict[str, Any] = {
    "no forward": nn.Module,
    "list": lambda: nn.ModuleList([nn.Linear(1, 1)]),
    "empty": nn.Sequential,
    "linear": lambda: nn.Linear(3, 2),
    "meta": lambda: nn.Conv2d(3, 2, 1, device="meta"),
    "double": lambda: nn.Sequential(nn.Conv2d(3, 2, 1), nn.Flatten(), nn.LazyLinear(2)).double(),
    "half": lambda: nn.Sequential(nn.Conv2d(3, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()).half(),
    "complex": lambda: nn.Conv2d(3, 2, 1).to(torch.complex64),
    "nan": lambda: _spoil(nn.Sequential(nn.Conv2d(3, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())),
    "a class": lambda: nn.Linear,
}


def _spoil(net: nn.Module) -> nn.Module:
    with torch.no_grad():
        next(net.parameters()).fill_(math.nan)
    return net


def make_box(recipe: Any) -> tuple[Any, bool]:
    """Make what is given as a box; and say whether it cannot be right."""
    way, what = recipe
    if way == "spec":
        return what, False
    if way == "function":
        calls: list[int] = []
        return (lambda images: fail(what) if what in ERRORS else answer(what, images, calls)), what in (*ERRORS, *NEVER)
    if way == "late":
        return Late(*what), False
    if way == "net":
        return Net(what), what in (*ERRORS, *NEVER)
    if way == "module":
        return MODULES[what](), what in ("no forward", "list", "nan", "meta")
    return values.make(what), False


def run_box(recipe: Any, _folder: Path) -> None:
    """Load a box and explain a picture with it."""
    given, options, method = recipe
    thing, impossible = make_box(given)
    try:
        box = salience.load(thing, **{key: values.make(each) for key, each in options.items()})
        found = salience.explain(box, toy.picture(), method, **SMALL.get(method, {}), batch=4)
    except Base:
        return  # what is no Exception is for whoever raised it
    except GeneratorExit:
        return
    expect_sound(found)
    if impossible:
        raise WrongError(f"{given} was explained: {found!r}")


def _query(key: str, text: str) -> str:
    from urllib.parse import quote

    return f"{key}={quote(text, errors='surrogateescape')}"


specs = st.one_of(
    st.sampled_from(SPECS),
    st.builds(
        lambda spec, key, text: f"{spec}?{_query(key, text)}",
        st.sampled_from(SPECS[:4]),
        st.sampled_from(KEYS),
        st.one_of(
            st.sampled_from(values.TEXTS),
            st.sampled_from(("8", "9x9", "1e3", "torch compile x", "32,32,32", "softmax", "names.txt")),
        ),
    ),
    st.text(max_size=12).filter(lambda text: "hf:" not in text and "timm:" not in text),
)
box_options = st.dictionaries(st.sampled_from(KEYS), values.anything, max_size=1).map(lambda given: {"size": 32, **given})
boxes = st.one_of(
    st.tuples(
        st.tuples(st.just("spec"), specs),
        st.one_of(st.just({}), st.dictionaries(st.sampled_from(KEYS), values.anything, max_size=1)),
    ),
    st.tuples(st.tuples(st.just("function"), st.sampled_from((*ANSWERS, *ERRORS))), st.just({"size": 32, "takes": "torch"})),
    st.tuples(st.tuples(st.just("net"), st.sampled_from((*ANSWERS, *ERRORS))), st.just({"size": 32, "backend": "exact"})),
    st.tuples(
        st.tuples(st.just("late"), st.tuples(st.sampled_from((*ANSWERS, *ERRORS)), st.integers(1, 20))),
        st.just({"size": 32, "backend": "exact"}),
    ),
    st.tuples(
        st.tuples(st.just("module"), st.sampled_from(sorted(MODULES))),
        box_options.map(lambda given: {"backend": "exact", **given}),
    ),
    st.tuples(
        st.tuples(st.just("function"), st.sampled_from(("dict", "integers"))),
        box_options.map(lambda given: {"takes": "torch", **given}),
    ),
    st.tuples(st.tuples(st.just("value"), values.anything.filter(lambda each: each != "default")), box_options),
)
box_recipes = st.builds(
    lambda pair, method: (*pair, method), boxes, st.sampled_from(("occlusion", "occlusion", "gradient", "grad-cam", "rise"))
)


def run_settings(recipe: Any, _folder: Path) -> None:
    """Make a method, a measure or a trainer with odd settings, or a measure of an odd spec."""
    folder, name, given = recipe
    if folder == "spec":
        specs_of.make_measure(given)
        return
    cls = registry.find_class(folder, name)
    registry.make(cls, name, {key: values.make(each) for key, each in given.items()})
    _expect_settings({each.name: each.type for each in registry.list_settings(cls)}, name, given)


@st.composite
def setting_recipes(draw: Any) -> Any:
    """Draw a class with one or two odd settings."""
    folder = draw(st.sampled_from(("methods", "measures", "trainers")))
    name = draw(st.sampled_from(registry.list_names(folder)))
    fields = [each.name for each in registry.list_settings(registry.find_class(folder, name))] or ["x"]
    return folder, name, draw(st.dictionaries(st.sampled_from(fields), values.anything, min_size=1, max_size=2))


measure_specs = st.tuples(
    st.just("spec"),
    st.just(""),
    st.builds(
        lambda name, protocol, key, text: f"{name}{protocol}?{key}={text}",
        st.sampled_from((*registry.list_names("measures"), "", "x")),
        st.sampled_from(("", "/", "/x", "/rise-2018", "/cascade", "/gini")),
        st.sampled_from(("step", "x", "seed", "protocol", "other", "noise", "share", "levels", "")),
        st.sampled_from(values.TEXTS),
    ),
)
SETTINGS_KIND = Kind("settings", st.one_of(setting_recipes(), setting_recipes(), measure_specs), run_settings, share=12)


def run_measures(recipe: Any, _folder: Path) -> None:
    """Measure an explanation with odd options."""
    wanted, options = recipe
    why = salience.explain(toy.load("colour"), toy.picture(), "occlusion", window=16, stride=16)
    for each in salience.measure(
        "toy:colour", why, values.make(wanted), **{key: values.make(value) for key, value in options.items()}
    ):
        if not isinstance(each.value, float) or math.isinf(each.value):
            raise WrongError(f"{each} is no figure")


measure_recipes = st.tuples(
    st.one_of(
        st.lists(st.sampled_from(MEASURES), min_size=1, max_size=2),
        values.anything,
        st.lists(values.anything, min_size=1, max_size=1),
    ),
    st.one_of(
        st.just({}), st.dictionaries(st.sampled_from(("target", "truth", "batch", "trust")), values.anything, max_size=1)
    ),
)
MEASURES_KIND = Kind("measures", measure_recipes, run_measures, share=6)
OPTIONS_KIND = Kind("options", option_recipes(), run_options, share=15)
BOXES_KIND = Kind("boxes", box_recipes, run_box, share=12)
