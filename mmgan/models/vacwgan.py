"""VACWGAN-GP for several modalities: encoder E, generator G, Wasserstein critic D with gradient penalty, classifier C."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from mmgan.losses.variational import gaussian_nll, kl_standard_normal
from mmgan.models.duel import Adversarial, Duel
from mmgan.models.latent import VariationalSynthesizer
from mmgan.models.module import Batch, Phase
from mmgan.nets.fusion import ConcatFusion
from mmgan.nets.networks import Classifier, Critic, Encoder, Generator
from mmgan.schema import DataSchema


class VACWGAN(Adversarial, VariationalSynthesizer):
    """Variational auxiliary-classifier Wasserstein GAN over a set of modalities.

    Generated samples of a batch come from the posteriors q(z|x) of its real samples, so that the critic judges what the likelihood
    asks to reconstruct, and what is sampled later.
    """

    def __init__(
        self,
        schema: DataSchema,
        *,
        latent_dim: int,
        networks: Mapping[str, Mapping[str, Any]],
        adversarial: Any,
        augmentation: Callable[[Batch, Batch], tuple[Batch, Batch]],
        training: Mapping[str, Any],
        fusion: Callable[[int, int], nn.Module] = ConcatFusion,
        **shared: Any,
    ):
        encoder = Encoder(schema, latent_dim, fusion=fusion, **networks["encoder"])
        generator = Generator(schema, latent_dim, **networks["generator"])
        super().__init__(schema, encoder, generator, latent_dim=latent_dim, training=training, **shared)
        self.critic_steps = int(training["critic_steps"])
        self.critic = Critic(schema, **networks["critic"])
        self.classifier = Classifier(schema, **networks["classifier"])
        self.duel = Duel(self.critic, adversarial, augmentation)

    def phases(self) -> list[Phase]:
        return [
            Phase("critic", (self.critic,), self.critic_terms, repeats=self.critic_steps),
            Phase("classifier", (self.classifier,), self.classifier_terms),
            Phase("generator", (self.generator, self.encoder), self.generator_terms),
        ]

    def classifier_terms(self, x: Batch, labels: Tensor) -> dict[str, Tensor]:
        """Terms that C minimises: real samples alone, so that it cannot agree with the generator's mistakes."""
        return {"classification": F.cross_entropy(self.classifier(x), labels)}

    def generator_terms(self, x: Batch, labels: Tensor) -> dict[str, Tensor]:
        """Terms that G and E minimise together."""
        z, mu, logvar = self._latent(x)
        fake = self._generated(z, labels)
        adversarial, feature_matching = self.duel.generator_side(x, fake.rows, labels)
        return {
            "adversarial": adversarial,
            "reconstruction": gaussian_nll(x, fake.mean, fake.log_std),
            "kl": kl_standard_normal(mu, logvar),
            "classification": F.cross_entropy(self.classifier(fake.rows), labels),
            "feature_matching": feature_matching,
        }

    def fake(self, x: Batch, labels: Tensor) -> Batch:
        """Return generated samples of these labels, from latents of the posteriors of the samples `x`."""
        return self._generated(self._latent(x)[0], labels).rows
