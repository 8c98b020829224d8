"""How each peer is called, as its documentation says. Ways are functions of what is asked; they return a map."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from salience.engine import maps
from salience.engine.perturb.superpixels import segment


class Task:
    """What is to be explained, in the forms that peers take; every pass is counted."""

    def __init__(self, box: Any, image: Tensor, target: int, masks: int, *, counted: bool) -> None:
        self.box, self.image, self.target, self.masks, self.passes = box, image, target, masks, 0
        self.saliency: Any = None
        self.module = box.module.eval()
        mean, std = (torch.tensor(each)[:, None, None] for each in (box.preparation.mean, box.preparation.std))
        self.mean, self.std, self.ready = mean, std, ((image - mean) / std)[None]
        self.layer: str = box.layers()[-1] if counted else ""
        if counted:
            with torch.inference_mode():
                self.module(self.ready)
            self.module.register_forward_pre_hook(self.count)

    def count(self, _module: Any, given: Any) -> None:
        """Note the images of a pass."""
        self.passes += len(given[0])

    @property
    def softmaxed(self) -> nn.Module:
        """The network with probabilities at its end."""
        return nn.Sequential(self.module, nn.Softmax(1)).eval()

    def scored(self, pictures: np.ndarray) -> np.ndarray:
        """Answer to pictures (n h w 3) in 0…1 with probabilities, as a numpy function does."""
        images = torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float()
        with torch.inference_mode():
            found: np.ndarray = self.module((images - self.mean) / self.std).softmax(1).numpy()
        return found

    @property
    def picture(self) -> np.ndarray:
        """The image as (h w 3) in 0…1."""
        found: np.ndarray = self.image.permute(1, 2, 0).contiguous().numpy()
        return found

    @property
    def cut(self) -> Tensor:
        """Regions of the image, numbered from 0."""
        return segment(self.image, 50)

    def grown(self, small: Any) -> Tensor:
        """Enlarge a map of a layer."""
        return maps.resize(torch.as_tensor(small).float().reshape(small.shape[-2:]), self.box.size)


def rise_dianna(asked: Task) -> Any:
    """Draw masks with p given: its search for one costs 900 further passes."""
    import dianna

    labels, settings = [asked.target], {"n_masks": asked.masks, "feature_res": 7, "p_keep": 0.5, "batch_size": 32}
    return dianna.explain_image(asked.scored, asked.picture, "RISE", labels, **settings)[0]


def rise_xaitk(asked: Task) -> Any:
    """All classes at once, on bytes."""
    from xaitk_saliency.impls.gen_image_classifier_blackbox_sal.rise import RISEStack

    made = RISEStack(asked.masks, 7, 0.5, seed=0)
    made.fill = [0, 0, 0]
    return made.generate((asked.picture * 255).astype(np.uint8), classifier(asked))[asked.target]


def rise_torchxai(asked: Task) -> Any:
    """With probabilities: of logits its map is blank wherever they are below 0."""
    from torchxai.methods.rise import RISE

    made = RISE(asked.softmaxed, n_masks=asked.masks, mask_resolution=7)
    return made(asked.ready, target_class=asked.target)


def rise_captum(asked: Task) -> Any:
    """Pass by pass: it has no batches."""
    from rise import RISE

    black = -asked.mean / asked.std
    with torch.inference_mode():
        found = RISE(asked.softmaxed).attribute(
            asked.ready, asked.masks, ((7, 7),), baselines=black.expand_as(asked.ready[0])[None], target=asked.target
        )
    return first_map(found).mean(0)


def rise_xaitoolkit(asked: Task) -> Any:
    """Blocks with hard edges; the fill is grey, for it masks the normalised image."""
    from xaitoolkit.methods.rise import explain_rise

    return explain_rise(asked.module, asked.ready, asked.target, torch.device("cpu"), num_masks=asked.masks, grid=7, seed=0)


def occlusion_captum(asked: Task) -> Any:
    """32 windows a call."""
    from captum.attr import Occlusion

    windows: dict[str, Any] = {"sliding_window_shapes": (3, 32, 32), "strides": (3, 16, 16)}
    with torch.inference_mode():
        found = Occlusion(asked.softmaxed).attribute(asked.ready, target=asked.target, perturbations_per_eval=32, **windows)
    return first_map(found).sum(0)


def occlusion_xaitk(asked: Task) -> Any:
    """All classes at once, on bytes."""
    from xaitk_saliency.impls.gen_image_classifier_blackbox_sal.slidingwindow import SlidingWindowStack

    made = SlidingWindowStack((32, 32), (16, 16))
    made.fill = [int(255 * each) for each in asked.mean.flatten()]
    return made.generate((asked.picture * 255).astype(np.uint8), classifier(asked))[asked.target]


def lime_lime(asked: Task) -> Any:
    """On the same regions."""
    from lime.lime_image import LimeImageExplainer

    cut = asked.cut.numpy()
    found = LimeImageExplainer(random_state=0).explain_instance(
        asked.picture.astype(np.double),
        asked.scored,
        labels=(asked.target,),
        top_labels=None,
        num_samples=asked.masks,
        batch_size=32,
        segmentation_fn=lambda _: cut,
        random_seed=0,
    )
    weights = dict(found.local_exp[asked.target])
    return torch.tensor([weights.get(each, 0.0) for each in range(int(cut.max()) + 1)])[asked.cut]


def lime_captum(asked: Task) -> Any:
    """On the same regions, 32 a call."""
    from captum.attr import Lime

    return plant_surrogate(asked, Lime(asked.softmaxed))


def shap_captum(asked: Task) -> Any:
    """On the same regions, 32 a call."""
    from captum.attr import KernelShap

    return plant_surrogate(asked, KernelShap(asked.softmaxed))


def shap_shap(asked: Task) -> Any:
    """KernelExplainer over the same regions, hidden ones in the mean colour."""
    import shap

    cut, fill = asked.cut, torch.tensor(asked.box.mean)
    count = int(cut.max()) + 1

    def scored(rows: np.ndarray) -> np.ndarray:
        parts = []
        for some in np.array_split(rows, max(1, len(rows) // 32)):
            shown = torch.from_numpy(some).float()[:, cut][..., None].numpy()
            parts.append(asked.scored(asked.picture * shown + fill.numpy() * (1 - shown))[:, asked.target])
        return np.concatenate(parts)

    explainer = shap.KernelExplainer(scored, np.zeros((1, count)))
    values = explainer.shap_values(np.ones((1, count)), nsamples=asked.masks, silent=True)
    return torch.as_tensor(np.asarray(values)).reshape(-1)[cut]


def score_cam_torchcam(asked: Task) -> Any:
    """All channels."""
    from torchcam.methods import ScoreCAM

    shape = tuple(asked.ready.shape[1:])
    with ScoreCAM(asked.module, asked.layer, batch_size=32, input_shape=shape) as extractor:
        with torch.inference_mode():
            asked.module(asked.ready)
        return asked.grown(extractor(class_idx=asked.target)[0][0])


def score_cam_grad_cam(asked: Task) -> Any:
    """All channels, 32 a call."""
    from pytorch_grad_cam import ScoreCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    with ScoreCAM(asked.module, [asked.module.get_submodule(asked.layer)]) as cam:
        cam.batch_size = 32
        return cam(asked.ready, [ClassifierOutputTarget(asked.target)])[0]


def grad_cam_torchcam(asked: Task) -> Any:
    """One pass forward, one back."""
    from torchcam.methods import GradCAM

    with GradCAM(asked.module, asked.layer, input_shape=tuple(asked.ready.shape[1:])) as extractor:
        scores = asked.module(asked.ready)
        return asked.grown(extractor(asked.target, scores)[0][0])


def grad_cam_grad_cam(asked: Task) -> Any:
    """One pass forward, one back."""
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    with GradCAM(asked.module, [asked.module.get_submodule(asked.layer)]) as cam:
        return cam(asked.ready, [ClassifierOutputTarget(asked.target)])[0]


def gradients_captum(asked: Task) -> Any:
    """50 steps from black, 32 a call; its rule of steps is Gauss and Legendre's."""
    from captum.attr import IntegratedGradients

    black = (-asked.mean / asked.std).expand_as(asked.ready[0])[None]
    made = IntegratedGradients(asked.module)
    found = made.attribute(asked.ready, black, target=asked.target, n_steps=50, internal_batch_size=32)
    return first_map(found).abs().amax(0)


