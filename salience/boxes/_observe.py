"""Observe what a box takes and puts out: show it pictures until it takes some, and choose among its answers."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from salience.boxes._questions.recognise import expect_scores
from salience.boxes._stranger import Stranger, count_shown, make_pictures, take_channels
from salience.errors import BoxError, SalienceError, describe
from salience.runtime.outputs import Output, choose_output, find_last_operation, find_last_scripted, list_outputs

ALIKE = {torch.float16: 2e-2, torch.bfloat16: 5e-2}  # of the largest score; what else is alike to 1e-3
TRIED = (3, 1, 4, 13)  # channels, where the network does not say how many
STEMS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
CHANNEL_LIMIT = 64


@dataclass
class Seen:
    """What a box showed of itself."""

    output: Output  # of the pictures that were shown together, or of one
    rows: Float[Tensor, "n k"]
    outputs: int  # how many there were
    operation: str  # that made the scores
    batch: int | None = None
    why: str = ""  # it is asked one by one
    steady: float = 0.0  # how far the scores of one picture, shown twice, differ

    def __post_init__(self) -> None:
        self.contrasts = self.rows  # the same, and those of pictures of far too great a contrast


class RefusalError(Exception):
    """What a network raised."""

    def __init__(self, problem: Exception) -> None:
        super().__init__(describe(problem))
        self.problem = problem


def show(box: Stranger, images: Tensor) -> Any:
    try:
        return box.put_out(images)
    except SalienceError:
        raise
    except Exception as problem:
        raise RefusalError(problem) from problem


def observe(box: Stranger) -> Seen:
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
            return _observe_pictures(box, make_pictures(box.size, count_shown(box)))
        except RefusalError as refused:
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


def _observe_pictures(box: Stranger, pictures: Tensor) -> Seen:
    """Show three pictures at once and two of them alone; where many are not taken, all alone."""
    together, problem = _try_many(box, pictures)
    singly = [show(box, each[None]) for each in (pictures[:2] if together is not None else pictures)]
    expect_scores(box, singly[0], together=together is not None)
    wanted, classes = (box.output if "output" in box.given else None), box.class_count
    shown, count = (singly[0], 1) if together is None else (together, len(pictures))
    chosen = choose_output(shown, count, wanted=wanted, classes=classes)
    single = torch.cat([take(each, chosen.name, 1) for each in singly])
    seen = Seen(chosen, single, len(list_outputs(singly[0])), _find_operation(box.module, singly[0], chosen.name))
    if together is None:
        return replace(seen, batch=1, why=problem)
    rows = take(together, chosen.name, len(pictures))
    difference = float((rows[:2] - single).abs().max() / rows.abs().max().clamp(min=1e-6))
    if difference <= ALIKE.get(rows.dtype, 1e-3):
        return replace(seen, rows=rows)
    again = take(show(box, pictures[:1]), chosen.name, 1)
    steady = float((again - single[:1]).abs().max() / rows.abs().max().clamp(min=1e-6))
    if steady > 0:
        return replace(seen, rows=rows, steady=steady)
    why = f"the scores of a batch differ from those of single images by up to {difference:.1%} of the largest"
    return replace(seen, batch=1, why=why)


def _try_many(box: Stranger, pictures: Tensor) -> tuple[Any, str]:
    """Show pictures at once; None and the reason where that is not taken, or the answer has not a row for each."""
    if box.batch == 1:
        return None, "batch=1 was given"
    try:
        raw = show(box, pictures)
    except RefusalError as refused:
        return None, f"it takes no batch of {len(pictures)} ({_shorten(refused.problem, 80)})"
    rows = [each for each in list_outputs(raw) if each.columns(len(pictures)) is not None]
    maps = [each for each in list_outputs(raw) if each.value.ndim > 2 and len(each.value) == len(pictures)]
    return (raw, "") if rows or maps else (None, f"its output for a batch of {len(pictures)} has not a row for each image")


def take(raw: Any, name: str, count: int) -> Tensor:
    """Return the rows of one output, without a record of gradients."""
    found = next((each for each in list_outputs(raw) if each.name == name), None)
    if found is None or found.columns(count) is None:
        raise BoxError(f"expected output {name!r} of the network for {count} pictures too, got none: name another output")
    rows = found.rows(count).detach()
    if rows.is_meta or not rows.numel():
        raise BoxError(
            f"expected scores in output {name!r} of the network, got {'none' if not rows.is_meta else 'no values'}"
        )
    rows = rows.cpu()
    return rows if rows.is_floating_point() else rows.float()


def _find_operation(module: Any, raw: Any, name: str) -> str:
    if isinstance(module, torch.jit.ScriptModule):
        return find_last_scripted(module.inlined_graph, name)
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
    words = " ".join(describe(problem).split()) if problem is not None else "nothing"
    return f"{words[:most]}{'…' if len(words) > most else ''}"
