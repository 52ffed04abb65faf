"""Feature-level fusion of the modalities' vectors."""

import torch
from torch import Tensor, nn


class ConcatFusion(nn.Module):
    """Concatenate, then mix linearly; a list of (B, width) -> (B, width)."""

    def __init__(self, n_modalities: int, width: int):
        super().__init__()
        self.mix = nn.Linear(n_modalities * width, width)

    def forward(self, features: list[Tensor]) -> Tensor:
        return self.mix(torch.cat(features, dim=1))
