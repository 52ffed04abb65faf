"""What the critic's input goes through, real and generated samples alike, so that few samples last longer before it knows them by heart."""

import torch
from torch import Tensor, nn

from mmgan.errors import NonNegative, Share, checked
from mmgan.nets.axis import STATISTICS


class CriticAugmentation(nn.Module):
    """Differentiable augmentation of scaled samples (Zhao et al. 2020, arXiv:2006.10738): instance noise, and an erased stretch.

    `noise` is the standard deviation of white noise, in scaled units; `erase` the largest share of the last axis that is set to 0,
    one random stretch a sample and modality, over all channels. Zeros leave samples as they are. Meant for scalings to zero mean and
    unit deviation (quantile, standard). Axis statistics are left as they are: noise would drown the texture that they tell.
    """

    @checked
    def __init__(self, noise: NonNegative = 0.0, erase: Share = 0.0):
        super().__init__()
        self.noise = noise
        self.erase = erase

    def forward(self, *batches: dict[str, Tensor]) -> tuple[dict[str, Tensor], ...]:
        """Return each of the batches, {name: (B, *shape)}, samples of equal place with the same noise and stretch."""
        changed = tuple({key: x for key, x in batch.items() if key == STATISTICS} for batch in batches)
        for name, like in batches[0].items():
            if name == STATISTICS:
                continue
            noise = self.noise * torch.randn(like.shape, device=like.device, dtype=like.dtype)
            kept = self._kept(like)
            for batch, new in zip(batches, changed, strict=True):
                new[name] = (batch[name] + noise) * kept
        return changed

    def _kept(self, x: Tensor) -> Tensor:
        """Return 0 in the erased stretches and 1 elsewhere, (B, 1, ..., length)."""
        n, length = len(x), x.shape[-1]
        size = (torch.rand(n, 1, device=x.device) * self.erase * length).round()
        start = torch.rand(n, 1, device=x.device) * (length - size)
        place = torch.arange(length, device=x.device)
        kept = (place < start) | (place >= start + size)  # (B, length)
        return kept.view(n, *[1] * (x.dim() - 2), length).to(x.dtype)
