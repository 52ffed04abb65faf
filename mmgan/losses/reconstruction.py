"""How far samples are from what they are rebuilt as: by themselves, and in the features of a network."""

import torch
from torch import Tensor
from torch.nn import functional


def l1(x: dict[str, Tensor], y: dict[str, Tensor]) -> Tensor:
    """Return the mean absolute difference of samples, mean over modalities; a scalar."""
    return torch.stack([(x[name] - y[name]).abs().mean() for name in x]).mean()


def feature_distance(a: dict[str, list[Tensor]], b: dict[str, list[Tensor]]) -> Tensor:
    """Return the mean squared distance of feature vectors of unit length, over places, maps (B, channels, ...) and modalities; a scalar.

    As LPIPS (Zhang et al. 2018, arXiv:1801.03924) without its learnt weights of channels.
    """
    distances = [
        (functional.normalize(one, dim=1) - functional.normalize(other, dim=1)).square().sum(1).mean()
        for name in a
        for one, other in zip(a[name], b[name], strict=True)
    ]
    return torch.stack(distances).mean()
