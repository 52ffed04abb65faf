"""Where latents come from: the posteriors of the training rows, class by class."""

from typing import Any

import torch
from torch import Tensor, nn


class PosteriorDensity(nn.Module):
    """The posteriors q(z|x) = N(mu, diag(exp(logvar))) of training rows, each class's together one density over z.

    As the mixture that they are (an aggregate posterior; as prior: Norouzi et al. 2020, arXiv:2004.04795), or as the Gaussian of
    the same mean and covariance. Buffers, so that a checkpoint carries them; they are as many as there are rows.
    """

    def __init__(self, latent_dim: int):
        super().__init__()
        self.register_buffer("mu", torch.zeros(0, latent_dim))
        self.register_buffer("logvar", torch.zeros(0, latent_dim))
        self.register_buffer("labels", torch.zeros(0, dtype=torch.int64))

    def fit(self, mu: Tensor, logvar: Tensor, labels: Tensor) -> None:
        """Take the posteriors mu, logvar (n, latent_dim) of rows of classes `labels` (n,)."""
        self.mu, self.logvar, self.labels = mu.detach().float(), logvar.detach().float(), labels

    def from_mixture(self, label: int, noise: Tensor, choice: Tensor) -> Tensor:
        """Return z (B, latent_dim) of one class: for each a posterior, by `choice` (B,) in [0, 1), and `noise` (B, latent_dim)."""
        members = torch.nonzero(self.labels == label)[:, 0]
        if not len(members):
            return noise  # before the first epoch has ended: the prior
        chosen = members[(choice * len(members)).long().clamp(max=len(members) - 1)]
        return self.mu[chosen] + torch.exp(0.5 * self.logvar[chosen]) * noise

    def from_gaussian(self, label: int, noise: Tensor) -> Tensor:
        """Return z (B, latent_dim) of one class from the Gaussian with the mixture's moments, for `noise` (B, latent_dim)."""
        members = self.labels == label
        if not members.any():
            return noise
        mu = self.mu[members].double()
        mean = mu.mean(0)
        # The covariance of the mixture: of the means, plus the mean of the variances.
        covariance = (mu - mean).T @ (mu - mean) / len(mu) + torch.diag(self.logvar[members].double().exp().mean(0))
        factor, failed = torch.linalg.cholesky_ex(covariance)
        if failed:
            # Of a model that has diverged: rows that are not finite, which `Synthesizer.sample` refuses in words.
            factor = torch.full_like(factor, torch.nan)
        return (mean + noise.double() @ factor.T).float()

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        # The number of rows is the checkpoint's, not that of a fresh object.
        for name in ("mu", "logvar", "labels"):
            if prefix + name in state_dict:
                setattr(self, name, torch.empty_like(state_dict[prefix + name], device=self.mu.device))
        super()._load_from_state_dict(state_dict, prefix, *args)
