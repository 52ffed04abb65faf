"""What a classifier minimises where classes are unequal or labels doubtful."""

import torch
from torch import Tensor
from torch.nn import functional


def focal_cross_entropy(
    logits: Tensor, labels: Tensor, alpha: Tensor, *, gamma: float = 0.0, smoothing: float = 0.0
) -> Tensor:
    """Return alpha[y] (1 - p[y])^gamma * cross-entropy against labels smoothed by `smoothing`, of logits (B, K), labels (B,); a scalar.

    Smoothed labels have 1 - smoothing + smoothing / K at y and smoothing / K elsewhere. The mean divides by the sum of alpha[y],
    as a weighted cross-entropy does, so that the weights of classes, alpha (K,), change their shares and not the size of the loss.
    Papers: Lin et al. 2017 (arXiv:1708.02002), Szegedy et al. 2016 (arXiv:1512.00567).
    """
    loss = functional.cross_entropy(logits, labels, label_smoothing=smoothing, reduction="none")
    if gamma > 0:
        log_p = functional.log_softmax(logits, dim=1).gather(1, labels[:, None])[:, 0]
        # 1 - p without cancellation; bounded, since below gamma 1 the power has no finite slope at 0.
        loss = (-torch.expm1(log_p)).clamp_min(1e-6) ** gamma * loss
    weight = alpha.to(loss)[labels]
    return (weight * loss).sum() / weight.sum().clamp_min(1e-12)
