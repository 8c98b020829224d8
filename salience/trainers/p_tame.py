"""P-TAME. Ntrougkas, Mezaris and Patras, P-TAME: Explain Any Image Classifier with Trained Perturbations, OJSP 2025."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from salience import specs
from salience.engine.query.batch_size import BatchSize
from salience.engine.query.run import start_run
from salience.engine.training import explainer
from salience.engine.training.features import OWN, FeatureSource, open_source, register_object
from salience.engine.training.loop import Loop, Tell, train
from salience.engine.training.network import make_network
from salience.errors import BoxError
from salience.files import make_folder, write_whole
from salience.trainers._p_tame.fitted import Fitted
from salience.trainers._p_tame.learner import Learner
from salience.trainers._p_tame.search import search_weights
from salience.trainers._p_tame.settings import PTameSettings
from salience.trainers._p_tame.split import decide_split
from salience.trainers._pictures import Pictures, choose_precision
from salience.types import BlackBox, GreyBox, OpenBox, TrainableBox


@dataclass(frozen=True)
class PTame(PTameSettings):
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

    >>> PTame(route="queries", masks=4).route
    'queries'
    >>> PTame(ce=0.8, area=0.5)
    Traceback (most recent call last):
        ...
    salience.errors.SettingError: expected ce + area of at most 1, got 1.3: the rest is for smoothness
    """

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
                found = search_weights(self, partial(self.learn, made, pictures, loop), loop, out, tell)
            else:
                found = self.learn(made, pictures, loop, self, out, tell)
        path = write_whole(out / "explainer.safetensors", found.explainer.content())
        if keep:
            place = explainer.find_path(made.fingerprint)
            make_folder(place.parent)
            write_whole(place, found.explainer.content())
        return replace(found, path=path)

    def learn(self, box: BlackBox, pictures: Pictures, loop: Loop, how: PTameSettings, out: Path, tell: Tell) -> Fitted:
        """Train once, with settings that may differ in the weights of the loss."""
        features, spec = self.features(box)
        settings = asdict(replace(how, aux=spec))
        split = decide_split(box, pictures, how.classes, how.held, out, {"trainer": settings, "loop": asdict(loop)})
        channels = [each.shape[1] for each in features(pictures[0][None].to(box.device))]
        network = make_network(channels, len(split.classes), bias=how.route == "queries", seed=loop.seed)
        if how.route == "queries":  # a regression begins at 0: what random rows add would take long to be unlearnt
            nn.init.zeros_(network.fuser.weight)
        learner = Learner(how, to_channels_last(box) if how.route == "gradient" else box, features, split, network, loop)
        made = replace(loop, precision=loop.precision or (choose_precision(box) if how.route == "gradient" else "no"))
        history = train(learner, made, out, settings, box.device, tell)
        about = explainer.About(
            box={"name": box.name, "fingerprint": box.fingerprint},
            classes=split.classes,
            names=tuple(box.classes[each] for each in split.classes),
            source=features.describe_source(spec) | {"channels": channels},
            bias=how.route == "queries",
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
        if len(found.mean) != len(box.mean):
            raise BoxError(
                f"expected a network of {box.channels} channels as aux, got {found.name} of {found.channels}: use aux=box"
            )
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
