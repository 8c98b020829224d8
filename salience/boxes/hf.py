"""`hf:NAME`: a classifier, detector or segmenter of the Hugging Face hub or of a local folder, with its own processor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from torch import nn

from salience.boxes._options import fit_to_network
from salience.boxes._questions.zero_shot import match_texts, read_texts
from salience.boxes._recognise import comes_from
from salience.boxes.torch import TorchBox, make_box
from salience.errors import BoxError, SalienceError
from salience.picture import Preparation
from salience.types import Head

RUNS_NOTHING = True  # so a file may name it: see specs.expect_harmless
HEADS: dict[str, Head] = {"multi_label_classification": "sigmoid", "regression": "number"}
KINDS = {  # how the names of architectures end, and what loads them
    "ForObjectDetection": "AutoModelForObjectDetection",
    "ForSemanticSegmentation": "AutoModelForSemanticSegmentation",
    "ForUniversalSegmentation": "AutoModelForUniversalSegmentation",
}
_FILTERS = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}


def load(name: str, *, classes: Any = None, **options: Any) -> TorchBox:
    """Load model and processor; a folder saved with `save_pretrained` needs no network."""
    try:
        import transformers
    except ImportError as problem:
        raise BoxError("expected the package transformers for hf: boxes, got none: install salience[hf]") from problem
    labels, tokenizer = options.pop("labels", None), options.pop("tokenizer", None)
    try:
        config = transformers.AutoConfig.from_pretrained(name, trust_remote_code=False)
        if hasattr(config, "text_config") and hasattr(config, "vision_config"):
            _expect_texts(labels, f"hf:{name}")
            net = transformers.AutoModel.from_pretrained(name, trust_remote_code=False)
            return wrap(net, classes=classes, name=f"hf:{name}", labels=labels, tokenizer=tokenizer, **options)
        kind = getattr(transformers, _choose_kind(config.architectures or ()))
        net, about = kind.from_pretrained(name, output_loading_info=True, trust_remote_code=False)
    except SalienceError:
        raise
    except Exception as problem:
        reason = " ".join(str(problem).split())[:200]
        raise BoxError(f"expected to load hf:{name}, got {reason}: check the name or give a folder") from problem
    _expect_head(name, net, about)
    return _wrap(net, name, classes, f"hf:{name}", options, suffices={"size", "mean", "std"} <= set(options))


def _choose_kind(architectures: Sequence[str]) -> str:
    """Name transformers' class for what a configuration says was saved."""
    ends = (each for each in KINDS if any(name.endswith(each) for name in architectures))
    return next((KINDS[each] for each in ends), "AutoModelForImageClassification")


def recognises(thing: Any, options: Mapping[str, Any]) -> bool:
    """Say whether it is a network of transformers."""
    return comes_from(thing, "transformers") and "weights" not in options


def wrap(module: nn.Module, *, classes: Any = None, name: str = "", **options: Any) -> TorchBox:
    """Make a box of a network of transformers; with a size its image processor is not loaded.

    One of pictures and texts wants `labels`, the texts, and its `tokenizer`, unless that lies beside its weights.
    """
    labels, tokenizer = options.pop("labels", None), options.pop("tokenizer", None)
    if hasattr(module, "get_text_features") or labels is not None:
        return _match_texts(module, labels, tokenizer, name, options)
    return _wrap(
        module, str(getattr(module.config, "_name_or_path", "")), classes, name, options, suffices="size" in options
    )


def _match_texts(net: Any, labels: Any, tokenizer: Any, name: str, options: dict[str, Any]) -> TorchBox:
    """Make a box whose classes are texts."""
    called = name or type(net).__name__
    _expect_texts(labels, called)
    if not hasattr(net, "get_text_features"):
        raise BoxError(f"expected a model that matches pictures and texts for labels=, got {called}: leave them out")
    from transformers import AutoTokenizer

    place, texts = str(getattr(net.config, "_name_or_path", "")), read_texts(labels)
    try:
        words = tokenizer or AutoTokenizer.from_pretrained(place, trust_remote_code=False)
    except Exception as problem:
        reason = " ".join(str(problem).split())[:200]
        raise BoxError(f"expected a tokenizer for {name or place}, got {reason}: give tokenizer=") from problem
    base = find_preparation(net.vision_model, place, "size" in options)
    published = {} if base is None else dict.fromkeys(("size", "normalisation"), "its image processor")
    sigmoid = getattr(net, "logit_bias", None) is not None
    head: Head = "sigmoid" if sigmoid else "softmax"
    box = make_box(
        match_texts(net, words, texts), base, options, names=texts, name=name, published=published | {"head": "it"}
    )
    box.head = options.get("head", head)
    return box


