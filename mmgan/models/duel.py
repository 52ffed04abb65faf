"""The critic's side of an adversarial model."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmgan.models.module import Batch


class Duel:
    """A critic D against generated samples, in one of the games of `mmgan.losses.adversarial`; both see samples augmented alike."""

    def __init__(self, critic: nn.Module, game: Any, augmentation: Callable[[Batch, Batch], tuple[Batch, Batch]]):
        self.critic = critic
        self.game = game
        self.augmentation = augmentation

    def critic_terms(self, x: Batch, fake: Batch, labels: Tensor) -> dict[str, Tensor]:
        """Terms that D minimises."""
        return self.game.critic_terms(self._scorer(labels), *self.augmentation(x, fake))

    def generator_side(self, x: Batch, fake: Batch, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the game's term for G, and how far D's features of each generated row are from those of the row in its place."""
        seen_real, seen_fake = self.augmentation(x, fake)
        features = self.critic.features(seen_fake, labels)
        with torch.no_grad():
            real_features = self.critic.features(seen_real, labels)
            on_real = self.critic.from_features(real_features, labels)
        term = self.game.generator_term(on_real, self.critic.from_features(features, labels))
        return term, F.mse_loss(features, real_features)

    def held_out(self, x: Batch, fake: Batch, labels: Tensor) -> Tensor:
        """Return the critic's loss on samples it does not train on: how far it is above the training samples' shows overfitting."""
        on_real, on_fake = map(self._scorer(labels), self.augmentation(x, fake))
        return self.game.critic_loss(on_real, on_fake)

    def _scorer(self, labels: Tensor) -> Callable[[Batch], Tensor]:
        """D as a function of samples alone; samples come in whole multiples of the batch, real ones before generated ones."""

        def score(x: Batch) -> Tensor:
            n = len(next(iter(x.values())))
            return self.critic(x, labels.repeat(n // len(labels)))

        return score


class Adversarial:
    """What a model with a critic shares, whatever else it is: it sets `duel`, and says in `fake` which samples its critic judges."""

    duel: Duel

    @abstractmethod
    def fake(self, x: Batch, labels: Tensor) -> Batch:
        """Return generated scaled samples for the scaled samples `x` of classes `labels` (B,)."""

    def critic_terms(self, x: Batch, labels: Tensor) -> dict[str, Tensor]:
        """Terms that D minimises."""
        with torch.no_grad():
            fake = self.fake(x, labels)
        return self.duel.critic_terms(x, fake, labels)

    def validation_step(self, batch: tuple[Tensor, ...], batch_idx: int) -> None:
        """Log the critic's loss on held-out samples."""
        x, labels = self.rows(batch)
        loss = self.duel.held_out(x, self.fake(x, labels), labels)
        self.log("critic/adversarial_held_out", loss, batch_size=len(labels), sync_dist=True)
