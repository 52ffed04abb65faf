"""Adversarial games: what the critic and the generator minimise, as named terms."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from mmgan.errors import MmganError

Critic = Callable[[dict[str, Tensor]], Tensor]


def mix(real: dict[str, Tensor], fake: dict[str, Tensor], epsilon: Tensor) -> dict[str, Tensor]:
    """Return epsilon * real + (1 - epsilon) * fake with one epsilon, (B,), per pair of samples, over all modalities."""
    # Under autocast the generated samples, and numbers like a score, are bfloat16 beside float32 real samples.
    weights = {name: epsilon.view(-1, *[1] * (x.dim() - 1)) for name, x in real.items()}  # (B, 1, ...)
    return {name: torch.lerp(fake[name].to(x.dtype), x, weights[name].to(x.dtype)) for name, x in real.items()}


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


class CrossEntropy:
    """The first game, in its non-saturating form (Goodfellow et al. 2014, arXiv:1406.2661): D tells real samples from generated ones.

    Real samples count as real by 1 - `smoothing` (one-sided label smoothing, Salimans et al. 2016, arXiv:1606.03498). Raises
    MmganError for smoothing outside 0 to .5.
    """

    def __init__(self, smoothing: float = 0.0):
        if not 0 <= smoothing < 0.5:
            raise MmganError(f"model.adversarial.smoothing={smoothing}: give a number from 0 to below 0.5.")
        self.smoothing = smoothing

    def critic_terms(self, critic: Critic, real: dict[str, Tensor], fake: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the term `adversarial`."""
        return {"adversarial": self.critic_loss(critic(real), critic(fake))}

    def critic_loss(self, on_real: Tensor, on_fake: Tensor) -> Tensor:
        """Return the mean binary cross-entropy of logits (B,) of real and of generated samples."""
        kept = 1 - self.smoothing
        of_real = kept * functional.softplus(-on_real) + self.smoothing * functional.softplus(on_real)
        return 0.5 * (of_real.mean() + functional.softplus(on_fake).mean())

    def generator_term(self, on_real: Tensor, on_fake: Tensor) -> Tensor:
        """Return the cross-entropy of generated samples with the label of real ones."""
        return functional.softplus(-on_fake).mean()


class Hinge:
    """The hinge game (Lim & Ye 2017, arXiv:1705.02894): samples that D scores beyond 1 on their own side no longer count."""

    def critic_terms(self, critic: Critic, real: dict[str, Tensor], fake: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the term `adversarial`."""
        return {"adversarial": self.critic_loss(critic(real), critic(fake))}

    def critic_loss(self, on_real: Tensor, on_fake: Tensor) -> Tensor:
        """Return the mean hinge losses of scores (B,) of real and of generated samples, added."""
        return functional.relu(1 - on_real).mean() + functional.relu(1 + on_fake).mean()

    def generator_term(self, on_real: Tensor, on_fake: Tensor) -> Tensor:
        """Return minus the mean score of the generated samples."""
        return -on_fake.mean()


class WassersteinGP:
    """Wasserstein game with gradient penalty (WGAN-GP, Gulrajani et al. 2017, arXiv:1704.00028)."""

    def critic_terms(self, critic: Critic, real: dict[str, Tensor], fake: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the terms `adversarial` (minus the Wasserstein estimate) and `gradient_penalty`."""
        both = {name: torch.cat([real[name], fake[name]]) for name in real}
        on_real, on_fake = critic(both).chunk(2)
        epsilon = torch.rand(len(on_real), device=on_real.device)
        return {
            "adversarial": self.critic_loss(on_real, on_fake),
            "gradient_penalty": gradient_penalty(critic, mix(real, fake, epsilon)),
        }

    def critic_loss(self, on_real: Tensor, on_fake: Tensor) -> Tensor:
        """Return minus the Wasserstein estimate, of scores (B,)."""
        return on_fake.mean() - on_real.mean()

    def generator_term(self, on_real: Tensor, on_fake: Tensor) -> Tensor:
        """Return minus the mean score of the generated samples."""
        return -on_fake.mean()


class RelativisticR1R2:
    """Relativistic pairing game with zero-centred penalties on both sides (R3GAN, Huang et al. 2024, arXiv:2501.05441)."""

    def critic_terms(self, critic: Critic, real: dict[str, Tensor], fake: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the terms `adversarial`, and `r1` and `r2`: half the mean squared gradient of the score at real, at fake samples."""
        both = {name: torch.cat([real[name], fake[name].to(real[name].dtype)]) for name in real}
        on_real, on_fake = critic(both).chunk(2)
        at_real, at_fake = (0.5 * norm.square().mean() for norm in input_gradient_norm(critic, both).chunk(2))
        return {"adversarial": self.critic_loss(on_real, on_fake), "r1": at_real, "r2": at_fake}

    def critic_loss(self, on_real: Tensor, on_fake: Tensor) -> Tensor:
        """Return the loss of real samples that score less than the generated ones which they are paired with."""
        return functional.softplus(on_fake - on_real).mean()

    def generator_term(self, on_real: Tensor, on_fake: Tensor) -> Tensor:
        """Return the loss of generated samples that score less than the real ones which they are paired with."""
        return functional.softplus(on_real - on_fake).mean()