def curves_torchcam(asked: Task) -> Any:
    """224 steps each, of the same map."""
    from contextlib import nullcontext

    from torchcam.metrics import DeletionInsertionMetric

    class Given:
        _hooks_off = staticmethod(nullcontext)
        model = asked.module

        def __call__(self, *_args: object, **_options: object) -> list[Tensor]:
            return [asked.saliency[None]]

        def fuse_cams(self, cams: list[Tensor]) -> Tensor:
            return cams[0]

    extractor: Any = Given()
    with torch.no_grad():
        DeletionInsertionMetric(extractor, lambda raw: raw.softmax(-1), steps=224).update(asked.ready, asked.target)
    return asked.saliency


def curves_quantus(asked: Task) -> Any:
    """PixelFlipping, 384 steps, one curve of the two."""
    from quantus import PixelFlipping

    metric = PixelFlipping(features_in_step=392, disable_warnings=True)
    given = (asked.module, asked.ready.numpy(), np.array([asked.target]), asked.saliency[None, None].numpy())
    metric(*given, softmax=True, device="cpu", channel_first=True)
    return asked.saliency


def road_quantus(asked: Task) -> Any:
    """On RGB it raises as it comes."""
    from quantus import ROAD

    metric = ROAD(percentages=[10, 20, 30, 40, 50, 70, 90], disable_warnings=True, display_progressbar=False)
    given = (asked.module, asked.ready.numpy(), np.array([asked.target]), asked.saliency[None, None].numpy())
    metric(*given, softmax=True, device="cpu", channel_first=True)
    return asked.saliency


