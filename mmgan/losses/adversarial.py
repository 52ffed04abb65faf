"""GAN losses: what the critic and the generator minimise, as named terms."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmgan.errors import PositiveShare, Range, checked

Critic = Callable[[dict[str, Tensor]], Tensor]  # of samples alone, their labels being known
Uniform = Callable[..., Tensor]  # such as torch.rand


def of_labels(critic: nn.Module, labels: Tensor) -> Critic:
    """Return a critic as a function of samples alone: the batch of `labels` (B,), whole multiples of it, or the first samples of it."""

    def score(x: dict[str, Tensor]) -> Tensor:
        n = len(next(iter(x.values())))
        return critic(x, labels.repeat(-(-n // len(labels)))[:n])

    return score


def mix(real: dict[str, Tensor], generated: dict[str, Tensor], epsilon: Tensor) -> dict[str, Tensor]:
    """Return epsilon * real + (1 - epsilon) * generated with one epsilon per pair of samples, of as many pairs as it is long, over all inputs."""
    # Under autocast the generated samples, and numbers like a score, are bfloat16 beside float32 real samples.
    weights = {name: epsilon.view(-1, *[1] * (x.dim() - 1)) for name, x in real.items()}  # (B, 1, ...)
    n = len(epsilon)
    return {
        name: torch.lerp(generated[name][:n].to(x.dtype), x[:n], weights[name].to(x.dtype)) for name, x in real.items()
    }


def input_gradient_norm(critic: Critic, x: dict[str, Tensor]) -> Tensor:
    """Return (B,): the norm of each sample's score gradient, over all its modalities together; differentiable.

    Of a critic that gives a sample several scores (B, patches), that of their mean.
    """
    inputs = {name: value.detach().requires_grad_() for name, value in x.items()}
    scores = critic(inputs)
    scores = scores.reshape(len(scores), -1).mean(1)
    gradients = torch.autograd.grad(scores.sum(), list(inputs.values()), create_graph=True)
    squared = sum(g.flatten(1).square().sum(1) for g in gradients)
    return torch.sqrt(squared + 1e-12)  # the root alone has no finite slope at zero


def gradient_penalty(critic: Critic, x: dict[str, Tensor]) -> Tensor:
    """Return the mean of (|gradient of the score| - 1)^2 at `x` (Gulrajani et al. 2017, arXiv:1704.00028, eq. 3)."""
    return (input_gradient_norm(critic, x) - 1).square().mean()


class GANLoss(ABC):
    """What D and G minimise: each loss of its own gives `critic_loss` and `generator_loss`, of scores (B,)."""

    @abstractmethod
    def critic_loss(self, on_real: Tensor, on_generated: Tensor) -> Tensor:
        """Return what D minimises, without penalties, of its scores of real and of generated samples."""

    @abstractmethod
    def generator_loss(self, on_real: Tensor, on_generated: Tensor) -> Tensor:
        """Return what G minimises, of D's scores."""

    def critic_terms(
        self, critic: Critic, real: dict[str, Tensor], generated: dict[str, Tensor], uniform: Uniform
    ) -> dict[str, Tensor]:
        """Return D's terms by name; `uniform` draws the random numbers of a penalty."""
        return {"adversarial": self.critic_loss(critic(real), critic(generated))}

    def generator_terms(
        self, critic: nn.Module, real: dict[str, Tensor], generated: dict[str, Tensor], labels: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the generator's adversarial loss and the feature-matching loss (MSE between critic features of paired samples)."""
        features = critic.features(generated, labels)
        with torch.no_grad():
            real_features = critic.features(real, labels)
            on_real = critic.from_features(real_features, labels)
        adversarial = self.generator_loss(on_real, critic.from_features(features, labels))
        return adversarial, F.mse_loss(features, real_features)


class CrossEntropy(GANLoss):
    """The first GAN loss, in its non-saturating form (Goodfellow et al. 2014, arXiv:1406.2661): D tells real samples from generated ones.

    Real samples count as real by 1 - `smoothing` (one-sided label smoothing, Salimans et al. 2016, arXiv:1606.03498).
    """

    @checked
    def __init__(self, smoothing: Annotated[float, Range(0, 0.5, open="high")] = 0.0):
        self.smoothing = smoothing

    def critic_loss(self, on_real: Tensor, on_generated: Tensor) -> Tensor:
        """Return the mean binary cross-entropy of logits (B,) of real and of generated samples."""
        kept = 1 - self.smoothing
        of_real = kept * F.softplus(-on_real) + self.smoothing * F.softplus(on_real)
        return 0.5 * (of_real.mean() + F.softplus(on_generated).mean())

    def generator_loss(self, on_real: Tensor, on_generated: Tensor) -> Tensor:
        """Return the cross-entropy of generated samples with the label of real ones."""
        return F.softplus(-on_generated).mean()


class Hinge(GANLoss):
    """The hinge loss (Lim & Ye 2017, arXiv:1705.02894): samples that D scores beyond 1 on their own side no longer count."""

    def critic_loss(self, on_real: Tensor, on_generated: Tensor) -> Tensor:
        """Return the mean hinge losses of scores (B,) of real and of generated samples, added."""
        return F.relu(1 - on_real).mean() + F.relu(1 + on_generated).mean()

    def generator_loss(self, on_real: Tensor, on_generated: Tensor) -> Tensor:
        """Return minus the mean score of the generated samples."""
        return -on_generated.mean()


class WassersteinGP(GANLoss):
    """Wasserstein loss with gradient penalty (WGAN-GP, Gulrajani et al. 2017, arXiv:1704.00028).

    The penalty, half of the work of a critic's step, is taken on `penalized`, a share of the pairs of a batch.
    """

    @checked
    def __init__(self, penalized: PositiveShare = 1.0):
        self.penalized = penalized

    def critic_terms(
        self, critic: Critic, real: dict[str, Tensor], generated: dict[str, Tensor], uniform: Uniform
    ) -> dict[str, Tensor]:
        """Return the terms `adversarial` (minus the Wasserstein estimate) and `gradient_penalty`."""
        both = {name: torch.cat([real[name], generated[name]]) for name in real}
        on_real, on_generated = critic(both).chunk(2)
        epsilon = uniform(math.ceil(self.penalized * len(on_real)), device=on_real.device)
        return {
            "adversarial": self.critic_loss(on_real, on_generated),
            "gradient_penalty": gradient_penalty(critic, mix(real, generated, epsilon)),
        }

    def critic_loss(self, on_real: Tensor, on_generated: Tensor) -> Tensor:
        """Return minus the Wasserstein estimate, of scores (B,)."""
        return on_generated.mean() - on_real.mean()

    def generator_loss(self, on_real: Tensor, on_generated: Tensor) -> Tensor:
        """Return minus the mean score of the generated samples."""
        return -on_generated.mean()


class RelativisticR1R2(GANLoss):
    """Relativistic pairing loss with zero-centred penalties on both sides (R3GAN, Huang et al. 2024, arXiv:2501.05441)."""

    def critic_terms(
        self, critic: Critic, real: dict[str, Tensor], generated: dict[str, Tensor], uniform: Uniform
    ) -> dict[str, Tensor]:
        """Return the terms `adversarial`, and `r1` and `r2`: half the mean squared gradient of the score at real, at generated samples."""
        both = {name: torch.cat([real[name], generated[name].to(real[name].dtype)]) for name in real}
        on_real, on_generated = critic(both).chunk(2)
        at_real, at_generated = (0.5 * norm.square().mean() for norm in input_gradient_norm(critic, both).chunk(2))
        return {"adversarial": self.critic_loss(on_real, on_generated), "r1": at_real, "r2": at_generated}

    def critic_loss(self, on_real: Tensor, on_generated: Tensor) -> Tensor:
        """Return the loss of real samples that score less than the generated ones which they are paired with."""
        return F.softplus(on_generated - on_real).mean()

    def generator_loss(self, on_real: Tensor, on_generated: Tensor) -> Tensor:
        """Return the loss of generated samples that score less than the real ones which they are paired with."""
        return F.softplus(on_real - on_generated).mean()
