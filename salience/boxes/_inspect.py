"""Meet a box before it is believed: show it three pictures, and write down what it takes and what it puts out.

At most eight passes: three pictures at once, each of two alone, one of these again, one of too great a contrast, and one
whose white is 255. What was found is remembered by the box's fingerprint.
"""

from __future__ import annotations

import inspect
import json
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image as pil
from torch import Tensor, nn
from torch.nn import functional

from salience.boxes._hash import hash_value
from salience.engine import seeding
from salience.errors import BoxError, SalienceError
from salience.runtime import disk_cache, heads
from salience.runtime.outputs import Output, choose_output, find_last_operation, list_outputs
from salience.types import BlackBox, Finding, Head

SAMPLE = Path(__file__).parents[1] / "sample.jpg"
FORM = 1  # of the findings that are remembered
ALIKE = {torch.float16: 2e-2, torch.bfloat16: 5e-2}  # of the largest score; what else is alike to 1e-3
UNSURE = 2.0  # times chance
TRIED = (3, 1, 4, 13)  # channels, where the network does not say how many
STEMS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
CHANNEL_LIMIT = 64


class Stranger(BlackBox):
    """A box that is to be met: meeting it changes what it says of itself."""

    module: Any  # the network or the function
    preparation: Any
    input_type: torch.dtype | None = None  # of the numbers that the network takes; None: of its first weights
    output: str | None = None  # the one that has the scores
    head: Head
    given: frozenset[str]  # the options that its user named: they are not looked for
    published: dict[str, str]  # the same of what the network's library says, and where

    @abstractmethod
    def put_out(self, images: Float[Tensor, "n c h w"]) -> Any:
        """Run the network on images in 0…1 and return all that it puts out; gradients are recorded where they can be."""

    @property
    @abstractmethod
    def class_count(self) -> int | None:
        """How many names of classes there are; None where nobody gave names."""

    @abstractmethod
    def name_classes(self, count: int) -> str:
        """Compare the names of the classes with how many there are, and say where they come from."""


def count_shown(box: BlackBox) -> int:
    """Say how many channels images for a box have: a network of one channel sees the grey of three.

    >>> from salience.boxes import toy
    >>> count_shown(toy.load("colour"))
    3
    """
    return 3 if box.channels == 1 else box.channels


@cache
def make_pictures(size: tuple[int, int], channels: int) -> Float[Tensor, "3 c h w"]:
    """Make three pictures: a photograph, its negative upside down, and noise.

    >>> make_pictures((8, 8), 4).shape
    torch.Size([3, 4, 8, 8])
    """
    with pil.open(SAMPLE) as file:
        pixels = np.asarray(file.convert("RGB").resize((size[1], size[0]), pil.Resampling.BILINEAR))
    colours = torch.from_numpy(pixels.copy()).permute(2, 0, 1).float().div(255)
    photograph = colours[[each % 3 for each in range(channels)]]
    noise = torch.rand(channels, *size, generator=seeding.generator(0, "pictures for a box that is met"))
    return torch.stack([photograph, 1 - photograph.flip(-2), noise])


@dataclass
class _Seen:
    """What a box showed of itself."""

    output: Output  # of the pictures that were shown together, or of one
    rows: Float[Tensor, "n k"]
    outputs: int  # how many there were
    operation: str  # that made the scores
    batch: int | None = None
    why: str = ""  # it is asked one by one
    steady: float = 0.0  # how far the scores of one picture, shown twice, differ


def meet(box: Stranger, key: str | None = None) -> tuple[Finding, ...]:
    """Find out what a box takes and puts out, write it down in the box, and return it line by line.

    `key` names the box and what was said of it: what was found is remembered under it. BoxError says what the box did
    not take.
    """
    name = None if key is None else f"{key}.{FORM}.met.json"
    kept = None if name is None else disk_cache.read(name)
    if kept is not None:
        with suppress(ValueError, TypeError, KeyError):
            return _write_down(box, [Finding(**each) for each in json.loads(kept)])
    found = list(_find(box))
    if name is not None:
        disk_cache.write(name, json.dumps([asdict(each) for each in found]).encode())
    return _write_down(box, found)


