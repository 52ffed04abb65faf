"""What several modalities say of one sample becomes one statement; any of them may be missing.

Each takes the modalities' features `mu` (B, M, width), how certain they are, `logvar` (the same shape; None where the fusion
does not ask for it), and which are there, `present` (B, M) bool; None: all of them.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from mmgan.errors import MmganError, Positive, Share, Width, checked


class Fused(NamedTuple):
    """The fused features (B, width), and how much each modality counts, `weights` (B, M).

    The weights of a sample sum to 1; where no modality is present, they are 0.
    """

    features: Tensor
    weights: Tensor


class ConcatFusion(nn.Module):
    """Concatenate, then mix linearly; a missing modality is zeros, and all that are there count alike."""

    uses_uncertainty = False

    def __init__(self, n_modalities: int, width: int):
        super().__init__()
        self.mix = nn.Linear(n_modalities * width, width)

    def forward(self, mu: Tensor, logvar: Tensor | None, present: Tensor | None) -> Fused:
        if present is None:
            return Fused(self.mix(mu.flatten(1)), mu.new_full(mu.shape[:2], 1 / mu.shape[1]))
        return Fused(self.mix((mu * present[:, :, None]).flatten(1)), _shares(present.to(mu.dtype)))


class GatedUncertaintyFusion(nn.Module):
    """A mean weighted by alpha * softmax(1 / (uncertainty * temperature)) + (1 - alpha) * a learned gate's softmax.

    Uncertainty is the mean standard deviation of a modality.
    """

    uses_uncertainty = True

    @checked
    def __init__(
        self, n_modalities: int, width: int, *, temperature: Positive = 1.0, alpha: Share = 0.5, dropout: Share = 0.1
    ):
        super().__init__()
        self.temperature = temperature
        self.alpha = alpha
        self.gate = nn.Sequential(
            nn.Linear(n_modalities * width, width), nn.GELU(), nn.Dropout(dropout), nn.Linear(width, n_modalities)
        )

    def forward(self, mu: Tensor, logvar: Tensor, present: Tensor | None) -> Fused:
        present = _all_of(mu) if present is None else present
        there = mu * present[:, :, None]
        uncertainty = torch.exp(0.5 * logvar).mean(2)  # (B, M)
        certain = _softmax(1 / ((uncertainty + 1e-6) * self.temperature), present)
        weights = self.alpha * certain + (1 - self.alpha) * _softmax(self.gate(there.flatten(1)), present)
        return Fused((weights[:, :, None] * there).sum(1), weights)


class ProductOfExperts(nn.Module):
    """The mean of the product of the modalities' Gaussians and N(0, I): precisions add up.

    Paper: Wu & Goodman 2018, arXiv:1802.05335.
    """

    uses_uncertainty = True

    def __init__(self, n_modalities: int, width: int):
        super().__init__()

    def forward(self, mu: Tensor, logvar: Tensor, present: Tensor | None) -> Fused:
        present = _all_of(mu) if present is None else present
        precision = torch.exp(-logvar) * present[:, :, None]  # (B, M, width)
        return Fused((precision * mu).sum(1) / (1 + precision.sum(1)), _shares(precision.mean(2)))


class ProxyAttentionFusion(nn.Module):
    """The uncertainty-weighted mean, a proxy for the sample, attends to the modalities and takes from them what it lacks.

    Its weights are those of `GatedUncertaintyFusion`. Raises MmganError where the width is no multiple of `heads`.
    """

    uses_uncertainty = True

    @checked
    def __init__(
        self,
        n_modalities: int,
        width: int,
        *,
        heads: Width = 4,
        temperature: Positive = 1.0,
        alpha: Share = 0.5,
        dropout: Share = 0.1,
    ):
        super().__init__()
        if width % heads:
            raise MmganError(f"model.fusion.heads={heads}: expected a divisor of the network's width, {width}.")
        self.proxy = GatedUncertaintyFusion(n_modalities, width, temperature=temperature, alpha=alpha, dropout=dropout)
        self.norm_proxy, self.norm_modalities = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)

    def forward(self, mu: Tensor, logvar: Tensor, present: Tensor | None) -> Fused:
        present = _all_of(mu) if present is None else present
        proxy, weights = self.proxy(mu, logvar, present)
        some = present.any(1, keepdim=True)
        keys = self.norm_modalities(mu)
        # A sample without any modality would have a softmax over nothing: it attends to all, and the answer is dropped.
        found, _ = self.attention(
            self.norm_proxy(proxy)[:, None], keys, keys, key_padding_mask=some & ~present, need_weights=False
        )
        return Fused(proxy + found[:, 0] * some, weights)


def _all_of(mu: Tensor) -> Tensor:
    """Return that all modalities of mu (B, M, width) are there, (B, M) bool."""
    return torch.ones(mu.shape[:2], dtype=torch.bool, device=mu.device)


def _softmax(scores: Tensor, present: Tensor) -> Tensor:
    """Return the softmax over the modalities that are present; zeros where there is none."""
    lowest = torch.finfo(scores.dtype).min
    return torch.softmax(scores.masked_fill(~present, lowest), dim=1) * present


def _shares(amounts: Tensor) -> Tensor:
    """Return (B, M) amounts over their sum; zeros where there is none."""
    return amounts / amounts.sum(1, keepdim=True).clamp_min(1e-12)
