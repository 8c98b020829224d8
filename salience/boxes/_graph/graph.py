"""The graph of a network in a file: the tensors that all paths pass through, where it can be cut.

A *neck* is a tensor that every path from the image to the answer passes through; what a skip connection carries past
a tensor makes it none. Its value says all that the rest of the network will know of the image.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from salience.errors import UnknownName
from salience.types import Head

SHAPE = frozenset({"Shape", "ShapeOf", "Size"})  # they do not depend on the pixels
SAME = (
    *("Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Cast", "Convert", "Result"),
    *("QuantizeLinear", "DequantizeLinear"),
)
LAST: dict[str, Head] = {"Softmax": "softmax", "SoftMax": "softmax", "LogSoftmax": "softmax", "Sigmoid": "sigmoid"}


@dataclass(frozen=True)
class Node:
    """One operation."""

    op: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    kernel: tuple[int, ...] = ()  # the shape of its weights, where it has some


@dataclass(frozen=True)
class Graph:
    """Operations in an order in which they can be done, from the tensor `image` to the tensor `answer`."""

    nodes: tuple[Node, ...]
    image: str
    answer: str

    @cached_property
    def maker(self) -> dict[str, Node]:
        """The node that makes each tensor."""
        return {output: node for node in self.nodes for output in node.outputs}

    @cached_property
    def path(self) -> tuple[Node, ...]:
        """The nodes that carry the image to the answer."""
        seen = {self.image}
        for node in self.nodes:
            if node.op not in SHAPE and seen.intersection(node.inputs):
                seen.update(node.outputs)
        wanted, found = {self.answer}, list[Node]()
        for node in reversed(self.nodes):
            if wanted.intersection(node.outputs) and node.op not in SHAPE and seen.intersection(node.inputs):
                wanted.update(seen.intersection(node.inputs))
                found.append(node)
        return tuple(reversed(found))

    @cached_property
    def data(self) -> dict[str, tuple[str, ...]]:
        """The inputs of each node of the path that carry the image, by the node's first output."""
        made = {self.image}.union(*(node.outputs for node in self.path))
        return {node.outputs[0]: tuple(each for each in node.inputs if each in made) for node in self.path}

    @cached_property
    def necks(self) -> tuple[str, ...]:
        """The necks from the image to the answer: tensors beside which nothing else is waiting to be used."""
        left: dict[str, int] = {}  # uses of each tensor that are still to come
        for node in self.path:
            for each in self.data[node.outputs[0]]:
                left[each] = left.get(each, 0) + 1
        waiting, found = {self.image}, [self.image]
        for node in self.path:
            for each in self.data[node.outputs[0]]:
                left[each] -= 1
                if left[each] == 0:
                    waiting.discard(each)
            waiting.update(each for each in node.outputs if left.get(each) or each == self.answer)
            if len(waiting) == 1 and waiting.issubset(node.outputs):
                found += waiting
        return tuple(found)

    @cached_property
    def weights(self) -> dict[str, tuple[int, ...]]:
        """The numbers of the nodes with weights that had run when each tensor of the path was made."""
        ran: tuple[int, ...] = ()
        found = {self.image: ran}
        for number, node in enumerate(self.path):
            ran = (*ran, number) if node.kernel else ran
            found.update(dict.fromkeys(node.outputs, ran))
        return found

    def list_after(self, tensor: str) -> tuple[Node, ...]:
        """List the nodes that a tensor has a part in, on the way to the answer."""
        touched, found = {tensor}, list[Node]()
        for node in self.nodes:
            if touched.intersection(node.inputs):
                touched.update(node.outputs)
                found.append(node)
        wanted, kept = {self.answer}, list[Node]()
        for node in reversed(found):
            if wanted.intersection(node.outputs):
                wanted.update(node.inputs)
                kept.append(node)
        return tuple(reversed(kept))

    def list_beside(self, tensor: str) -> tuple[str, ...]:
        """List what else of the image the nodes after a tensor read: what a skip connection carries past it."""
        of_image = {self.image}
        for node in self.nodes:
            if of_image.intersection(node.inputs):
                of_image.update(node.outputs)
        rest = self.list_after(tensor)
        made = {tensor}.union(*(node.outputs for node in rest))
        return tuple(dict.fromkeys(each for node in rest for each in node.inputs if each in of_image and each not in made))

    def find_activation(self) -> tuple[str, Head] | None:
        """Find the last activation, if nothing but a change of shape follows: what goes into it, and its head."""
        node = self._find_last()
        return None if node is None or node.op not in LAST else (node.inputs[0], LAST[node.op])

    def _find_last(self) -> Node | None:
        at = self.answer
        while (node := self.maker.get(at)) is not None and node.op in SAME:
            at = node.inputs[0]
        return node

    def find_tensor(self, name: str) -> str:
        """Return the tensor of that name, or what the node of that name makes."""
        if name == self.image or name in self.maker:
            return name
        for node in self.nodes:
            if node.name == name:
                return node.outputs[0]
        raise UnknownName.of("layer", name, self.list_tensors())

    def list_tensors(self) -> Iterable[str]:
        """List the tensors on the way."""
        return [self.image, *(output for node in self.path for output in node.outputs)]