def _write_down(box: Stranger, found: Sequence[Finding]) -> tuple[Finding, ...]:
    known = {each.about: each.value for each in found}
    take_channels(box, known["channels"])
    box.output, box.head, box.batch = known["output"], known["head"], known["batch"]
    box.input_type = getattr(torch, known["type"]) if "type" in known else None
    columns = heads.count_classes(known["columns"], box.head)
    said = box.name_classes(columns)
    box.findings = (
        *(each for each in found if each.about != "columns" and each.said),
        Finding("classes", columns, said),
    )
    return box.findings


def take_channels(box: Stranger, channels: int) -> None:
    """Let a box take images of so many channels: its normalisation has a value for each."""
    box.channels = channels
    if channels != 1 or len(box.preparation.mean) != 3:  # the grey of three colours is made in the box
        box.preparation = box.preparation.with_channels(channels)
    if len(box.mean) != count_shown(box):
        box.mean = box.mean[:1] * count_shown(box)


def _find(box: Stranger) -> Iterator[Finding]:
    seen = _look(box)
    yield Finding("channels", box.channels, _say(box, "channels", f"{box.channels}"))
    yield Finding("size", list(box.size), _say(box, "size", f"{box.size[0]}×{box.size[1]}"))
    several = f" of {seen.outputs}" if seen.outputs > 1 else ""
    yield Finding("output", seen.output.name or None, _say(box, "output", f"{seen.output.name or 'the only one'}{several}"))
    head, columns = _find_head(box, seen), seen.rows.shape[1]
    yield Finding("head", head, _say(box, "head", f"{head}: {heads.describe_head(head, columns)}"))
    yield Finding("columns", columns, "")
    if box.input_type is not None:
        yield Finding("type", str(box.input_type).removeprefix("torch."), f"it takes numbers of type {box.input_type}")
    one_by_one = f"one by one, for {seen.why}" if seen.batch else "many at once answer as one by one"
    yield Finding("batch", seen.batch, _say(box, "batch", one_by_one))
    if seen.steady:
        said = f"equal pictures get scores that differ by up to {seen.steady:.1%} of the largest: it draws by chance"
        yield Finding("steady", seen.steady, said)
    if unsure := _find_range(box, seen, head):
        yield Finding("range", list(box.preparation.std), unsure)


def _say(box: Stranger, about: str, what: str) -> str:
    source = "given" if about in box.given else box.published.get(about, "")
    return what + (f" ({source})" if source else "")


def _find_head(box: Stranger, seen: _Seen) -> Head:
    if "head" in box.given or "head" in box.published:
        return box.head
    head = heads.recognise_head(seen.rows, seen.operation)
    if seen.operation in heads.BOUNDED or head not in heads.OF_PROBABILITIES:
        return head
    # What made the numbers says nothing: those of a picture of far too great a contrast leave 0…1, unless they cannot.
    with suppress(_RefusalError):
        rows = _take(_show(box, 1000 * make_pictures(box.size, count_shown(box))[:1] - 500), seen.output.name, 1)
        rows = torch.cat([seen.rows, rows]) if bool(rows.isfinite().all()) else seen.rows
        return heads.recognise_head(rows)
    return head


# --- what it takes ---


class _RefusalError(Exception):
    """What a network raised."""

    def __init__(self, problem: Exception) -> None:
        super().__init__(str(problem))
        self.problem = problem


def _show(box: Stranger, images: Tensor) -> Any:
    try:
        return box.put_out(images)
    except SalienceError:
        raise
    except Exception as problem:
        raise _RefusalError(problem) from problem


def _look(box: Stranger) -> _Seen:
    """Show pictures of one number of channels after the other until some are taken."""
    problem: Exception | None = None
    before = box.preparation
    for channels, kind in product(list_channels(box), list_types(box)):
        try:
            box.preparation, box.input_type = before, kind
            take_channels(box, channels)
        except SalienceError as raised:  # its normalisation has not as many values
            problem = problem or raised
            continue
        try:
            return _look_at(box, make_pictures(box.size, count_shown(box)))
        except _RefusalError as refused:
            problem = problem or refused.problem
    box.preparation, box.channels, box.input_type = before, list_channels(box)[0], None
    raise BoxError(_refuse(box, problem)) from problem


