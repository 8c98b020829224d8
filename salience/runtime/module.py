"""Around a call of a torch module: run it eagerly, find its logits, hash and read its weights."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor, nn

from salience import limits
from salience.engine.inside.hooks import unwrap
from salience.engine.query.one_pass import take_turn
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
    with take_turn(), torch.compiler.set_stance("force_eager") if compiled else nullcontext():
        yield unwrap(module)


def hash_weights(about: str, state: Mapping[str, Tensor]) -> str:
    """Hash weights, and words about how they are used.

    >>> hash_weights("softmax", {"weight": torch.ones(2)}) == hash_weights("sigmoid", {"weight": torch.ones(2)})
    False
    """
    found = hashlib.sha256(about.encode())
    for key, value in state.items():
        found.update(key.encode())
        for part in list_plain_tensors(value):
            found.update(part.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
        if not isinstance(value, Tensor) or value.is_quantized:
            found.update(describe_rest(value).encode())
    return found.hexdigest()[:16]


def list_plain_tensors(value: Any) -> Iterator[Tensor]:
    """List what can be read byte by byte of an entry of a module's state: of quantised weights the whole numbers.

    >>> len(list(list_plain_tensors((torch.ones(2), {"bias": torch.ones(2)}))))
    2
    """
    if isinstance(value, (tuple, list)):
        for each in value:
            yield from list_plain_tensors(each)
    elif isinstance(value, Mapping):
        yield from list_plain_tensors(list(value.values()))
    elif isinstance(value, Tensor) and value.is_quantized:
        yield value.int_repr()
    elif isinstance(value, Tensor) and hasattr(value, "__tensor_flatten__"):  # of torchao and the like
        names, about = value.__tensor_flatten__()
        yield from list_plain_tensors([getattr(value, name) for name in names])
        yield torch.tensor(list(repr(about).encode()), dtype=torch.uint8)
    elif isinstance(value, Tensor):
        yield value.to_dense() if value.layout != torch.strided else value


def stamp_state(state: Mapping[str, Any]) -> Iterator[Any]:
    """Yield where each weight of a module's state is stored and how often it was written to.

    >>> list(stamp_state({"weight": torch.ones(2)}))[0]
    'weight'
    """
    for key, value in state.items():
        yield key
        for each in [value] if isinstance(value, Tensor) and not value.is_quantized else list_plain_tensors(value):
            yield each.data_ptr() if each.layout == torch.strided else id(each)
            yield None if each.is_inference() else each._version  # noqa: SLF001  # the only sign of a write in place


def describe_rest(value: Any) -> str:
    """Say what an entry of a module's state holds beside numbers: types, scales and the like.

    >>> describe_rest((torch.ones(2), torch.qint8))
    '[None, torch.qint8]'
    """
    if isinstance(value, Tensor) and value.is_quantized:
        per_channel = value.qscheme() in (torch.per_channel_affine, torch.per_channel_affine_float_qparams)
        scales = [value.q_per_channel_scales().tolist()] if per_channel else [value.q_scale(), value.q_zero_point()]
        return repr((value.dtype, *scales))
    if isinstance(value, (tuple, list)):
        return f"[{', '.join(map(describe_rest, value))}]"
    return "None" if isinstance(value, Tensor) else repr(value)


def find_weight_dtype(module: nn.Module) -> torch.dtype:
    """Say what kind of numbers its weights are.

    >>> find_weight_dtype(nn.Linear(2, 2).half())
    torch.float16
    """
    return next((each.dtype for each in module.parameters() if each.is_floating_point()), torch.float32)


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
        limits.expect_file(Path(path), limits.WEIGHTS)
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
    """Open a network that was saved with `torch.export.save` (.pt2) or `torch.jit.save`; what would run code is not.

    >>> load_saved("none.pt")
    Traceback (most recent call last):
        ...
    salience.errors.BoxError: expected a saved network in none.pt, got nothing there: check the path
    """
    if not Path(path).is_file():
        raise BoxError(f"expected a saved network in {path}, got nothing there: check the path")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch.jit's of its own age
            return torch.export.load(path).module() if path.endswith(".pt2") else torch.jit.load(path, map_location="cpu")
    except Exception as problem:
        raise BoxError(f"expected a saved network in {path}, got {_find_out(path, problem)}") from problem


def _find_out(path: str, problem: Exception) -> str:
    """Say what a file is that holds no network that can be opened, and what to do; nothing in it is run."""
    try:
        inside = torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError:
        return (
            "a pickle of a whole module, which runs code as it is read: "
            "save it with torch.export.save, or load it yourself and give the module"
        )
    except Exception:  # noqa: BLE001  # whatever torch raises: it is no file of torch
        return f"{' '.join(str(problem).split())[:200]}: save it with torch.export.save"
    what = "weights without a network" if isinstance(inside, Mapping) else f"a {type(inside).__name__} without a network"
    return (
        f"{what}: make the module, load them into it and give it, "
        f"or name the architecture, as in timm:resnet18?weights={Path(path).name}"
    )
