"""The variational autoencoder: encoder E and generator G, a likelihood and a KL term."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from mmgan.errors import (
    Betas,
    CalibrationSamples,
    Clip,
    NonNegative,
    NonNegativeInt,
    Rates,
    ShareBelowOne,
    Weights,
    Width,
    checked,
)
from mmgan.losses.variational import GaussianLikelihood, LaplaceLikelihood, kl_standard_normal, reparameterize
from mmgan.models.average import MovingAverage
from mmgan.models.latent import LatentGenerator
from mmgan.models.memory import AggregatePosterior
from mmgan.models.module import Phase, PhasedModel
from mmgan.nets.quantile_mapping import QuantileMapping
from mmgan.schema import Batch, DataSchema


class VAE(LatentGenerator, PhasedModel):
    """Class-conditional variational autoencoder (Kingma & Welling 2014, arXiv:1312.6114) over a set of modalities.

    Parameters
    ----------
    encoder : (schema, latent_dim) -> E, which gives mu and logvar (B, latent_dim).
    generator : (schema, latent_dim) -> G, which turns z, labels and noise (B, noise_dim) into `Generated`.
    likelihood : of `mmgan.losses.variational`: the loss, and the noise around the mean of a generated sample.
    latent_dim : number of latent dimensions.
    kl_warmup : batches until the KL term has its full weight.
    free_bits : nats of each latent dimension that cost nothing.
    ema_decay : of the moving average of G, which samples.
    sampling : where `sample` takes z from: the posterior of a random training sample of the class, a Gaussian per class (density), N(0, I) (prior).
    n_calibration_samples : generated samples that the quantile mapping is fitted on, after each epoch on at most 1024 of them; 0: no mapping.
    """

    monitor, mode = "val/score", "max"

    @checked
    def __init__(
        self,
        schema: DataSchema,
        *,
        encoder: Callable[..., nn.Module],
        generator: Callable[..., nn.Module],
        likelihood: GaussianLikelihood | LaplaceLikelihood,
        latent_dim: Width,
        kl_warmup: NonNegativeInt,
        free_bits: NonNegative,
        ema_decay: ShareBelowOne,
        sampling: Literal["posterior", "density", "prior"],
        n_calibration_samples: CalibrationSamples,
        scaler: Callable[..., nn.Module],
        weights: Weights,
        lr: Rates,
        betas: Betas,
        clip: Clip,
    ):
        super().__init__(schema, scaler=scaler, weights=weights, lr=lr, betas=betas, clip=clip)
        self.encoder = encoder(schema, latent_dim)
        self.generator = generator(schema, latent_dim)
        self.average = MovingAverage(self.generator, ema_decay)
        self.latents = AggregatePosterior(latent_dim)
        self.mapping = QuantileMapping.of(schema, n_calibration_samples)
        self.likelihood = likelihood
        self.kl_warmup, self.free_bits, self.sampling = kl_warmup, free_bits, sampling
        self.phases = [Phase("vae", (self.encoder, self.generator), self.terms)]

    def terms(self, x: Batch, labels: Tensor) -> dict[str, Tensor]:
        """Terms of the one phase: minus the likelihood's mean per value, and the KL divergence per sample."""
        mu, logvar = self.encoder(x)
        z = reparameterize(mu, logvar, torch.randn(mu.shape, device=mu.device, dtype=mu.dtype))
        white = torch.randn(len(z), self.generator.noise_dim, device=z.device, dtype=z.dtype)
        generated = self.generator(z, labels, white)
        return {
            "reconstruction": self.likelihood.nll(x, generated.mean, generated.log_std),
            "kl": kl_standard_normal(mu, logvar, self.free_bits),
        }

    def validation_step(self, batch: tuple[Tensor, ...], batch_idx: int) -> None:
        """Log the terms of held-out samples."""
        x, labels = self.scaled(batch)
        held_out = {f"vae/{name}_held_out": term for name, term in self.terms(x, labels).items()}
        self.log_dict(held_out, batch_size=len(labels), sync_dist=True)

    def shaped(self, white: Tensor) -> Tensor:
        return self.likelihood.noise(white)
