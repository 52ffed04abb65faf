"""Variational terms (Kingma & Welling 2014, arXiv:1312.6114)."""

import math

import torch
from torch import Tensor


def kl_standard_normal(mu: Tensor, logvar: Tensor, free_bits: float = 0.0) -> Tensor:
    """Return KL(N(mu, exp(logvar)) || N(0, I)), summed over the latent dimensions, mean over samples; a scalar.

    A dimension's mean counts as `free_bits` (nats) where it is less (Kingma et al. 2016, arXiv:1606.04934, appendix C).
    """
    divergence = 0.5 * (mu.square() + logvar.exp() - 1 - logvar)  # (B, latent_dim)
    if not free_bits:
        return divergence.sum(1).mean()
    return divergence.mean(0).clamp_min(free_bits).sum()


def reparameterize(mu: Tensor, logvar: Tensor, noise: Tensor) -> Tensor:
    """Return mu + exp(logvar / 2) * noise; all (B, latent_dim)."""
    return mu + torch.exp(0.5 * logvar) * noise


def gaussian_nll(x: dict[str, Tensor], mean: dict[str, Tensor], log_std: dict[str, Tensor]) -> Tensor:
    """Return minus the log-likelihood per value, up to its constant, of N(mean, exp(log_std)^2); mean over modalities.

    So a wide modality does not drown a narrow one. All {name: (B, *shape)}.
    """
    terms = [(0.5 * ((x[k] - mean[k]) * torch.exp(-log_std[k])).square() + log_std[k]).mean() for k in mean]
    return torch.stack(terms).mean()


class GaussianLikelihood:
    """Arrays lie around their mean as N(mean, exp(log_std)^2), value by value."""

    nll = staticmethod(gaussian_nll)

    def noise(self, white: Tensor) -> Tensor:
        """Return noise of this kind and unit variance, of normal noise `white`, the same shape: itself."""
        return white


class LaplaceLikelihood:
    """Arrays lie around their mean as Laplace distributions of standard deviation exp(log_std): less is made of what lies far off."""

    def nll(self, x: dict[str, Tensor], mean: dict[str, Tensor], log_std: dict[str, Tensor]) -> Tensor:
        """Return minus the log-likelihood per value, up to its constant; mean over modalities. All {name: (B, *shape)}."""
        terms = [(math.sqrt(2) * (x[k] - mean[k]).abs() * torch.exp(-log_std[k]) + log_std[k]).mean() for k in mean]
        return torch.stack(terms).mean()

    def noise(self, white: Tensor) -> Tensor:
        """Return Laplace noise of unit variance, each value the quantile that the normal one has in `white`."""
        tail = torch.special.ndtr(-white.abs().double())  # how much lies further out on one side
        return (-torch.log(2 * tail) / math.sqrt(2)).to(white.dtype) * white.sign()


def log_likelihood(x: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
    """Return (B, N): the log-likelihood, up to its constant, of each sample x (B, *shape) under N(mean, exp(log_std)^2), (N, *shape)."""
    x, mean, log_std = (value.flatten(1).double() for value in (x, mean, log_std))
    precision = torch.exp(-2 * log_std)  # (N, values)
    # The square multiplied out, in double precision: (B, N, values) would not fit into memory.
    squared = x.square() @ precision.T - 2 * x @ (mean * precision).T + (mean.square() * precision).sum(1)
    return -0.5 * squared - log_std.sum(1)


def importance_resampled(z: Tensor, log_likelihood: Tensor, choice: Tensor, temper: float = 0.05) -> Tensor:
    """Return for each of B samples one of N candidates z (N, d), by how well it explains the sample: (B, d).

    `log_likelihood` (B, N) counts `temper` times: values of a sample are far from independent given z, so with all of its weight a
    sample would have a single explanation. `choice` (B,) are uniform numbers in [0, 1).
    """
    cumulative = torch.cumsum(torch.softmax(temper * log_likelihood.double(), dim=1), dim=1)
    place = torch.searchsorted(cumulative, choice[:, None].double())[:, 0].clamp(max=len(z) - 1)
    return z[place]
