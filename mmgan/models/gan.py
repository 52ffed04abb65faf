"""The plain GAN: a generator G against a critic D, nothing beside it.

Whether there is a pair of them for each class (`model=gan`) or one pair conditioned on the class (`model=cgan`) is for
the networks that the configuration gives.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from mmgan.errors import Betas, CalibrationSamples, Clip, PositiveInt, Rates, ShareBelowOne, Weights, Width, checked
from mmgan.losses.adversarial import GANLoss, of_labels
from mmgan.models.average import MovingAverage
from mmgan.models.latent import IN_TRAINING, fit_in_full, fit_quantile_mapping
from mmgan.models.module import Phase, PhasedModel
from mmgan.models.noise import BlockNoise
from mmgan.nets.networks import seen_by
from mmgan.nets.quantile_mapping import QuantileMapping
from mmgan.schema import Batch, DataSchema


class GAN(PhasedModel):
    """Generative adversarial network (Goodfellow et al. 2014, arXiv:1406.2661) over a set of modalities.

    Parameters
    ----------
    generator : (schema, latent_dim) -> G, which turns z, labels and noise (B, noise_dim) into `Generated`.
    critic : schema -> D, which scores samples of labels (B,).
    gan_loss : the adversarial loss of D and G, of `mmgan.losses.adversarial`.
    augment : what all that D sees goes through, real and generated samples alike.
    latent_dim : number of latent dimensions; z is drawn from N(0, I).
    critic_steps : updates of D per batch.
    ema_decay : of the moving average of G, which samples.
    n_calibration_samples : generated samples that the quantile mapping is fitted on, after each epoch on at most 1024 of them; 0: no mapping.
    """

    monitor, mode = "val/score", "max"
    samplings, sampling = ("prior",), "prior"

    @checked
    def __init__(
        self,
        schema: DataSchema,
        *,
        generator: Callable[..., nn.Module],
        critic: Callable[..., nn.Module],
        gan_loss: GANLoss,
        augment: nn.Module,
        latent_dim: Width,
        critic_steps: PositiveInt,
        ema_decay: ShareBelowOne,
        n_calibration_samples: CalibrationSamples,
        scaler: Callable[..., nn.Module],
        weights: Weights,
        lr: Rates,
        betas: Betas,
        clip: Clip,
    ):
        super().__init__(schema, scaler=scaler, weights=weights, lr=lr, betas=betas, clip=clip)
        self.latent_dim = latent_dim
        self.generator = generator(schema, latent_dim)
        self.critic = critic(schema)
        self.average = MovingAverage(self.generator, ema_decay)
        self.mapping = QuantileMapping.of(schema, n_calibration_samples)
        self.gan_loss, self.augment = gan_loss, augment
        self.phases = [
            Phase("critic", (self.critic,), self.critic_terms, repeats=critic_steps),
            Phase("generator", (self.generator,), self.generator_terms),
        ]

    def prepared(self, x: Batch) -> Batch:
        (seen,) = seen_by(self.critic, x)
        return seen

    def critic_terms(self, x: Batch, labels: Tensor) -> dict[str, Tensor]:
        """Terms that D minimises."""
        with torch.no_grad():
            seen = seen_by(self.critic, x, self.generated(labels))
        return self.gan_loss.critic_terms(of_labels(self.critic, labels), *self.augment(*seen), torch.rand)

    def generator_terms(self, x: Batch, labels: Tensor) -> dict[str, Tensor]:
        """Terms that G minimises."""
        seen = self.augment(*seen_by(self.critic, x, self.generated(labels)))
        return {"adversarial": self.gan_loss.generator_terms(self.critic, *seen, labels)[0]}

    def generated(self, labels: Tensor) -> Batch:
        """Return generated samples of these labels (B,), from latents of N(0, I)."""
        z = torch.randn(len(labels), self.latent_dim, device=labels.device)
        return self.generator(z, labels, torch.randn(len(z), self.generator.noise_dim, device=z.device)).samples

    def after_batch(self, x: Batch, labels: Tensor) -> None:
        self.average.update_parameters(self.generator)

    def after_epoch(self) -> None:
        fit_quantile_mapping(self, self.class_counts, IN_TRAINING)

    def calibrate(self) -> bool:
        return fit_in_full(self, self.class_counts)

    def validation_step(self, batch: tuple[Tensor, ...], batch_idx: int) -> None:
        """Log the critic's loss on held-out samples."""
        x, labels = self.scaled(batch)
        on_real, on_generated = (
            self.critic(each, labels) for each in self.augment(*seen_by(self.critic, x, self.generated(labels)))
        )
        loss = self.gan_loss.critic_loss(on_real, on_generated)
        self.log("critic/adversarial_held_out", loss, batch_size=len(labels), sync_dist=True)

    def generate(self, label: int, noise: BlockNoise, sampling: str) -> Batch:
        """Return scaled samples of a class, {name: (64, *shape)}, of the moving average of G."""
        z = self.tensor(noise.normal((self.latent_dim,)))
        labels = torch.full((len(z),), label, dtype=torch.int64, device=z.device)
        return self.average(z, labels, self.tensor(noise.normal((self.generator.noise_dim,)))).samples
