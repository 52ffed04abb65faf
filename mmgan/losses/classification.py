"""What a classifier minimises where classes are unequal or labels doubtful."""

import torch
from torch import Tensor
from torch.nn import functional

REDUCTIONS = ("mean", "sum", "none")


def focal_cross_entropy(
    logits: Tensor,
    labels: Tensor,
    *,
    gamma: float = 0.0,
    smoothing: float = 0.0,
    alpha: Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Return alpha[y] (1 - p[y])^gamma * cross-entropy against labels smoothed by `smoothing`, of logits (B, K), labels (B,).

    Smoothed labels have 1 - smoothing + smoothing / K at y and smoothing / K elsewhere. `mean` divides by the sum of alpha[y], as a
    weighted cross-entropy does, so that the weights of classes change their shares and not the size of the loss. With gamma
    and smoothing 0 it is the cross-entropy. Raises ValueError for an unknown reduction, and for options outside their range.

    Papers: Lin et al. 2017 (arXiv:1708.02002), Szegedy et al. 2016 (arXiv:1512.00567).
    """
    if reduction not in REDUCTIONS:
        raise ValueError(f"reduction={reduction}: choose {', '.join(REDUCTIONS)}")
    if gamma < 0 or not 0 <= smoothing <= 1:
        raise ValueError(f"gamma={gamma}, smoothing={smoothing}: give gamma from 0, smoothing from 0 to 1")
    loss = functional.cross_entropy(logits, labels, label_smoothing=smoothing, reduction="none")
    if gamma > 0:
        log_p = functional.log_softmax(logits, dim=1).gather(1, labels[:, None])[:, 0]
        # 1 - p without cancellation; bounded, since below gamma 1 the power has no finite slope at 0.
        loss = (-torch.expm1(log_p)).clamp_min(1e-6) ** gamma * loss
    weight = torch.ones_like(loss) if alpha is None else alpha.to(loss)[labels]
    if reduction == "none":
        return weight * loss
    total = (weight * loss).sum()
    return total if reduction == "sum" else total / weight.sum().clamp_min(1e-12)
