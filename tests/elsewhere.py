"""A device beside the CPU, for machines that have none: what it does is done on the CPU, but it refuses what a GPU refuses.

Its tensors hold one of the CPU and say that they lie elsewhere. Whoever mixes them with the CPU's, draws them by the CPU's
generator or gives them to NumPy gets an error, as on a GPU. It is made known to torch for good, so it has a process of its
own: `python -m tests.elsewhere` explains and measures with everything there is, here and there, and prints what differs.
"""

from __future__ import annotations

import json
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy, deepcopy
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

NAME = "elsewhere"


class Backend(backend_registration._DummyBackendModule):
    """What torch asks of a device's module."""

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        """List what autocast may use."""
        return [torch.float16, torch.bfloat16]


# Before the first gradient is computed, also by what is imported: torch counts its devices then.
backend_registration._setup_privateuseone_for_python_backend(NAME, Backend())

import salience  # noqa: E402
from salience import registry  # noqa: E402
from salience.boxes.torch import TorchBox, wrap  # noqa: E402
from salience.case import Case  # noqa: E402
from salience.engine.query.run import start_run  # noqa: E402
from salience.tasks.measure import measure_case  # noqa: E402
from tests import test_every_measure, test_every_method  # noqa: E402
from tests.boxes.test_torch import network  # noqa: E402
from tests.engine.inside.test_attention import vit  # noqa: E402
from tests.helpers import noise  # noqa: E402

MOVES = ("_to_copy", "copy_")
INDEXED = ("index", "index_put", "index_put_", "_index_put_impl_")  # positions may lie on the CPU


