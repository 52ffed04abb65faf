"""VACWGAN-GP for several modalities: encoder E, generator G, Wasserstein critic D with gradient penalty, classifier C."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmgan.errors import (
    Betas,
    CalibrationSamples,
    Clip,
    NonNegativeInt,
    PositiveInt,
    Rates,
    ShareBelowOne,
    Weights,
    Width,
    checked,
)
from mmgan.losses.adversarial import GANLoss, of_labels
from mmgan.losses.variational import gaussian_nll, kl_standard_normal, reparameterize
from mmgan.models.average import MovingAverage
from mmgan.models.latent import LatentGenerator
from mmgan.models.memory import AggregatePosterior
from mmgan.models.module import Phase, PhasedModel
from mmgan.nets.networks import Generated, seen_by
from mmgan.nets.quantile_mapping import QuantileMapping
from mmgan.schema import Batch, DataSchema


@dataclass(frozen=True)
class Drawn:
    """What G makes of a batch, and the posteriors that it came from; the samples are as D is to see them, before augmentation."""

    mu: Tensor
    logvar: Tensor
    generated: Generated
    seen: tuple[Batch, Batch]  # real and generated samples


class VACWGAN(LatentGenerator, PhasedModel):
    """Variational auxiliary-classifier Wasserstein GAN over a set of modalities.

    The generated samples of a batch come from the posteriors q(z|x) of its real samples, so that the critic judges what the
    likelihood asks to reconstruct, and what is sampled later. A checkpoint holds the posteriors of up to 10 000 training samples.

    Parameters
    ----------
    encoder : (schema, latent_dim) -> E, which gives mu and logvar (B, latent_dim).
    generator : (schema, latent_dim) -> G, which turns z, labels and noise (B, noise_dim) into `Generated`.
    critic : schema -> D, which scores samples of labels (B,); `features` and `from_features` are its two halves.
    classifier : schema -> C, which gives class logits; it learns from real samples alone.
    gan_loss : the adversarial loss of D and G, of `mmgan.losses.adversarial`.
    augment : what all that D sees goes through, real and generated samples alike.
    latent_dim : number of latent dimensions.
    critic_steps : updates of D per batch.
    kl_warmup : batches until the KL term has its full weight.
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
        critic: Callable[..., nn.Module],
        classifier: Callable[..., nn.Module],
        gan_loss: GANLoss,
        augment: nn.Module,
        latent_dim: Width,
        critic_steps: PositiveInt,
        kl_warmup: NonNegativeInt,
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
        self.critic = critic(schema)
        self.classifier = classifier(schema)
        self.average = MovingAverage(self.generator, ema_decay)
        self.latents = AggregatePosterior(latent_dim)
        self.mapping = QuantileMapping.of(schema, n_calibration_samples)
        self.gan_loss, self.augment = gan_loss, augment
        self.kl_warmup, self.sampling = kl_warmup, sampling
        self._drawn: Drawn | None = None
        self.phases = [
            Phase("critic", (self.critic,), self.critic_terms, repeats=critic_steps),
            Phase("classifier", (self.classifier,), self.classifier_terms),
            Phase("generator", (self.generator, self.encoder), self.generator_terms),
        ]

    # -- training -------------------------------------------------------------------------------------------------
    def prepared(self, x: Batch) -> Batch:
        (seen,) = seen_by(self.critic, x)
        return seen

    def critic_terms(self, x: Batch, labels: Tensor) -> dict[str, Tensor]:
        """Terms that D minimises: it tells real samples from generated ones of the same classes."""
        seen = ({name: value.detach() for name, value in each.items()} for each in self.drawn(x, labels).seen)
        return self.gan_loss.critic_terms(of_labels(self.critic, labels), *self.augment(*seen), torch.rand)

    def classifier_terms(self, x: Batch, labels: Tensor) -> dict[str, Tensor]:
        """Terms that C minimises: real samples alone, so that it cannot agree with the generator's mistakes."""
        return {"classification": F.cross_entropy(self.classifier(x), labels)}

    def generator_terms(self, x: Batch, labels: Tensor) -> dict[str, Tensor]:
        """Terms that G and E minimise together."""
        drawn, self._drawn = self.drawn(x, labels), None
        generated = drawn.generated
        adversarial, feature_matching = self.gan_loss.generator_terms(self.critic, *self.augment(*drawn.seen), labels)
        return {
            "adversarial": adversarial,
            "reconstruction": gaussian_nll(x, generated.mean, generated.log_std),
            "kl": kl_standard_normal(drawn.mu, drawn.logvar),
            "classification": F.cross_entropy(self.classifier(generated.samples), labels),
            "feature_matching": feature_matching,
        }

    def before_batch(self, x: Batch, labels: Tensor) -> None:
        # One pass of E and G for the critic's steps and the generator's, in between which both stay as they are.
        for parameter in self.phases[-1].parameters:
            parameter.requires_grad_(True)
        self._drawn = self.drawn(x, labels)

    def drawn(self, x: Batch, labels: Tensor) -> Drawn:
        """Return what G makes of a batch: what `before_batch` has left for it, and else a fresh draw."""
        if self._drawn is not None:
            return self._drawn
        z, mu, logvar = self.encoded(x)
        generated = self.decoded(z, labels)
        return Drawn(mu, logvar, generated, seen_by(self.critic, x, generated.samples))

    def encoded(self, x: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Return z (B, latent_dim), drawn from the posteriors of the samples, and their mu and logvar."""
        mu, logvar = self.encoder(x)
        return reparameterize(mu, logvar, torch.randn(mu.shape, device=mu.device, dtype=mu.dtype)), mu, logvar

    def decoded(self, z: Tensor, labels: Tensor) -> Any:
        """Return what G makes of z, with fresh noise: `Generated`."""
        return self.generator(z, labels, torch.randn(len(z), self.generator.noise_dim, device=z.device, dtype=z.dtype))

    def validation_step(self, batch: tuple[Tensor, ...], batch_idx: int) -> None:
        """Log the critic's loss on held-out samples: how far it is above that on training samples shows overfitting."""
        x, labels = self.scaled(batch)
        on_real, on_generated = (self.critic(each, labels) for each in self.augment(*self.drawn(x, labels).seen))
        loss = self.gan_loss.critic_loss(on_real, on_generated)
        self.log("critic/adversarial_held_out", loss, batch_size=len(labels), sync_dist=True)
