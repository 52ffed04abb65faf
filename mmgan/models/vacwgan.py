"""VACWGAN-GP for several modalities: encoder E, generator G, Wasserstein critic D with gradient penalty, classifier C."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from mmgan.losses.variational import kl_standard_normal, reconstruction_error, reparameterize
from mmgan.models.neural import Batch, NeuralSynthesizer, Phase
from mmgan.models.noise import BlockNoise
from mmgan.nets.density import ClassDensity
from mmgan.nets.multimodal import Classifier, Encoder, Generator, ProjectionCritic
from mmgan.schema import DataSchema


class VACWGAN(NeuralSynthesizer):
    """Variational auxiliary-classifier Wasserstein GAN over a set of modalities.

    Half of the generated rows of a batch come from posteriors q(z|x) of its real rows, where they are also asked to
    reconstruct them, half from the prior; the critic sees both. `sampling` is where `sample` takes z from: `prior`
    N(0, I), or `density`, a Gaussian per class fitted on the posteriors of the training rows.
    """

    samplings = ("prior", "density")

    def __init__(
        self,
        schema: DataSchema,
        *,
        latent_dim: int,
        networks: Mapping[str, Mapping[str, Any]],
        adversarial: Any,
        training: Mapping[str, Any],
        weights: Mapping[str, Mapping[str, float]],
        optimizer: Mapping[str, Any],
        scaler: Callable[..., nn.Module],
        sampling: str = "density",
    ):
        super().__init__(schema, scaler, weights, optimizer)
        self.latent_dim = latent_dim
        self.adversarial = adversarial
        self.critic_steps = int(training["critic_steps"])
        self.kl_warmup = int(training["kl_warmup"])
        self.use_sampling(sampling)
        self.encoder = Encoder(schema, latent_dim, **networks["encoder"])
        self.generator = Generator(schema, latent_dim, **networks["generator"])
        self.critic = ProjectionCritic(schema, **networks["critic"])
        self.classifier = Classifier(schema, **networks["classifier"])
        average = get_ema_multi_avg_fn(float(training["ema_decay"]))
        self.average = AveragedModel(self.generator, multi_avg_fn=average, use_buffers=True)
        self.density = ClassDensity(schema.n_classes, latent_dim)

    def phases(self) -> list[Phase]:
        return [
            Phase("critic", (self.critic,), self.critic_terms, repeats=self.critic_steps),
            Phase("classifier", (self.classifier,), self.classifier_terms),
            Phase("generator", (self.generator, self.encoder), self.generator_terms),
        ]

    def critic_terms(self, x: Batch, labels: Tensor) -> dict[str, Tensor]:
        """Terms that D minimises."""
        with torch.no_grad():
            fake = self.generator(self._latent(x)[0], labels)
        return self.adversarial.critic_terms(self._scorer(labels), x, fake)

    def classifier_terms(self, x: Batch, labels: Tensor) -> dict[str, Tensor]:
        """Terms that C minimises: real rows alone, so that it cannot agree with the generator's mistakes."""
        return {"classification": F.cross_entropy(self.classifier(x), labels)}

    def generator_terms(self, x: Batch, labels: Tensor) -> dict[str, Tensor]:
        """Terms that G and E minimise together."""
        z, mu, logvar = self._latent(x)
        fake = self.generator(z, labels)
        features = self.critic.features(fake)
        half = len(mu)
        near = {name: value[:half] for name, value in x.items()}
        with torch.no_grad():
            target = self.critic.features(near)
        return {
            "adversarial": self.adversarial.generator_term(self.critic.from_features(features, labels)),
            "reconstruction": reconstruction_error(near, {name: value[:half] for name, value in fake.items()}),
            "kl": kl_standard_normal(mu, logvar),
            "classification": F.cross_entropy(self.classifier(fake), labels),
            "feature_matching": F.mse_loss(features[:half], target),
        }

    def weight(self, phase: str, term: str) -> float:
        """The KL weight grows from zero to its value over the first `kl_warmup` batches."""
        ramp = min(1.0, self.global_step / max(self.kl_warmup, 1)) if term == "kl" else 1.0
        return ramp * self.weights[phase][term]

    def after_batch(self, x: Batch, labels: Tensor) -> None:
        self.average.update_parameters(self.generator)
        self.density.update(*self._posterior(x), labels)

    def validation_step(self, batch: tuple[Tensor, ...], batch_idx: int) -> None:
        """Log the critic's estimate on held-out rows; the gap to the training rows' estimate shows its overfitting."""
        x, labels = self.rows(batch)
        score = self._scorer(labels)
        estimate = score(x).mean() - score(self.generator(self._latent(x)[0], labels)).mean()
        self.log("critic/wasserstein_held_out", estimate, batch_size=len(labels))

    def on_train_epoch_end(self) -> None:
        super().on_train_epoch_end()
        self.log("critic/wasserstein", -self._sums["critic/adversarial"] / self._counts["critic/adversarial"])

    def generate(self, labels: Tensor, noise: BlockNoise) -> Batch:
        z = self.tensor(noise.normal((self.latent_dim,)))
        if self.sampling == "density":
            z = self.density.sample(labels, z)
        return self.average(z, labels)

    def regenerate(self, x: Batch, labels: Tensor, noise: BlockNoise) -> Batch:
        mu, logvar = self.encoder(x)
        return self.average(reparameterize(mu, logvar, self.tensor(noise.normal((self.latent_dim,)))), labels)

    def _scorer(self, labels: Tensor) -> Callable[[Batch], Tensor]:
        """D as a function of rows alone; rows come in whole multiples of the batch, real ones before generated ones."""

        def score(x: Batch) -> Tensor:
            n = len(next(iter(x.values())))
            return self.critic(x, labels.repeat(n // len(labels)))

        return score

    @torch.no_grad()
    def _posterior(self, x: Batch) -> tuple[Tensor, Tensor]:
        return self.encoder(x)

    def _latent(self, x: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Return z (B, latent_dim), the first half from posteriors, and mu, logvar of that half."""
        n = len(next(iter(x.values())))
        half = (n + 1) // 2
        mu, logvar = self.encoder({name: value[:half] for name, value in x.items()})
        noise = torch.randn(n, self.latent_dim, device=mu.device)
        return torch.cat([reparameterize(mu, logvar, noise[:half]), noise[half:]]), mu, logvar
