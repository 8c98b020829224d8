"""P-TAME. Ntrougkas, Mezaris and Patras, P-TAME: Explain Any Image Classifier with Trained Perturbations, OJSP 2025."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from torch import nn
from typing_extensions import Doc

from salience import specs
from salience.engine import validate
from salience.engine.query.batch_size import BatchSize
from salience.engine.query.run import start_run
from salience.engine.training import explainer
from salience.engine.training.features import OWN, FeatureSource, open_source, register_object
from salience.engine.training.history import Row
from salience.engine.training.loop import Loop, Tell, train
from salience.engine.training.network import make_network
from salience.errors import BoxError, SettingError
from salience.explanation import write_whole
from salience.trainers._p_tame.learner import Learner
from salience.trainers._p_tame.search import search_weights
from salience.trainers._p_tame.split import decide_split
from salience.trainers._pictures import Pictures, choose_precision
from salience.types import BlackBox, GreyBox, OpenBox, TrainableBox


@dataclass(frozen=True)
class Fitted:
    """What came out: the explainer, its file, and a row of figures for every step."""

    explainer: explainer.Explainer
    path: Path
    history: tuple[Row, ...]


@dataclass(frozen=True)
class PTame:
    """Train a small network that turns the features of another network into a map a class, once for each box.

    loss = λ_ce · CE(f(m_i ⊙ x_i), t_i) + λ_area · mean (A + 0.0005)^p + λ_var · V(A),   λ_ce + λ_area + λ_var = 1

    t_i is the class that the box f gives to picture i, m_i its map D_i = A_ii enlarged, and A_ij = σ(raw map of picture
    i for the class of picture j): every picture of the batch with every class of the batch, so most of A is of classes
    that are not there, and λ_area and λ_var mean something else in a batch of another size. V sums squared steps
    between neighbours and β times squared border values over all maps, divided by 2 B. The maps come from
    [ReLU(BN(conv F_s) + F_s)]_s, all sizes concatenated and weighed by a row a class.

    `route="queries"` is ours, for boxes without gradients: the raw maps of picture i for class t_j are regressed on the
    covariance of K random masks with the scores of that class. With `aux="box"` the features are the box's own, as in
    L-CAM and T-TAME.

    What is known: the paper's body could not be read; architecture, losses and schedule follow the authors' public
    code. Departs from it: features come from one layer a resolution of EfficientNet-Lite0, not of ResNet-18; one
    direct enlargement; classes t_i are found once, of pictures that are not mirrored; no random crops; defaults for a
    thousand pictures and steps (rate 1e-3) rather than for 40,000 steps.

    Cost: one pass a picture; then, each step, a forward and a backward pass of the box for each picture (queries: K
    passes), and a pass of the features' network.
    """

    aux: Annotated[Any, Doc('the network whose features are weighed, as kind:name; "box": the box itself')] = (
        "zoo:efficientnet-lite0"
    )
    route: Annotated[Literal["gradient", "queries"], Doc("gradient (through the box), or queries (scores alone)")] = (
        "gradient"
    )
    classes: Annotated[
        tuple[str, ...] | None, Doc("to learn, each by name or index; none given: all with 5 pictures or more")
    ] = None
    ce: Annotated[float, Doc("λ_ce, the weight of being recognised")] = 0.15
    area: Annotated[float, Doc("λ_area, the weight of being small; what both leave of 1 is λ_var, of being smooth")] = 0.85
    power: Annotated[float, Doc("p of the area; below 1 it presses small values to 0")] = 0.3
    border: Annotated[float, Doc("β, what border pixels count for in the smoothness")] = 0.3
    fill: Annotated[str, Doc("what hidden pixels show: black, mean, white, grey, blur, noise or 0…1")] = "black"
    mirror: Annotated[bool, Doc("show every other picture in the mirror")] = True
    masks: Annotated[int, Doc("K, random masks a picture and step (queries only)")] = 8
    cells: Annotated[int, Doc("cells along each side of their grids (queries only)")] = 7
    rate: Annotated[float, Doc("the highest learning rate")] = 1e-3
    decay: Annotated[float, Doc("weight decay")] = 1e-3
    held: Annotated[int, Doc("pictures that are held out, measured while training")] = 32
    search: Annotated[
        int, Doc("fits with other loss weights, sampled at random; the one with the best ROAD on held-out pictures wins")
    ] = 0

    def __post_init__(self) -> None:
        if self.route not in ("gradient", "queries"):
            raise SettingError(f"expected route gradient or queries, got {self.route!r}")
        for name in ("ce", "area", "border"):
            validate.expect_between(name, getattr(self, name), 0, 1)
        if self.ce + self.area > 1 + 1e-9:
            raise SettingError(f"expected ce + area of at most 1, got {self.ce + self.area:g}: the rest is for smoothness")
        for name, least in (("masks", 2), ("cells", 2), ("held", 0), ("search", 0)):
            validate.expect_between(name, getattr(self, name), least, None)
        for name in ("power", "rate"):
            validate.expect_between(name, getattr(self, name), 0, None, open_ends=True)
        if self.search and (self.route == "queries" or not self.held):
            raise SettingError("expected route gradient and held-out pictures for a search: only its loss has weights")

    @property
    def smooth(self) -> float:
        """λ_var."""
        return max(0.0, 1 - self.ce - self.area)

    def fit(
        self,
        box: Any,
        images: Any,
        *,
        loop: Loop | None = None,
        out: str | Path = "salience-fit",
        keep: bool = True,
        tell: Tell = lambda *_: None,
    ) -> Fitted:
        """Train, or go on where a run in the folder `out` was killed; return the explainer and write it there.

        `images` is a data set or its spec, a list of pictures, or a batch `(n 3 h w)` in 0…1. With `keep` a copy goes to
        where the method p-tame looks for the explainer of this box.
        """
        made, loop, out = specs.open_box(box), loop or Loop(), Path(out)
        if self.route == "gradient" and not isinstance(made, OpenBox):
            raise BoxError(f"expected a box with gradients for route gradient, got {made.name}: use route queries")
        with start_run(batch=BatchSize.of(made).start):  # fixed, so that a run that was killed goes on exactly
            pictures = Pictures(images, made)
            if self.search:
                found = search_weights(self, made, pictures, loop, out, tell)
            else:
                found = self.learn(made, pictures, loop, out, tell)
        path = write_whole(out / "explainer.safetensors", found.explainer.content())
        if keep:
            place = explainer.find_path(made.fingerprint)
            place.parent.mkdir(parents=True, exist_ok=True)
            write_whole(place, found.explainer.content())
        return replace(found, path=path)

    def learn(self, box: BlackBox, pictures: Pictures, loop: Loop, out: Path, tell: Tell) -> Fitted:
        """Train once."""
        features, spec = self.features(box)
        settings = asdict(replace(self, aux=spec))
        split = decide_split(box, pictures, self.classes, self.held, out, {"trainer": settings, "loop": asdict(loop)})
        channels = [each.shape[1] for each in features(pictures[0][None].to(box.device))]
        network = make_network(channels, len(split.classes), bias=self.route == "queries", seed=loop.seed)
        if self.route == "queries":  # a regression begins at 0: what random rows add would take long to be unlearnt
            nn.init.zeros_(network.fuser.weight)
        learner = Learner(self, to_channels_last(box) if self.route == "gradient" else box, features, split, network, loop)
        made = replace(loop, precision=loop.precision or (choose_precision(box) if self.route == "gradient" else "no"))
        history = train(learner, made, out, settings, box.device, tell)
        about = explainer.About(
            box={"name": box.name, "fingerprint": box.fingerprint},
            classes=split.classes,
            names=tuple(box.classes[each] for each in split.classes),
            source=features.describe_source(spec) | {"channels": channels},
            bias=self.route == "queries",
            trained={
                "trainer": settings,
                "loop": asdict(made),
                "data": pictures.name,
                "pictures": len(split.numbers),
                "seconds": sum(row["seconds"] for row in history),
                "figures": history[-1],
            },
        )
        return Fitted(explainer.Explainer(network.eval(), about), out, tuple(history))

    def features(self, box: BlackBox) -> tuple[FeatureSource, str]:
        """Open the network whose features are weighed, and the spec that finds it again."""
        given = self.aux if isinstance(self.aux, str) else register_object(specs.open_box(self.aux))
        found = box if given == OWN else open_source(given, specs.open_box)
        if not isinstance(found, GreyBox):
            raise BoxError(f"expected a network whose layers can be read as aux, got {found.name}: name another")
        if given != OWN and isinstance(found, TrainableBox):
            found.module.to(box.device)
        return FeatureSource.of(found), given


def to_channels_last(box: Any) -> Any:
    """Give a CPU's box as a copy with its weights laid out channels last: a third less time for its gradients."""
    if box.device.type != "cpu" or not isinstance(box, TrainableBox):
        return box
    made = box.reinitialise(())
    made.module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack it
    return made
