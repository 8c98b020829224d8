"""Test layers for what they are for: whether they stand between picture and answer.

A layer must have one row a picture, change with the picture, and move the answer when it is replaced. All of them are
replaced by copies of themselves in one pass; the gradient of the scores with respect to the copies says which are used.
Where a network gives no gradients, each layer is replaced alone by what another picture left there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from salience.engine.inside.gradients import compute_gradients, replace_inference_weights
from salience.engine.inside.hooks import INPUT, Change, as_feature_maps, record_activations
from salience.engine.inside.trace import Trace
from salience.errors import NoGradientsError

Answer = Callable[[], Tensor]
"""Pushes another picture than that of the trace through the module; returns its scores before the last activation."""

AGREES = 1e-3  # of the largest gradient: what the same sum leaves in another order
REPLACED = 8  # layers that are replaced one by one at most: a pass each


@dataclass
class InfluenceTest:
    """Tells names that stand between picture and answer from those that do not.

    >>> from salience.engine.inside.trace import trace_calls
    >>> module = nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten()).eval()
    >>> trace = trace_calls(module, lambda: module(torch.zeros(1, 3, 8, 8)), (8, 8))
    >>> InfluenceTest(module, trace, lambda: module(torch.ones(1, 3, 8, 8)), (8, 8)).choose_names([["0", "1:in"]])
    ['0']
    """

    module: nn.Module
    trace: Trace
    answer: Answer
    size: tuple[int, int]
    gives_gradients: bool = True
    influence: dict[str, Tensor | None] = field(default_factory=dict)  # of a name: gradient, or change of the scores

    def choose_names(self, groups: Sequence[Sequence[str]], *, anywhere: bool = False) -> list[str | None]:
        """Choose of each tensor's names the outermost through which all of its influence goes, or none.

        `anywhere` lets through tokens of which only those without a place, such as the class token, have influence.
        """
        missing = dict.fromkeys(name for group in groups for name in group if name not in self.influence)
        if self.gives_gradients and missing:
            self.gives_gradients = self._differentiate(list(missing))
        if not self.gives_gradients:
            self._replace_each([name for group in groups for name in group[:2]])
        return [self._choose_name(group, anywhere) for group in groups]

    def stands(self, name: str, *, anywhere: bool = False) -> bool:
        """Say whether a layer has influence."""
        influence = self.influence.get(name)
        places = None if influence is None or anywhere else as_feature_maps(influence, self.size)
        judged = influence if places is None else places
        return judged is not None and bool(judged.abs().max() > 0)  # NaN is not

    def _choose_name(self, names: Sequence[str], anywhere: bool) -> str | None:
        standing = [name for name in names if self.stands(name, anywhere=anywhere)]
        outputs = [name for name in standing if not name.endswith(INPUT)]
        if not outputs or not self.gives_gradients:
            return standing[0] if standing else None
        whole = self.influence[outputs[-1]]  # the innermost: what an outer module uses by itself counts too
        return next((name for name in standing if _agree(self.influence[name], whole)), outputs[-1])

    def _differentiate(self, names: Sequence[str]) -> bool:
        """Differentiate a mix of the scores with respect to copies of all layers; False where that cannot be done."""
        copies: dict[str, Tensor] = {}
        changes = {name: _copy_into(copies, name) for name in names}
        try:
            with (
                torch.inference_mode(False),
                torch.no_grad(),
                replace_inference_weights(self.module),
                record_activations(self.module, names, changes, gradients=True) as seen,
            ):
                mixed = _mix(self.answer())
                if not mixed.requires_grad:
                    return False
                gradients = compute_gradients(mixed, list(copies.values()))
        except NoGradientsError:
            return False
        found = dict(zip(copies, gradients, strict=True))
        self.influence |= {name: self._read(name, seen.get(name), found.get(name)) for name in names}
        return True

    def _read(self, name: str, seen: Tensor | None, gradient: Tensor | None) -> Tensor | None:
        """Give the gradient at a layer that has one row a picture and changes with it, else nothing."""
        other = self.trace.tensors[name]
        if seen is None or gradient is None or len(seen) != 1 or (other is not None and torch.equal(seen, other)):
            return None
        return gradient

    def _replace_each(self, names: Sequence[str]) -> None:
        """Replace layers one by one by what the trace's picture left there, and keep how the scores change."""
        missing = [name for name in dict.fromkeys(names) if name not in self.influence][:REPLACED]
        before = self._score({}) if missing else None
        for name in missing:
            other = self.trace.tensors[name]
            after = None if other is None else self._score({name: other})
            self.influence[name] = None if before is None or after is None else after - before

    def _score(self, replaced: Mapping[str, Tensor]) -> Tensor:
        changes = {name: (lambda _, other=other: other.clone()) for name, other in replaced.items()}
        with torch.no_grad(), record_activations(self.module, list(replaced), changes):
            return self.answer().float()


def _copy_into(copies: dict[str, Tensor], name: str) -> Change:
    def copy(value: Tensor) -> Tensor:
        copies[name] = value.view_as(value)
        return copies[name].clone()  # what follows may write into its input

    return copy


def _mix(scores: Tensor) -> Tensor:
    """Weigh the scores unevenly: probabilities sum to one, whatever the layers do."""
    weights = torch.randn(scores.numel(), generator=torch.Generator().manual_seed(0))
    return (scores.float().flatten() * weights.to(scores.device)).sum()


def _agree(one: Tensor | None, whole: Tensor | None) -> bool:
    if one is None or whole is None or one.shape != whole.shape:
        return False
    return bool((one - whole).abs().max() <= AGREES * whole.abs().max())
