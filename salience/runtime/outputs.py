"""Which of the things that a network puts out are its scores."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import torch
from torch import Tensor

from salience.errors import BoxError, UnknownName

DEEP = 4  # containers within containers
# What people call their scores; the first that is there is taken.
USUAL = (
    "logits",
    "logits_per_image",
    "scores",
    "score",
    "logit",
    "class_logits",
    "cls_logits",
    "preds",
    "pred",
    "predictions",
    "prediction",
    "probabilities",
    "probs",
    "prob",
    "y_pred",
    "y_hat",
    "output",
    "out",
    "cls",
)


@dataclass(frozen=True)
class Output:
    """One tensor that a network puts out, by its name there: `logits`, `1`, `heads.age`; "" where it is the only one.

    >>> import torch
    >>> Output("1", torch.zeros(2, 10)).columns(2)
    10
    """

    name: str
    value: Tensor

    def columns(self, count: int) -> int | None:
        """Return how many scores it has for each of `count` pictures; None where it can be no row of scores a picture."""
        shape = tuple(self.value.shape)
        if not self.value.is_floating_point() or (not shape and count != 1):
            return None
        if shape in ((), (count,)):
            return 1
        if count == 1 and len(shape) == 1:
            return shape[0]
        longer = [length for length in shape[1:] if length != 1]
        return None if shape[0] != count or len(longer) > 1 else longer[0] if longer else 1

    def rows(self, count: int) -> Tensor:
        """Return the scores (n k) of `count` pictures."""
        return self.value.reshape(count, -1)

    def __str__(self) -> str:
        """Say its name and shape, as in `logits (3, 10)`."""
        kind = "" if self.value.is_floating_point() else f" of {str(self.value.dtype).removeprefix('torch.')}"
        return f"{self.name or 'a tensor'} {tuple(self.value.shape)}{kind}"


def list_outputs(raw: Any) -> list[Output]:
    """List the tensors in what a network returns: a tensor, a tuple, a dictionary, an object, and these in each other.

    >>> import torch
    >>> [str(each) for each in list_outputs({"loss": torch.tensor(1.0), "heads": (torch.zeros(2, 10),)})]
    ['loss ()', 'heads.0 (2, 10)']
    """
    return list(_walk(raw, "", DEEP))


def _walk(raw: Any, name: str, deep: int) -> Iterator[Output]:
    if isinstance(raw, Tensor):
        plain = raw.dequantize() if raw.is_quantized else raw
        yield Output(name, plain if plain.layout == torch.strided else plain.to_dense())
    elif deep:
        for key, each in _list_parts(raw):
            yield from _walk(each, f"{name}.{key}" if name else str(key), deep - 1)


def _list_parts(raw: Any) -> list[tuple[Any, Any]]:
    if isinstance(raw, Mapping):  # also what transformers return
        return list(raw.items())
    if hasattr(raw, "_fields"):  # a named tuple
        return list(zip(raw._fields, raw, strict=True))
    if isinstance(raw, Sequence) and not isinstance(raw, (str, bytes)):
        return list(enumerate(raw))
    if is_dataclass(raw):
        return [(each.name, getattr(raw, each.name)) for each in fields(raw)]
    return [("logits", raw.logits)] if hasattr(raw, "logits") else []


def choose_output(raw: Any, count: int, *, wanted: str | None = None, classes: int | None = None) -> Output:
    """Choose the scores of `count` pictures among all that a network puts out.

    What can be no row of scores a picture is passed over: one number, whole numbers, maps. Of several the name that
    everybody uses wins, then the one with as many columns as there are classes. BoxError lists names and shapes where
    that does not decide.

    >>> import torch
    >>> choose_output({"features": torch.zeros(2, 512), "logits": torch.zeros(2, 10)}, 2).name
    'logits'
    >>> choose_output((torch.zeros(2, 512), torch.zeros(2, 10)), 2)
    Traceback (most recent call last):
        ...
    salience.errors.BoxError: expected one output with scores, got several: 0 (2, 512), 1 (2, 10): name it, as in output="0"
    """
    outputs = list_outputs(raw)
    if wanted is not None:
        return _take_wanted(outputs, wanted, count)
    fit = [each for each in outputs if each.columns(count) is not None]
    if len(fit) > 1:
        fit = _narrow(fit, count, classes)
    if len(fit) == 1:
        return fit[0]
    if fit:
        seen = ", ".join(map(str, fit))
        raise BoxError(f'expected one output with scores, got several: {seen}: name it, as in output="{fit[0].name}"')
    raise BoxError(_refuse(raw, outputs, count))


def _take_wanted(outputs: Sequence[Output], wanted: str, count: int) -> Output:
    found = next((each for each in outputs if each.name == wanted), None)
    if found is None:
        raise UnknownName.of("output of the network", wanted, [each.name for each in outputs])
    if found.columns(count) is None:
        raise BoxError(f"expected scores (n classes) in output {wanted!r}, got {found}: name another output")
    return found


def _narrow(fit: list[Output], count: int, classes: int | None) -> list[Output]:
    spelt = {each.name.rpartition(".")[2].lower(): each for each in reversed(fit)}
    known = next((spelt[name] for name in USUAL if name in spelt), None)
    if known is not None:
        return [known]
    return [each for each in fit if each.columns(count) == classes] or fit


def _refuse(raw: Any, outputs: Sequence[Output], count: int) -> str:
    """Say why nothing of it can be scores."""
    if not outputs:
        return f"expected logits from the module, got {type(raw).__name__}: wrap it to return a tensor (n classes)"
    seen = ", ".join(map(str, outputs))
    what = "wrap it to return a tensor (n classes)"
    if any(each.value.ndim == 4 and len(each.value) == count for each in outputs):
        what = f"it answers for every place, so {what}, of the region that is asked about"
    return f"expected scores (n classes) of {count} picture{'s'[: count > 1]} from the network, got {seen}: {what}"


def read_output(raw: Any, name: str | None = None, count: int = 0) -> Tensor:
    """Return the scores (n k), or (n) of one logit, in what a network returns; without a name, where they usually are.

    `count` is how many pictures they are of: those of one may come without the first axis.

    >>> import torch
    >>> read_output({"logits": torch.zeros(2, 10, 1, 1)}).shape
    torch.Size([2, 10])
    """
    if isinstance(raw, Tensor) and not raw.is_quantized:
        return _lay_out(raw, count)
    outputs = list_outputs(raw)
    if not outputs:
        raise BoxError(_refuse(raw, outputs, 1))
    named = {each.name: each.value for each in outputs}
    spelt = {each.name.rpartition(".")[2]: each.value for each in reversed(outputs)}
    found = named.get(name) if name is not None else None
    if found is None:
        found = spelt.get("logits", outputs[0].value)
    return _lay_out(found, count)


def _lay_out(scores: Tensor, count: int) -> Tensor:
    if count == 1 and scores.ndim < 2:
        return scores.reshape(1, -1)
    if scores.ndim == 1 and len(scores) == count:
        return scores[:, None]
    return scores.flatten(1) if scores.ndim > 2 else scores


def find_last_operation(scores: Tensor) -> str:
    """Name the operation that made the scores, what only changes their form apart; "" where that was not recorded.

    >>> import torch
    >>> find_last_operation(torch.zeros(2, 3, requires_grad=True).softmax(1)[:, :])
    'Softmax'
    """
    step: Any = scores.grad_fn
    while step is not None:
        name = type(step).__name__.partition("Backward")[0]
        if name not in FORM_ONLY:
            return name
        step = next((each for each, _ in step.next_functions if each is not None), None)
    return ""


def find_last_scripted(graph: Any, name: str = "") -> str:
    r"""Name the operation that makes the scores in the graph of a scripted module; "" where that cannot be seen.

    >>> import torch
    >>> text = "graph(%x : Tensor):\n  %y : Tensor = aten::sigmoid(%x)\n  return (%y)"
    >>> find_last_scripted(torch._C.parse_ir(text))
    'Sigmoid'
    """
    ends = list(graph.outputs())
    node = ends[0].node() if len(ends) == 1 else None
    for part in name.split(".") if name and node is not None else ():
        node = _find_part(node, part)
    while node is not None:
        kind, inputs = _spell(node.kind()), list(node.inputs())
        if kind not in FORM_ONLY:
            return kind
        node = inputs[0].node() if inputs else None
    return ""


def _find_part(node: Any, part: str) -> Any:
    """Return what makes one part of a tuple, a list or a dictionary."""
    inputs = list(node.inputs()) if node is not None else []
    if node is not None and node.kind() == "prim::DictConstruct":
        named = {str(key.toIValue()): value.node() for key, value in zip(inputs[::2], inputs[1::2], strict=True)}
        return named.get(part)
    return inputs[int(part)].node() if part.isdigit() and int(part) < len(inputs) else None


def _spell(kind: str) -> str:
    """Spell `aten::log_softmax` as `LogSoftmax`."""
    return "".join(word.capitalize() for word in kind.rpartition("::")[2].strip("_").split("_"))


FORM_ONLY = (
    *("View", "UnsafeView", "Reshape", "ReshapeAlias", "Flatten", "Squeeze", "Unsqueeze", "Expand", "AsStrided"),
    *("Permute", "Transpose", "T", "Select", "Slice", "Narrow", "Split", "Index", "Cat", "Stack"),
    *("Alias", "Clone", "Contiguous", "ToCopy", "To", "Dropout", "Detach"),
)
