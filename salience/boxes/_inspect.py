"""Meet a box before it is believed: show it three pictures, and write down what it takes and what it puts out.

At most eight passes: three pictures at once, each of two alone, one of these again, and two of one of too great a contrast,
its negative, and one whose white is 255. What was found is remembered by the box's fingerprint.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict

import torch
from torch import Tensor
from torch.nn import functional

from salience.boxes._memory import remember
from salience.boxes._observe import RefusalError, Seen, observe, show, take
from salience.boxes._stranger import Stranger, count_shown, make_pictures, take_channels
from salience.errors import BoxError
from salience.runtime import heads
from salience.types import Finding, Head

UNSURE = 2.0  # times chance
CUT = ("Clamp", "Hardsigmoid")  # operations that make zeros of numbers


def meet(box: Stranger, key: str | None = None) -> tuple[Finding, ...]:
    """Find out what a box takes and puts out, write it down in the box, and return it line by line.

    `key` names the box and what was said of it: what was found is remembered under it. BoxError says what the box did
    not take.
    """
    found = remember(
        key,
        "met",
        lambda: list(_find(box)),
        lambda lines: [asdict(each) for each in lines],
        lambda plain: [_expect_plain(Finding(**each)) for each in plain],
    )
    return _write_down(box, found)


def _expect_plain(finding: Finding) -> Finding:
    if not isinstance(finding.about, str) or not isinstance(finding.said, str):
        raise TypeError("a damaged entry")
    return finding


def _write_down(box: Stranger, findings: Sequence[Finding]) -> tuple[Finding, ...]:
    known = {each.about: each.value for each in findings}
    take_channels(box, known["channels"])
    box.output, box.head, box.batch = known["output"], known["head"], known["batch"]
    box.input_type = getattr(torch, known["type"]) if "type" in known else None
    columns = heads.count_classes(known["columns"], box.head)
    said = box.name_classes(columns)
    box.findings = (
        *(each for each in findings if each.about != "columns" and each.said),
        Finding("classes", columns, said),
    )
    return box.findings


def _find(box: Stranger) -> Iterator[Finding]:
    seen = observe(box)
    yield Finding("channels", box.channels, _say(box, "channels", f"{box.channels}"))
    yield Finding("size", list(box.size), _say(box, "size", f"{box.size[0]}×{box.size[1]}"))
    several = f" of {seen.outputs}" if seen.outputs > 1 else ""
    yield Finding("output", seen.output.name or None, _say(box, "output", f"{seen.output.name or 'a tensor'}{several}"))
    head, columns = _find_head(box, seen), seen.rows.shape[1]
    yield Finding("head", head, _say(box, "head", f"{head}: {heads.describe_head(head, columns)}"))
    yield Finding("columns", columns, "")
    if box.input_type is not None:
        yield Finding("type", str(box.input_type).removeprefix("torch."), f"it takes numbers of type {box.input_type}")
    one_by_one = f"single images, for {seen.why}" if seen.batch else "any size: a batch has the scores of its single images"
    yield Finding("batch", seen.batch, _say(box, "batch", one_by_one))
    if seen.steady:
        said = f"not deterministic: the scores of one image differ by up to {seen.steady:.1%} of the largest"
        yield Finding("steady", seen.steady, said)
    if unsure := _find_range(box, seen, head):
        yield Finding("range", list(box.preparation.std), unsure)


def _say(box: Stranger, about: str, what: str) -> str:
    source = "given" if about in box.given else box.published.get(about, "")
    return what + (f" ({source})" if source else "")


def _find_head(box: Stranger, seen: Seen) -> Head:
    if "head" in box.given or "head" in box.published:
        return box.head
    head = heads.recognise_head(seen.rows, seen.operation)
    if seen.operation in heads.BOUNDED or head not in heads.OF_PROBABILITIES:
        return head
    # What made the numbers says nothing: those of a picture of far too great a contrast leave 0…1, unless they cannot.
    for times in (1000, -1000):
        _show_contrast(box, seen, times)
        if heads.recognise_head(seen.contrasts) not in heads.OF_PROBABILITIES:
            break
    if not seen.contrasts.any() and seen.operation not in CUT:
        raise BoxError(
            f"expected logits or probabilities from {box.name}, got 0 for every picture: give head=softmax, or what they are"
        )
    return heads.recognise_head(seen.contrasts)


def _show_contrast(box: Stranger, seen: Seen, times: float) -> None:
    """Add the scores of a picture of so many times the contrast, where they are numbers."""
    with suppress(RefusalError):
        rows = take(show(box, times * (make_pictures(box.size, count_shown(box))[:1] - 0.5)), seen.output.name, 1)
        if bool(rows.isfinite().all()):
            seen.contrasts = torch.cat([seen.contrasts, rows.to(seen.rows)])


def _find_range(box: Stranger, seen: Seen, head: Head) -> str:
    """Say so where a network is never sure of anything as its pixels are normalised; and how sure it is of 0…255."""
    if head not in ("softmax", "probabilities") or box.published.get("normalisation") or seen.rows.shape[1] < 3:
        return ""
    sure, random_guess = _find_sureness(seen.rows, head), 1 / seen.rows.shape[1]
    if sure > UNSURE * random_guess:
        return ""
    said = f"of three pictures it is never surer than {sure:.1%} (chance is {random_guess:.1%})"
    if len(seen.contrasts) > len(seen.rows) + 1:  # eight passes were made
        return f"{said}: give mean= and std= if it was trained with others"
    with suppress(RefusalError):
        photograph = make_pictures(box.size, count_shown(box))[:1] * 255
        of_255 = _find_sureness(take(show(box, photograph), seen.output.name, 1), head)
        if of_255 > max(0.5, 2 * sure):
            return f"{said}; where white is 255 it is {of_255:.0%} sure: give mean=0 and std=0.00392157 if it wants that"
    return f"{said}: give mean= and std= if it was trained with others"


def _find_sureness(rows: Tensor, head: Head) -> float:
    return float((functional.softmax(rows.float(), 1) if head == "softmax" else rows.float()).max())
