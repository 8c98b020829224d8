"""Graphs: what all must pass through, what a cut leaves beside it, and where to look."""

from __future__ import annotations

import pytest
import torch

from salience.boxes._graph import layers
from salience.boxes._graph.graph import Graph, Node
from salience.errors import BoxError, UnknownName
from tests.helpers import noise


def graph(text: str, answer: str = "y") -> Graph:
    """Read `made = Op given given [kernel]`, a node a line."""
    nodes = []
    for line in text.strip().splitlines():
        made, _, rest = line.partition("=")
        words, _, kernel = rest.partition("[")
        op, *given = words.split()
        shape = tuple(int(each) for each in kernel.strip(" ]").split(",")) if kernel else ()
        nodes.append(Node(op, f"{op}:{made.strip()}", tuple(given), tuple(made.split()), shape))
    return Graph(tuple(nodes), "x", answer)


SKIPPED = """
a = Conv x w [4,3,3,3]
b = Relu a
c = Conv b v [4,4,3,3]
s = Shape b
t = Gather s one
d = Add c b
e = Relu d
p = Pool e
f = Reshape p t
y = Gemm f u [3,4]
"""


def slow_necks(known: Graph) -> list[str]:
    """Take each tensor away, and see whether anything of the image still arrives."""
    found = []
    for missing in [known.image, *(each for node in known.path for each in node.outputs)]:
        arrived = {known.image} - {missing}
        for node in known.nodes:
            if node.op not in ("Shape", "ShapeOf") and arrived.intersection(node.inputs):
                arrived.update(set(node.outputs) - {missing})
        if known.answer not in arrived:
            found.append(missing)
    return found


SPLIT = """
a b = Split x
c = Conv a w [2,2,1,1]
d = Concat c b
e = Relu d
y = Pool e
"""


@pytest.mark.parametrize(
    "text", [SKIPPED, SPLIT, "y = Relu x", "a = Relu x\nb = Relu a\nc = Relu b\nd = Add a c\ny = Add d a"]
)
def test_a_neck_is_what_nothing_passes_by(text: str) -> None:
    """Without it nothing of the image arrives at the answer; a shape is no news of the image."""
    assert list(graph(text).necks) == slow_necks(graph(text))


def test_what_a_skip_connection_carries_is_beside_the_cut() -> None:
    """And so is a shape, which is computed from what is before."""
    known = graph(SKIPPED)
    assert known.necks == ("x", "a", "b", "d", "e", "p", "f", "y")
    assert known.list_beside("c") == ("b", "t")
    assert known.list_beside("e") == ("t",)
    assert known.list_beside("f") == ()
    assert [node.outputs[0] for node in known.list_after("d")] == ["e", "p", "f", "y"]


def test_a_branch_that_leads_nowhere_is_no_path() -> None:
    """A second output, or what is left of training."""
    assert graph("a = Relu x\nb = Conv a w [1,1,1,1]\ny = Relu a").necks == ("x", "a", "y")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a = Gemm x w [3,4]\ny = Softmax a", ("a", "softmax")),
        ("a = Gemm x w [3,4]\nb = Sigmoid a\nc = Reshape b s\ny = Identity c", ("a", "sigmoid")),
        ("a = Softmax x\ny = Gemm a w [3,4]", None),
        ("y = Gemm x w [3,4]", None),
    ],
)
def test_the_last_activation_is_found_behind_changes_of_shape(text: str, found: object) -> None:
    """An inner softmax is none."""
    assert graph(text).find_activation() == found


def test_tensors_and_nodes_have_names() -> None:
    """A wrong one offers those that come close."""
    known = graph(SKIPPED)
    assert (known.find_tensor("e"), known.find_tensor("Conv:c"), known.find_tensor("x")) == ("e", "c", "x")
    with pytest.raises(UnknownName, match="expected the name of a layer, got 'ee': did you mean e"):
        known.find_tensor("ee")


def blocks(text: str, shapes: dict[str, tuple[int, ...]]) -> tuple[str, ...]:
    """Find the blocks where tensors have these shapes; the image is 32 × 32."""
    seen = {name: noise(1, *shape, dtype=torch.float32) for name, shape in ({"x": (3, 32, 32)} | shapes).items()}
    return layers.find_layers(graph(text), seen, (32, 32))[0].blocks


def test_a_block_ends_with_the_last_neck_of_its_resolution() -> None:
    """Behind the activation, and not behind a pooling that nothing with weights follows."""
    text = "a = Conv x w [8,3,3,3]\nb = Relu a\nc = MaxPool b\nd = Conv c v [9,8,3,3]\ne = Relu d\nf = MaxPool e\ny = Pool f"
    shapes = {"a": (8, 32, 32), "b": (8, 32, 32), "c": (8, 16, 16), "d": (9, 16, 16), "e": (9, 16, 16), "f": (9, 8, 8)}
    assert blocks(text, shapes) == ("b", "e")


def test_what_widens_before_a_reduction_belongs_to_what_follows() -> None:
    """An inverted bottleneck begins with a 1×1 convolution; a padding and a normalisation are stepped over too."""
    text = """
a = Conv x w [8,3,3,3]
b = Conv a v [48,8,1,1]
c = Clip b
p = Pad c
d = Conv p u [48,1,3,3]
e = Conv d t [9,48,1,1]
n = LayerNormalization e
f = Conv n s [20,9,2,2]
y = Pool f"""
    shapes = {"a": (8, 32, 32), "b": (48, 32, 32), "c": (48, 32, 32), "p": (48, 33, 33), "d": (48, 16, 16)}
    shapes |= {"e": (9, 16, 16), "n": (9, 16, 16), "f": (20, 8, 8)}
    assert blocks(text, shapes) == ("a", "e", "f")


def test_a_transformer_has_what_goes_into_the_attention_of_four_blocks() -> None:
    """Tokens are one resolution: the layers are inputs of attention, and the stream before it is known."""
    lines = ["t = Conv x w [6,3,4,4]", "s0 = Reshape t r"]
    for k in range(8):
        lines += [f"n{k} = LayerNormalization s{k}", f"q{k} = MatMul n{k} w [6,18]", f"a{k} = Softmax q{k}"]
        lines += [f"m{k} = Add a{k} s{k}", f"l{k} = LayerNormalization m{k}", f"g{k} = MatMul l{k} v [6,6]"]
        lines += [f"s{k + 1} = Add g{k} m{k}"]
    text = "\n".join([*lines, "y = Gather s8 zero"])
    shapes = {"t": (6, 8, 8)} | {name: (65, 6) for k in range(9) for name in (f"s{k}", f"m{k}")}
    seen = {name: noise(1, *shape, dtype=torch.float32) for name, shape in ({"x": (3, 32, 32)} | shapes).items()}
    anatomy, before = layers.find_layers(graph(text), seen, (32, 32))
    assert anatomy.blocks == ("n1", "n3", "n5", "n7")
    assert (anatomy.top, before["n3"]) == ("s8", "s3")
    assert "blocks 1, 3, 5, 7" in anatomy.note


def test_a_network_without_places_has_no_layers() -> None:
    """It is said in words."""
    with pytest.raises(BoxError, match="expected layers with feature maps in the box, got none"):
        blocks("a = Flatten x\ny = Gemm a w [3,9]", {"a": (3072,)})
