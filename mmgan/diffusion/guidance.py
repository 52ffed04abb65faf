"""Classifier-free guidance."""

from collections.abc import Callable

import torch
from torch import Tensor

from mmgan.schema import Batch


def guided(
    network: Callable[[Batch, Tensor, Tensor], Batch], labels: Tensor, no_class: int, guidance_scale: float
) -> Callable[[Batch, Tensor], Batch]:
    """Return the predictions (x_t, t) of `network` (x_t, t, labels) for labels (B,), led away from those for the label `no_class`; 1: not led.

    Classifier-free guidance (Ho & Salimans 2022, arXiv:2207.12598), whose weight w is `guidance_scale` - 1.
    """
    if guidance_scale == 1:
        return lambda x, t: network(x, t, labels)
    both_labels = torch.cat([labels, torch.full_like(labels, no_class)])

    def predict(x: Batch, t: Tensor) -> Batch:
        both = network({name: torch.cat([value, value]) for name, value in x.items()}, torch.cat([t, t]), both_labels)
        cond, uncond = ({name: value.chunk(2)[side] for name, value in both.items()} for side in (0, 1))
        return {name: torch.lerp(uncond[name], cond[name], guidance_scale) for name in x}

    return predict
