"""Variational terms (Kingma & Welling 2014, arXiv:1312.6114)."""

import torch
from torch import Tensor


def kl_standard_normal(mu: Tensor, logvar: Tensor) -> Tensor:
    """Return KL(N(mu, exp(logvar)) || N(0, I)), summed over the latent dimensions, mean over samples; a scalar."""
    return 0.5 * (mu.square() + logvar.exp() - 1 - logvar).sum(1).mean()


def reparameterize(mu: Tensor, logvar: Tensor, noise: Tensor) -> Tensor:
    """Return mu + exp(logvar / 2) * noise; all (B, latent_dim)."""
    return mu + torch.exp(0.5 * logvar) * noise


def reconstruction_error(x: dict[str, Tensor], restored: dict[str, Tensor]) -> Tensor:
    """Return the mean squared error per value, mean over modalities, so that a wide modality does not drown a narrow one."""
    errors = [(restored[name] - value).square().mean() for name, value in x.items()]
    return torch.stack(errors).mean()
