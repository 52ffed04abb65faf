"""VACWGAN-GP for several modalities: encoder E, generator G, Wasserstein critic D with gradient penalty, classifier C."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from mmgan.losses.variational import gaussian_nll, kl_standard_normal, log_likelihood, reparameterize
from mmgan.models.base import Rows
from mmgan.models.neural import NeuralSynthesizer
from mmgan.models.noise import BlockNoise
from mmgan.models.phased import Batch, Phase
from mmgan.nets.density import PosteriorDensity
from mmgan.nets.fusion import ConcatFusion
from mmgan.nets.multimodal import Classifier, Critic, Encoder, Generated, Generator
from mmgan.schema import DataSchema

MAX_EXEMPLARS = 10_000
CANDIDATE_BLOCKS = 32  # of 64 latents each, among which a modality that is given chooses
TEMPER = 0.05
ENCODED_ROWS = 128  # that go through E together at the end of an epoch


class VACWGAN(NeuralSynthesizer):
    """Variational auxiliary-classifier Wasserstein GAN over a set of modalities.

    Generated rows of a batch come from the posteriors q(z|x) of its real rows, so that the critic judges what the likelihood
    asks to reconstruct, and what is sampled later. `sampling` is where `sample` takes z from: `posterior`, that of
    a random training row of the class; `density`, the Gaussian with the moments of all those; `prior`, N(0, I). For
    the first two a checkpoint holds the posteriors of up to 10 000 training rows: with G they give rows near those.
    """

    samplings = ("prior", "density", "posterior")

    def __init__(
        self,
        schema: DataSchema,
        *,
        latent_dim: int,
        networks: Mapping[str, Mapping[str, Any]],
        adversarial: Any,
        augmentation: Callable[[Batch], Batch],
        training: Mapping[str, Any],
        weights: Mapping[str, Mapping[str, float]],
        optimizer: Mapping[str, Any],
        scaler: Callable[..., nn.Module],
        fusion: Callable[[int, int], nn.Module] = ConcatFusion,
        sampling: str = "posterior",
        calibration_rows: int = 0,
    ):
        super().__init__(schema, scaler, weights, optimizer, calibration_rows)
        self.latent_dim = latent_dim
        self.adversarial = adversarial
        self.augmentation = augmentation
        self.critic_steps = int(training["critic_steps"])
        self.kl_warmup = int(training["kl_warmup"])
        self.use_sampling(sampling)
        self.encoder = Encoder(schema, latent_dim, fusion=fusion, **networks["encoder"])
        self.generator = Generator(schema, latent_dim, **networks["generator"])
        self.critic = Critic(schema, **networks["critic"])
        self.classifier = Classifier(schema, **networks["classifier"])
        average = get_ema_multi_avg_fn(float(training["ema_decay"]))
        self.average = AveragedModel(self.generator, multi_avg_fn=average, use_buffers=True)
        self.density = PosteriorDensity(latent_dim)

    def fit_rows(self, x: Rows, y: np.ndarray) -> None:
        super().fit_rows(x, y)
        kept = exemplars(y, MAX_EXEMPLARS)
        self._exemplars = {name: torch.from_numpy(value) for name, value in x.items()}, kept, torch.from_numpy(y[kept])

    def phases(self) -> list[Phase]:
        return [
            Phase("critic", (self.critic,), self.critic_terms, repeats=self.critic_steps),
            Phase("classifier", (self.classifier,), self.classifier_terms),
            Phase("generator", (self.generator, self.encoder), self.generator_terms),
        ]

    def critic_terms(self, x: Batch, labels: Tensor) -> dict[str, Tensor]:
        """Terms that D minimises."""
        with torch.no_grad():
            fake = self._generated(self._latent(x)[0], labels).rows
        return self.adversarial.critic_terms(self._scorer(labels), *self.augmentation(x, fake))

    def classifier_terms(self, x: Batch, labels: Tensor) -> dict[str, Tensor]:
        """Terms that C minimises: real rows alone, so that it cannot agree with the generator's mistakes."""
        return {"classification": F.cross_entropy(self.classifier(x), labels)}

    def generator_terms(self, x: Batch, labels: Tensor) -> dict[str, Tensor]:
        """Terms that G and E minimise together."""
        z, mu, logvar = self._latent(x)
        fake = self._generated(z, labels)
        seen_real, seen_fake = self.augmentation(x, fake.rows)
        features = self.critic.features(seen_fake)
        with torch.no_grad():
            real_features = self.critic.features(seen_real)
            on_real = self.critic.from_features(real_features, labels)
        return {
            "adversarial": self.adversarial.generator_term(on_real, self.critic.from_features(features, labels)),
            "reconstruction": gaussian_nll(x, fake.mean, fake.log_std),
            "kl": kl_standard_normal(mu, logvar),
            "classification": F.cross_entropy(self.classifier(fake.rows), labels),
            "feature_matching": F.mse_loss(features, real_features),
        }

    def weight(self, phase: str, term: str) -> float:
        """The KL weight grows from zero to its value over the first `kl_warmup` batches."""
        ramp = min(1.0, self.global_step / max(self.kl_warmup, 1)) if term == "kl" else 1.0
        return ramp * self.weights[phase][term]

    def after_batch(self, x: Batch, labels: Tensor) -> None:
        self.average.update_parameters(self.generator)

    def after_epoch(self) -> None:
        rows, kept, y = self._exemplars
        posteriors = []
        for part in np.array_split(kept, -(-len(kept) // ENCODED_ROWS)):
            near = {name: value[part].to(self.device) for name, value in rows.items()}
            posteriors.append(self.encoder(self.scaler(near)))
        mu, logvar = (torch.cat(parts) for parts in zip(*posteriors, strict=True))
        self.density.fit(mu, logvar, y.to(self.device))
        super().after_epoch()  # which samples

    def validation_step(self, batch: tuple[Tensor, ...], batch_idx: int) -> None:
        """Log the critic's loss on held-out rows; how far it is above `critic/adversarial` shows the critic's overfitting."""
        x, labels = self.rows(batch)
        fake = self._generated(self._latent(x)[0], labels).rows
        on_real, on_fake = map(self._scorer(labels), self.augmentation(x, fake))
        self.log("critic/adversarial_held_out", self.adversarial.critic_loss(on_real, on_fake), batch_size=len(labels))

    def generate(self, labels: Tensor, noise: BlockNoise) -> Batch:
        return self._rows(self._latents(int(labels[0]), noise), labels, noise)

    def regenerate(self, x: Batch, labels: Tensor, noise: BlockNoise) -> Batch:
        mu, logvar = self.encoder(x)
        return self._rows(reparameterize(mu, logvar, self.tensor(noise.normal((self.latent_dim,)))), labels, noise)

    def regenerate_missing(self, x: Batch, labels: Tensor, noise: BlockNoise) -> Batch:
        """Draw z from where `sampling` takes it, and keep what explains the given modalities (importance resampling).

        Values of a row are far from independent given z, so their likelihood counts `TEMPER` times: with all of its weight a row
        would have a single explanation, and what is drawn for it too little spread.
        """
        z = torch.cat([self._latents(int(labels[0]), noise) for _ in range(CANDIDATE_BLOCKS)])
        candidates = self.average(z, labels[:1].expand(len(z)), z.new_zeros(len(z), self.generator.noise_dim))
        fit = sum(log_likelihood(x[k], candidates.mean[k], candidates.log_std[k]) for k in x)  # (64, candidates)
        chosen = torch.cumsum(torch.softmax(TEMPER * fit.double(), dim=1), dim=1)
        place = torch.searchsorted(chosen, self.tensor(noise.uniform())[:, None].double())[:, 0].clamp(max=len(z) - 1)
        return self._rows(z[place], labels, noise)

    def _latents(self, label: int, noise: BlockNoise) -> Tensor:
        """Draw z (64, latent_dim) of one class, as `sampling` says."""
        z = self.tensor(noise.normal((self.latent_dim,)))
        if self.sampling == "posterior":
            return self.density.from_mixture(label, z, self.tensor(noise.uniform()))
        return self.density.from_gaussian(label, z) if self.sampling == "density" else z

    def _rows(self, z: Tensor, labels: Tensor, noise: BlockNoise) -> Batch:
        return self.average(z, labels, self.tensor(noise.normal((self.generator.noise_dim,)))).rows

    def _generated(self, z: Tensor, labels: Tensor) -> Generated:
        return self.generator(z, labels, torch.randn(len(z), self.generator.noise_dim, device=z.device))

    def _scorer(self, labels: Tensor) -> Callable[[Batch], Tensor]:
        """D as a function of rows alone; rows come in whole multiples of the batch, real ones before generated ones."""

        def score(x: Batch) -> Tensor:
            n = len(next(iter(x.values())))
            return self.critic(x, labels.repeat(n // len(labels)))

        return score

    def _latent(self, x: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Return z (B, latent_dim), drawn from the posteriors of the rows, and their mu and logvar."""
        mu, logvar = self.encoder(x)
        return reparameterize(mu, logvar, torch.randn_like(mu)), mu, logvar


def exemplars(y: np.ndarray, most: int) -> np.ndarray:
    """Return the indices of at most `most` rows, random ones, rare classes in full before frequent ones have more."""
    order = np.random.default_rng(0).permutation(len(y))
    rank = np.empty(len(y), dtype=np.int64)  # among the rows of its class
    for label in np.unique(y):
        rank[order[y[order] == label]] = np.arange((y == label).sum())
    return np.argsort(rank, kind="stable")[:most]