def _expect_texts(labels: Any, name: str) -> None:
    if labels is None:
        raise BoxError(
            f"expected texts for {name}, which scores pictures against texts, got none: give labels="
            "a photo of a cat,a photo of a dog"
        )


def _wrap(net: Any, place: str, classes: Any, name: str, options: dict[str, Any], *, suffices: bool) -> TorchBox:
    base = find_preparation(net, place, suffices)
    published = {} if base is None else dict.fromkeys(("size", "normalisation"), "its image processor")
    head = HEADS.get(getattr(net.config, "problem_type", None) or "")
    if head is not None and "head" not in options:
        published["head"] = "its configuration"
    published["classes"] = "its configuration"
    names = net.config.id2label
    box = make_box(net, base, options, classes=classes, names=names, name=name, published=published)
    if "head" in box.published and head is not None:
        box.head = head
    return box


def _expect_head(name: str, net: Any, about: Any) -> None:
    """Refuse a checkpoint whose file holds no classifier: its head would be random, and another one each time."""
    base = f"{getattr(net, 'base_model_prefix', '')}."
    missing = sorted(key for key in about.get("missing_keys", ()) if not key.startswith(base))
    if missing:
        raise BoxError(
            f"expected an image classifier in hf:{name}, got one without {', '.join(missing[:3])}: "
            "it holds no classifier; train one on it, or name a checkpoint that has one"
        )


def find_preparation(net: nn.Module, name: str, suffices: bool) -> Preparation | None:
    """Read the settings of the processor that lies beside the weights, for the size that the network was made for.

    None where there is no processor on this machine and what is given `suffices`.
    """
    if suffices and not name:
        return None
    try:
        return fit_to_network(load_preparation(name, here=suffices), net)
    except BoxError:
        if suffices:
            return None
        raise


def load_preparation(name: str, *, here: bool = False) -> Preparation:
    """Read the processor's settings, with `here` from this machine alone."""
    from transformers import AutoImageProcessor

    try:
        processor = AutoImageProcessor.from_pretrained(name, local_files_only=here, trust_remote_code=False)
    except Exception as problem:
        reason = " ".join(str(problem).split())[:200]
        raise BoxError(f"expected an image processor for hf:{name}, got {reason}: give size, mean and std") from problem
    return read_preparation(processor)


def read_preparation(processor: Any) -> Preparation:
    """Translate an image processor: resize to a shape or to the shorter side, crop, normalise."""
    settings = processor.to_dict()
    wanted, crop = dict(settings.get("size") or {}), dict(settings.get("crop_size") or {})
    short = wanted.get("shortest_edge")
    portion = settings.get("crop_pct")
    cropped = bool(settings.get("do_center_crop")) and bool(crop)
    size: tuple[int, int]
    resize: int | tuple[int, int] | Literal["fit"]
    if short is not None and wanted.get("longest_edge"):  # a detector's: the whole picture, in its proportions
        size, resize = (short, short), "fit"
    elif short is not None and portion and short < 384:  # ConvNeXt's processor: enlarge, then crop
        size, resize = (short, short), int(short / portion)
    elif short is not None:
        size = (crop["height"], crop["width"]) if cropped else (short, short)
        resize = short if cropped else (short, short)
    else:
        across = (wanted["height"], wanted["width"])
        size, resize = ((crop["height"], crop["width"]) if cropped else across), across
    normalised = settings.get("do_normalize", True)
    mean = tuple(settings["image_mean"]) if normalised else (0.0, 0.0, 0.0)
    std = tuple(settings["image_std"]) if normalised else (1.0, 1.0, 1.0)
    kind: Any = _FILTERS[int(settings.get("resample", 2))]
    return Preparation(size, resize, kind, mean, std, source=f"transformers {type(processor).__name__}")