def list_types(box: Stranger) -> list[torch.dtype | None]:
    """List the types of numbers that a network may take: that of its first weights, or of others of them."""
    if not isinstance(box.module, nn.Module):
        return [None]
    kinds = list(dict.fromkeys(each.dtype for each in box.module.parameters() if each.is_floating_point()))
    return [None, *kinds[1:], *([torch.float32] if kinds and torch.float32 not in kinds else [])]


def list_channels(box: Stranger) -> list[int]:
    """List the numbers of channels to try: what the stem takes, or, where none is known, what is usual."""
    if "channels" in box.given or "channels" in box.published:
        return [box.channels]
    stem = find_stem(box.module)
    if stem is not None:
        return [stem, *(each for each in (3, 1) if each != stem)]
    return list(TRIED)


def find_stem(module: Any) -> int | None:
    """Return how many channels the first convolution of a network takes; None where it has none.

    >>> find_stem(nn.Sequential(nn.Conv2d(13, 8, 3), nn.Conv2d(8, 8, 3)))
    13
    """
    if not isinstance(module, nn.Module):
        return None
    for each in module.modules():
        found = getattr(each, "in_channels", None)
        if isinstance(each, STEMS) or (isinstance(found, int) and hasattr(each, "kernel_size")):
            return found if isinstance(found, int) and 0 < found <= CHANNEL_LIMIT else None
    return None


def _look_at(box: Stranger, pictures: Tensor) -> _Seen:
    """Show three pictures at once and two of them alone; where many are not taken, all alone."""
    together, problem = _try_many(box, pictures)
    alone = [_show(box, each[None]) for each in (pictures[:2] if together is not None else pictures)]
    wanted, classes = (box.output if "output" in box.given else None), box.class_count
    shown, count = (alone[0], 1) if together is None else (together, len(pictures))
    chosen = choose_output(shown, count, wanted=wanted, classes=classes)
    single = torch.cat([_take(each, chosen.name, 1) for each in alone])
    seen = _Seen(chosen, single, len(list_outputs(alone[0])), _find_operation(alone[0], chosen.name))
    if together is None:
        return replace(seen, batch=1, why=problem)
    rows = _take(together, chosen.name, len(pictures))
    difference = float((rows[:2] - single).abs().max() / rows.abs().max().clamp(min=1e-6))
    if difference <= ALIKE.get(rows.dtype, 1e-3):
        return replace(seen, rows=rows)
    again = _take(_show(box, pictures[:1]), chosen.name, 1)
    steady = float((again - single[:1]).abs().max() / rows.abs().max().clamp(min=1e-6))
    if steady > 0:
        return replace(seen, rows=rows, steady=steady)
    why = f"the scores of many at once differ from those of each alone by up to {difference:.1%} of the largest"
    return replace(seen, batch=1, why=why)


def _try_many(box: Stranger, pictures: Tensor) -> tuple[Any, str]:
    """Show pictures at once; None and the reason where that is not taken, or the answer has not a row for each."""
    if box.batch == 1:
        return None, "so it was asked for"
    try:
        raw = _show(box, pictures)
    except _RefusalError as refused:
        return None, f"it does not take {len(pictures)} at once ({_shorten(refused.problem, 80)})"
    rows = [each for each in list_outputs(raw) if each.columns(len(pictures)) is not None]
    maps = [each for each in list_outputs(raw) if each.value.ndim > 2 and len(each.value) == len(pictures)]
    return (raw, "") if rows or maps else (None, f"its answer to {len(pictures)} pictures has not a row for each")


def _take(raw: Any, name: str, count: int) -> Tensor:
    """Return the rows of one output, without a record of gradients."""
    found = next((each for each in list_outputs(raw) if each.name == name), None)
    if found is None or found.columns(count) is None:
        raise BoxError(f"expected output {name!r} of the network for {count} pictures too, got none: name another output")
    rows = found.rows(count).detach().cpu()
    return rows if rows.is_floating_point() else rows.float()


def _find_operation(raw: Any, name: str) -> str:
    found = next(each for each in list_outputs(raw) if each.name == name)
    return find_last_operation(found.value)


