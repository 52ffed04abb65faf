"""What the critic's input goes through, real and generated rows alike, so that few rows last longer before it knows them by heart."""

import torch
from torch import Tensor, nn


class CriticAugmentation(nn.Module):
    """Differentiable augmentation of scaled rows (Zhao et al. 2020, arXiv:2006.10738): instance noise, and an erased stretch.

    `noise` is the standard deviation of white noise (in scaled units, where features have 1); `erase` the largest share of the last
    axis that is set to the mean, one random stretch a row and modality, over all channels. Zeros leave rows as they are.
    """

    def __init__(self, noise: float = 0.0, erase: float = 0.0):
        super().__init__()
        self.noise = noise
        self.erase = erase

    def forward(self, x: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return rows {name: (B, *shape)}, each augmented afresh."""
        return {name: self._erased(value + self.noise * torch.randn_like(value)) for name, value in x.items()}

    def _erased(self, x: Tensor) -> Tensor:
        n, length = len(x), x.shape[-1]
        size = (torch.rand(n, 1, device=x.device) * self.erase * length).round()
        start = torch.rand(n, 1, device=x.device) * (length - size)
        place = torch.arange(length, device=x.device)
        kept = (place < start) | (place >= start + size)  # (B, length)
        return x * kept.view(n, *[1] * (x.dim() - 2), length).to(x.dtype)
