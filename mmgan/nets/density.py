"""A Gaussian per class over a latent space, followed while the encoder trains."""

import torch
from torch import Tensor, nn


class ClassDensity(nn.Module):
    """Running mean and covariance, per class, of draws from the posteriors q(z|x) = N(mu, diag(exp(logvar))).

    The covariance of such draws is that of the posterior means plus the mean posterior variance. Exponentially weighted
    over some 1 / (1 - decay) batches with bias correction; all buffers, so that a checkpoint carries it.
    """

    def __init__(self, n_classes: int, latent_dim: int, decay: float = 0.99):
        super().__init__()
        self.decay = decay
        self.register_buffer("mass", torch.zeros(n_classes))
        self.register_buffer("first", torch.zeros(n_classes, latent_dim))
        self.register_buffer("second", torch.zeros(n_classes, latent_dim, latent_dim))

    @torch.no_grad()
    def update(self, mu: Tensor, logvar: Tensor, labels: Tensor) -> None:
        """Take in one batch: mu, logvar (B, latent_dim), labels (B,)."""
        mu, logvar = mu.float(), logvar.float()
        belongs = torch.nn.functional.one_hot(labels, len(self.mass)).to(mu.dtype)  # (B, classes)
        with torch.autocast(mu.device.type, enabled=False):  # products in bf16 would leave the covariance indefinite
            spread = torch.einsum("bk,bi,bj->kij", belongs, mu, mu) + torch.diag_embed(belongs.T @ logvar.exp())
            mean = belongs.T @ mu
        for running, new in ((self.mass, belongs.sum(0)), (self.first, mean), (self.second, spread)):
            running.mul_(self.decay).add_(new)

    def sample(self, labels: Tensor, noise: Tensor) -> Tensor:
        """Return z (B, latent_dim) for labels (B,) and standard normal noise (B, latent_dim)."""
        mass = self.mass.clamp_min(1e-12)
        mean = self.first / mass[:, None]
        covariance = self.second / mass[:, None, None] - mean[:, :, None] * mean[:, None, :]
        unseen = (self.mass == 0)[:, None, None]
        identity = torch.eye(mean.shape[1], device=mean.device)
        covariance = torch.where(unseen, identity, covariance + 1e-4 * identity)  # rounding may leave it indefinite
        factor, failed = torch.linalg.cholesky_ex(covariance.double())  # (classes, latent_dim, latent_dim)
        # Of a model that has diverged: rows that are not finite, which `Synthesizer.sample` refuses in words.
        factor = torch.where(failed[:, None, None] > 0, torch.nan, factor).float()
        return mean[labels] + torch.einsum("bij,bj->bi", factor[labels], noise)
