"""The plain game: a generator G against a critic D, nothing beside it.

Whether there is a pair of them for each class (`model=gan`) or one pair that is told the class (`model=cgan`), and which game
they play, is for the networks and the game that the configuration gives.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mmgan.models.duel import Adversarial, Duel
from mmgan.models.latent import LatentSynthesizer
from mmgan.models.module import Batch, Phase
from mmgan.schema import DataSchema


class GAN(Adversarial, LatentSynthesizer):
    """Generative adversarial network (Goodfellow et al. 2014, arXiv:1406.2661) over a set of modalities.

    `networks` are {"generator": (schema, latent_dim) -> G, "critic": schema -> D}.
    """

    def __init__(
        self,
        schema: DataSchema,
        *,
        latent_dim: int,
        networks: Mapping[str, Callable[..., nn.Module]],
        adversarial: Any,
        augmentation: Callable[[Batch, Batch], tuple[Batch, Batch]],
        training: Mapping[str, Any],
        **shared: Any,
    ):
        generator = networks["generator"](schema, latent_dim)
        super().__init__(schema, generator, latent_dim=latent_dim, training=training, **shared)
        self.critic_steps = int(training["critic_steps"])
        self.critic = networks["critic"](schema)
        self.duel = Duel(self.critic, adversarial, augmentation)

    def phases(self) -> list[Phase]:
        return [
            Phase("critic", (self.critic,), self.critic_terms, repeats=self.critic_steps),
            Phase("generator", (self.generator,), self.generator_terms),
        ]

    def generator_terms(self, x: Batch, labels: Tensor) -> dict[str, Tensor]:
        """Terms that G minimises."""
        return {"adversarial": self.duel.generator_side(x, self.fake(x, labels), labels)[0]}

    def fake(self, x: Batch, labels: Tensor) -> Batch:
        """Return generated samples of these labels, from latents of N(0, I)."""
        return self._generated(torch.randn(len(labels), self.latent_dim, device=labels.device), labels).rows
