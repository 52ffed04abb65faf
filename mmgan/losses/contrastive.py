"""Representations of the modalities of one sample are drawn together, those of different samples apart."""

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional

from mmgan.errors import Positive, Width, checked


def info_nce(
    first: Tensor, second: Tensor, temperature: float = 0.1, labels: Tensor | None = None, kept: Tensor | None = None
) -> Tensor:
    """Return the symmetric InfoNCE of two views (B, d) of the same samples, a scalar.

    With `labels` (B,), other samples of a sample's class are no negatives: in a batch of 64 with 10 classes each would have 6 false
    ones. Of `kept` (B,) bool, the others are left out altogether. Paper: van den Oord et al. 2018 (arXiv:1807.03748).
    """
    if kept is not None:
        first, second = first[kept], second[kept]
        labels = None if labels is None else labels[kept]
    if not len(first):
        return first.sum()  # 0, and a part of the graph
    similarity = functional.normalize(first, dim=1) @ functional.normalize(second, dim=1).T / temperature  # (B, B)
    if labels is not None:
        same = labels[:, None] == labels[None, :]
        same.fill_diagonal_(False)
        similarity = similarity.masked_fill(same, -torch.inf)
    own = torch.arange(len(first), device=first.device)
    return (functional.cross_entropy(similarity, own) + functional.cross_entropy(similarity.T, own)) / 2


class CrossModalContrast(nn.Module):
    """InfoNCE between all pairs of modalities, each through a projection head of its own.

    Representations (B, M, width), and which of them are there, (B, M) bool, to a scalar; 0 for a single modality.
    """

    @checked
    def __init__(
        self,
        n_modalities: int,
        width: int,
        *,
        dim: Width = 64,
        temperature: Positive = 0.1,
        mask_same_class: bool = True,
    ):
        super().__init__()
        self.temperature = temperature
        self.mask_same_class = mask_same_class
        self.heads = nn.ModuleList(
            nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, dim)) for _ in range(n_modalities)
        )

    def forward(self, h: Tensor, labels: Tensor, present: Tensor) -> Tensor:
        projected = [head(h[:, m]) for m, head in enumerate(self.heads)]
        labels = labels if self.mask_same_class else None
        losses = [
            info_nce(projected[a], projected[b], self.temperature, labels, present[:, a] & present[:, b])
            for a, b in itertools.combinations(range(len(projected)), 2)
        ]
        return torch.stack(losses).mean() if losses else h.new_zeros(())
