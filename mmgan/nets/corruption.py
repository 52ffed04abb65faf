"""What a robust classifier's training samples go through: mixed pairs, noise, and modalities that are missing."""

import torch
from torch import Tensor, nn

from mmgan.errors import MmganError


def mixed(x: dict[str, Tensor], alpha: float) -> tuple[dict[str, Tensor], Tensor, float]:
    """Return share * x + (1 - share) * x[partner], the partners (B,), and the share, from Beta(alpha, alpha) and at least .5.

    With alpha 0 the samples as they are, and share 1. Paper: Zhang et al. 2018 (arXiv:1710.09412).
    """
    first = next(iter(x.values()))
    partner = torch.randperm(len(first), device=first.device)
    if not alpha:
        return x, partner, 1.0
    share = float(torch.distributions.Beta(alpha, alpha).sample())
    share = max(share, 1 - share)
    return {name: share * value + (1 - share) * value[partner] for name, value in x.items()}, partner, share


class Corruption(nn.Module):
    """Noise and missing modalities, of scaled samples {name: (B, *shape)} -> noisy samples, and which are present, (B, M) bool.

    A modality gets white noise with probability one half, of a deviation drawn from 0 to `noise` for each row and modality. With
    probability `drop` a row loses one modality, a random one; never its last. Raises MmganError for other values.
    """

    def __init__(self, noise: float = 0.0, drop: float = 0.0):
        super().__init__()
        if noise < 0 or not 0 <= drop <= 1:
            raise MmganError(
                f"model.corruption: noise={noise} and drop={drop} are not possible; give noise from 0, drop from 0 to 1."
            )
        self.noise = noise
        self.drop = drop

    def forward(self, x: dict[str, Tensor]) -> tuple[dict[str, Tensor], Tensor]:
        noisy = {name: value + self._level(value) * torch.randn_like(value) for name, value in x.items()}
        first = next(iter(x.values()))
        present = torch.ones(len(first), len(x), dtype=torch.bool, device=first.device)
        if len(x) > 1 and self.drop:
            lost = torch.randint(len(x), (len(first),), device=first.device)
            losing = torch.rand(len(first), device=first.device) < self.drop
            present[torch.nonzero(losing)[:, 0], lost[losing]] = False
        return noisy, present

    def _level(self, x: Tensor) -> Tensor:
        """Return the deviation of each row's noise, (B, 1, ...)."""
        level = self.noise * torch.rand(len(x), device=x.device) * (torch.rand(len(x), device=x.device) < 0.5)
        return level.view(-1, *[1] * (x.dim() - 1))