class There(Tensor):
    """A tensor that says it is elsewhere."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> Self:
        """Wrap it."""
        where = {"strides": held.stride(), "storage_offset": held.storage_offset(), "device": torch.device(NAME, 0)}
        made: Self = Tensor._make_wrapper_subclass(cls, held.shape, dtype=held.dtype, **where)  # type: ignore[attr-defined]
        made.held = held
        return made

    def __repr__(self, **_: Any) -> str:
        return f"There({self.held})"

    def tolist(self) -> Any:
        """Give plain numbers, which torch refuses to do for tensors of any but its own class."""
        return self.held.tolist()

    @classmethod
    def __torch_dispatch__(cls, task: Any, _types: Any, args: Any = (), options: Any = None) -> Any:
        return done(task, args, options or {})


class Both(TorchDispatchMode):
    """Sees what is made from nothing, too."""

    def __torch_dispatch__(self, task: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return done(task, args, kwargs or {})


def done(task: Any, args: Any, options: dict[str, Any]) -> Any:
    """Do it on the CPU, unless a GPU would not."""
    name, device, source = task.overloadpacket.__name__, options.get("device"), options.get("generator")
    given = [each for each in tree_leaves((args, options)) if isinstance(each, Tensor)]
    known = {id(each.held): each for each in given if isinstance(each, There)}
    if name in MOVES:
        there = isinstance(args[0], There)
    elif name in INDEXED:
        there = isinstance(args[0], There)
        expect(task, there or not known, "an index lies elsewhere")
        expect(task, not there or all(isinstance(each, There) or not each.ndim for each in args[2:3]), "values do not")
    else:
        there = bool(known)
        expect(task, not there or all(isinstance(each, There) or not each.ndim for each in given), "some tensors do not")
    if device is not None:
        there = torch.device(device).type == NAME
    expect(task, not there or source is None or source.device.type == NAME, "the generator does not")
    plain = {key: value for key, value in options.items() if key != "non_blocking"}
    plain |= {} if device is None else {"device": torch.device("cpu")}
    found = task(*tree_map(held, args), **tree_map(held, plain))

    def made(value: Any) -> Any:
        return (known.get(id(value)) if id(value) in known else There(value)) if isinstance(value, Tensor) else value

    return tree_map(made, found) if there else found


def held(value: Any) -> Any:
    """Return the tensor of the CPU."""
    return value.held if isinstance(value, There) else value


def expect(task: Any, right: bool, problem: str) -> None:
    """Refuse."""
    if not right:
        raise RuntimeError(f"{task}: what it works on lies elsewhere, {problem}")


@contextmanager
def opened() -> Iterator[None]:
    """See to what is made there, for good."""
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    torch._C._set_only_lift_cpu_tensors(True)
    with Both():
        yield


def tasks() -> Iterator[tuple[str, Any, Callable[[Any], Any]]]:
    """Name what is done, the box that it is done with, and do it."""
    net, tokens = wrap(network().eval(), size=32, backend="exact"), wrap(vit(), size=32, backend="exact")
    images = noise(2, 3, 32, 32, dtype=torch.float32)
    methods = {each.id: (net, each.values[0]) for each in test_every_method.roster()}
    methods |= {name: (tokens, registry.make_method(name)) for name in test_every_method.ATTENTION}
    for name, (box, method) in methods.items():
        yield name, box, lambda box, method=method: called(box, images[0], method)
    quick = wrap(network().eval(), size=32, backend="auto")
    yield "the backend that auto takes", quick, lambda box: explained(box, images[0], "rise", masks=80)
    yield "a picture", net, lambda box: explained(box, images[0], "sise")
    yield "two pictures", net, lambda box: explained(box, list(images), "rise", masks=80)
    yield "two targets", net, lambda box: explained(box, images[0], "rise", target=[0, 1], masks=80)
    for name in registry.list_names("trainers"):
        if name != "p-tame":
            yield name, net, partial(lost, how=registry.make_trainer(name), images=images)
    case = test_every_measure.case()
    for each in test_every_measure.roster():
        yield each.id, case.box, lambda box, measure=each.values[0]: measured(case, box, measure)


def called(box: Any, image: Tensor, method: Any) -> Tensor:
    """Call a method with an image that lies on the CPU, in batches as large as there."""
    with start_run(batch=8):
        return method(box, image, 1)


def explained(box: Any, image: Any, method: Any, target: Any = 1, **settings: Any) -> Tensor:
    """Explain, in batches as large as there."""
    found = salience.explain(box, image, method, target=target, batch=8, **settings)
    return torch.stack([each.saliency for each in found]) if isinstance(found, list) else found.saliency


def lost(box: Any, how: Any, images: Tensor) -> Tensor:
    """Make the loss of a training's step, and its gradients."""
    labels, chances = torch.tensor([0, 1]).to(box.device), torch.Generator().manual_seed(0)
    loss = how(box.module, images.to(box.device), labels, mean=(0.5,) * 3, std=(0.5,) * 3, generator=chances)
    gradients = torch.autograd.grad(loss, list(box.module.parameters()))
    return torch.cat([loss[None], *(each.flatten() for each in gradients)])


def measured(case: Case, box: Any, measure: Any) -> float:
    """Measure a map that lies where the box is."""
    placed = {each: getattr(case, each).to(box.device) for each in ("image", "saliency", "truth")}
    return measure_case(replace(case, box=box, **placed), measure, 8).value


def compared(task: Callable[[Any], Any], box: TorchBox) -> str:
    """Say what goes wrong there, or how far it is from here; nothing where all is well."""
    other = copy(box)
    other.module = deepcopy(box.module).to(torch.device(NAME, 0))
    try:
        one, two = (torch.as_tensor(held(task(each))).double() for each in (box, other))
    except Exception as problem:  # noqa: BLE001  # it is what is looked for
        first: BaseException = problem
        while first.__cause__ is not None:
            first = first.__cause__
        at = [each for each in traceback.extract_tb(first.__traceback__) if "/salience/" in each.filename][-2:]
        return f"{type(first).__name__}: {first}; " + ", ".join(f"{Path(each.filename).name}:{each.lineno}" for each in at)
    off = float((one - two).abs().max() / one.abs().max().clamp(min=1e-12))
    return f"differs by {off:.1e} of its peak" if off > 1e-5 else ""


def main(names: Sequence[str]) -> None:
    """Do everything, or what is named, here and there, and print what went wrong, by name."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)  # what is so small is slower on several
    with opened():
        sys.stdout.write(
            json.dumps({name: compared(task, box) for name, box, task in tasks() if not names or name in names})
        )


if __name__ == "__main__":
    main(sys.argv[1:])