def road_grad_cam(asked: Task) -> Any:
    """At each percentage of the protocol, most relevant first."""
    from pytorch_grad_cam.metrics.road import ROADMostRelevantFirstAverage
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputSoftmaxTarget

    levels = [10, 20, 30, 40, 50, 70, 90]
    metric = ROADMostRelevantFirstAverage(percentiles=levels)
    metric(asked.ready, asked.saliency[None].numpy(), [ClassifierOutputSoftmaxTarget(asked.target)], asked.module)
    return asked.saliency


def plant_surrogate(asked: Task, made: Any) -> Any:
    """Ask a surrogate of Captum's."""
    fill = (torch.tensor(asked.box.mean)[:, None, None] - asked.mean) / asked.std
    found = made.attribute(
        asked.ready,
        baselines=fill.expand_as(asked.ready[0])[None],
        target=asked.target,
        feature_mask=asked.cut[None, None],
        n_samples=asked.masks,
        perturbations_per_eval=32,
    )
    return first_map(found)[0]


def classifier(asked: Task) -> Any:
    """Make xaitk's classifier, which answers in batches of 32."""
    from smqtk_classifier import ClassifyImage

    class Box(ClassifyImage):  # type: ignore[misc]  # an optional package without types
        def get_labels(self) -> list[int]:
            return list(range(len(asked.box.classes)))

        def classify_images(self, img_iter: Iterable[np.ndarray]) -> Iterator[dict[int, float]]:
            batch: list[np.ndarray] = []
            for each in img_iter:
                batch.append(each)
                if len(batch) == 32:
                    yield from self._classify(batch)
                    batch = []
            yield from self._classify(batch) if batch else ()

        def _classify(self, batch: list[np.ndarray]) -> Iterator[dict[int, float]]:
            for row in asked.scored(np.stack(batch).astype(np.float32) / 255):
                yield dict(enumerate(row.tolist()))

        def get_config(self) -> dict[str, Any]:
            return {}

    return Box()


def first_map(found: Any) -> Tensor:
    """Return the one attribution (c h w)."""
    one = found[0] if isinstance(found, tuple) else found
    return one.detach().reshape(one.shape[-3:])


Way = Callable[[Task], Any]
PEERS: dict[str, dict[str, Way]] = {
    "rise": {
        "dianna": rise_dianna,
        "xaitk-saliency": rise_xaitk,
        "torchxai-explain": rise_torchxai,
        "captum-rise": rise_captum,
        "xaitoolkit": rise_xaitoolkit,
    },
    "occlusion": {"captum": occlusion_captum, "xaitk-saliency": occlusion_xaitk},
    "lime": {"lime": lime_lime, "captum": lime_captum},
    "kernel-shap": {"shap": shap_shap, "captum": shap_captum},
    "score-cam": {"torchcam": score_cam_torchcam, "grad-cam": score_cam_grad_cam},
    "grad-cam": {"torchcam": grad_cam_torchcam, "grad-cam": grad_cam_grad_cam},
    "integrated-gradients": {"captum": gradients_captum},
    "deletion and insertion": {"torchcam": curves_torchcam, "quantus, one of two": curves_quantus},
    "road": {"quantus": road_quantus, "grad-cam": road_grad_cam},
}
