"""Around a call of a torch module: run it eagerly, find its logits, hash and read its weights."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from salience.errors import BoxError, UnknownName


@contextmanager
def run_eagerly(module: nn.Module) -> Iterator[nn.Module]:
    """Give the module whose layers can be hooked; while it is open, what was compiled runs as it was written.

    >>> module = nn.Conv2d(3, 8, 3)
    >>> with run_eagerly(module) as inner:
    ...     print(inner is module)
    True
    """
    compiled = any(hasattr(inner, "_orig_mod") or inner._compiled_call_impl is not None for inner in module.modules())  # noqa: SLF001  # torch has no other sign
    with torch.compiler.set_stance("force_eager") if compiled else nullcontext():
        yield getattr(module, "_orig_mod", module)


def hash_weights(about: str, state: Mapping[str, Tensor]) -> str:
    """Hash weights, and words about how they are used.

    >>> hash_weights("softmax", {"weight": torch.ones(2)}) == hash_weights("sigmoid", {"weight": torch.ones(2)})
    False
    """
    found = hashlib.sha256(about.encode())
    for key, value in state.items():
        found.update(key.encode())
        found.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return found.hexdigest()[:16]


def find_weight_dtype(module: nn.Module) -> torch.dtype:
    """Say what kind of numbers its weights are.

    >>> find_weight_dtype(nn.Linear(2, 2).half())
    torch.float16
    """
    return next((each.dtype for each in module.parameters() if each.is_floating_point()), torch.float32)


def find_logits(output: Any) -> Tensor:
    """Find the logits in what a module returns: a tensor, a tuple, a dictionary, an object with `.logits`.

    >>> find_logits({"logits": torch.zeros(2, 10)}).shape
    torch.Size([2, 10])
    """
    for _ in range(3):
        if isinstance(output, torch.Tensor):
            return output.flatten(1) if output.ndim > 2 else output
        if hasattr(output, "logits"):
            output = output.logits
        elif isinstance(output, dict):
            output = output.get("logits", next(iter(output.values())))
        elif isinstance(output, (tuple, list)) and output:
            output = output[0]
    raise BoxError(f"expected logits from the module, got {type(output).__name__}: wrap it to return a tensor (n classes)")


class FromPixels(nn.Module):
    """A module with what is done before and after it, to be trained; what is not to be trained stays in eval mode.

    >>> net = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    >>> module = FromPixels(net, lambda images: images - 0.5, lambda logits: logits, ["1"])
    >>> module(torch.rand(4, 3, 2, 2)).shape
    torch.Size([4, 2])
    """

    def __init__(
        self, module: nn.Module, before: Callable[[Tensor], Tensor], after: Callable[[Any], Tensor], only: Sequence[str]
    ) -> None:
        super().__init__()
        self.module, self.before, self.after = module, before, after
        names = [name for name, _ in module.named_parameters()]
        for start in only:
            if not any(name.startswith(start) for name in names):
                raise UnknownName.of("module with weights", start, sorted({name.rpartition(".")[0] for name in names}))
        for name, each in module.named_parameters():
            each.requires_grad_(not only or name.startswith(tuple(only)))
        self.still = tuple(each for name, each in module.named_modules() if only and not _is_trained(name, each, only))

    def forward(self, images: Tensor) -> Tensor:
        """Return logits."""
        return self.after(self.module(self.before(images)))

    def train(self, mode: bool = True) -> FromPixels:  # torch's signature
        """Change modes, but not of what stays."""
        super().train(mode)
        for each in self.still:
            each.training = False
        return self


def _is_trained(name: str, module: nn.Module, only: Sequence[str]) -> bool:
    return name.startswith(tuple(only)) or any(each.requires_grad for each in module.parameters())


def read_weights(module: nn.Module, path: str) -> None:
    """Load a weights file (safetensors, or a checkpoint read with `weights_only`) strictly, in float32.

    >>> read_weights(nn.Linear(2, 2), "none.pth")
    Traceback (most recent call last):
        ...
    salience.errors.BoxError: expected weights at none.pth, got nothing there: check the path
    """
    try:
        if path.endswith(".safetensors"):
            from safetensors.torch import load_file

            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
            state = state.get("state_dict", state)
        module.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in state.items()}, strict=True)
    except FileNotFoundError:
        raise BoxError(f"expected weights at {path}, got nothing there: check the path") from None
    except Exception as problem:
        reason = " ".join(str(problem).split())[:300]
        raise BoxError(f"expected weights for {type(module).__name__} in {path}, got something else: {reason}") from problem


def load_saved(path: str) -> Any:
    """Open a network that was saved with `torch.export.save` (.pt2) or `torch.jit.save`.

    >>> load_saved("none.pt")
    Traceback (most recent call last):
        ...
    salience.errors.BoxError: expected a saved network in none.pt, got ...: save it with torch.export.save
    """
    try:
        return torch.export.load(path).module() if path.endswith(".pt2") else torch.jit.load(path, map_location="cpu")
    except Exception as problem:
        reason = " ".join(str(problem).split())[:200]
        raise BoxError(f"expected a saved network in {path}, got {reason}: save it with torch.export.save") from problem