def _refuse(box: Stranger, problem: Exception | None) -> str:
    """Say what a network did not take, and what to do."""
    shape = (1, count_shown(box), *box.size)
    inputs = list_inputs(box.module)
    if len(inputs) > 1:
        return (
            f"expected a network with one input, the images, got {box.name} with {len(inputs)} ({', '.join(inputs)}): "
            "wrap it in a module that takes images alone"
        )
    inner = box.module.modules() if isinstance(box.module, nn.Module) else ()
    stem = next((each for each in inner if isinstance(each, STEMS)), None)
    if isinstance(stem, nn.Conv3d):
        return (
            f"expected a network of pictures (n c h w), got {box.name}, which takes volumes (n c d h w): "
            "wrap it in a module that makes a volume of a picture"
        )
    if isinstance(stem, nn.Conv1d):
        return f"expected a network of pictures (n c h w), got {box.name}, which takes rows of numbers: wrap it"
    what = "give size= and channels= as the network was made for"
    return f"expected {box.name} to take images of shape {shape}, got {_shorten(problem)}: {what}"


def list_inputs(module: Any) -> list[str]:
    """Name the arguments without which a network cannot be called.

    >>> list_inputs(nn.Linear(3, 2)), list_inputs(nn.Bilinear(3, 3, 2))
    (['input'], ['input1', 'input2'])
    """
    try:
        parameters = inspect.signature(module.forward).parameters.values()
    except (AttributeError, TypeError, ValueError):
        return []
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [each.name for each in parameters if each.kind in kinds and each.default is inspect.Parameter.empty]


def _shorten(problem: Exception | None, most: int = 160) -> str:
    words = " ".join(str(problem).split())
    return f"{type(problem).__name__}: {words[:most]}{'…' if len(words) > most else ''}"


# --- whether 0…1 is what it wants ---


def _find_range(box: Stranger, seen: _Seen, head: Head) -> str:
    """Say so where a network is never sure of anything as its pixels are normalised; and how sure it is of 0…255."""
    if head not in ("softmax", "probabilities") or box.published.get("normalisation") or seen.rows.shape[1] < 3:
        return ""
    sure, chance = _find_sureness(seen.rows, head), 1 / seen.rows.shape[1]
    if sure > UNSURE * chance:
        return ""
    said = f"of three pictures it is never surer than {sure:.1%} (chance is {chance:.1%})"
    with suppress(_RefusalError):
        photograph = make_pictures(box.size, count_shown(box))[:1] * 255
        of_255 = _find_sureness(_take(_show(box, photograph), seen.output.name, 1), head)
        if of_255 > max(0.5, 2 * sure):
            return f"{said}; where white is 255 it is {of_255:.0%} sure: give mean=0 and std=0.00392157 if it wants that"
    return f"{said}: give mean= and std= if it was trained with others"


def _find_sureness(rows: Tensor, head: Head) -> float:
    return float((functional.softmax(rows.float(), 1) if head == "softmax" else rows.float()).max())


# --- by what name the findings are remembered ---


def make_key(box: Any) -> str | None:
    """Make a name of a torch box and of what was said of it; None where its code cannot be told from another's.

    >>> from salience.boxes import toy
    >>> make_key(toy.load("colour")) == make_key(toy.load("colour"))
    True
    """
    with suppress(Exception):  # whatever cannot be hashed is met anew
        code, inside = disk_cache.hash_code(box.module), _hash_attributes(box.module)
        if code is not None and inside is not None:
            said = (sorted(box.given), sorted(box.published.items()), box.class_count, box.batch)
            return disk_cache.make_key(box.fingerprint, code, inside, box.size, said)
    return None


def _hash_attributes(module: nn.Module) -> str | None:
    """Hash what modules hold beside weights and modules; a function of the user's own may do anything."""
    held = {
        name: {key: value for key, value in vars(inner).items() if key not in KEPT_APART and not _is_plain(value)}
        for name, inner in module.named_modules()
    }
    held = {name: each for name, each in held.items() if each}
    return hash_value(held) if held else ""


KEPT_APART = frozenset(vars(nn.Module())) - {"training"}


def _is_plain(value: Any) -> bool:
    return isinstance(value, (bool, int, float, str, type(None), nn.Module, Tensor))
