"""What the pixels of a batch do to the logits of its labels."""

from __future__ import annotations

import torch

from salience.trainers._classifier.loss import Batch, Logits, Step


def label_gradients(step: Step) -> tuple[Batch, Logits]:
    """Return ∂ logit of the label / ∂ pixel in 0…1, and the logits, both detached; no parameter's gradient is touched."""
    leaf = step.images.detach().clone().requires_grad_()
    logits = step.logits(leaf)
    (gradients,) = torch.autograd.grad(logits.gather(1, step.labels[:, None]).sum(), leaf)
    return gradients * step.unit, logits.detach()
