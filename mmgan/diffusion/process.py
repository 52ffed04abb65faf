"""Diffusion processes between samples and noise, and what a network learns of them.

At time t, from 0 (a sample) to 1 (noise), x_t = alpha(t) x + sigma(t) noise. Networks predict a(t) noise - b(t) x, from which both follow.
"""

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor

from mmgan.errors import Positive, checked

LAST = 0.999  # there is no sample left to be seen at t = 1, so it is begun a little earlier


class Process(ABC):
    """Base: what follows from alpha, sigma, a and b, functions of times (B,) with a alpha + b sigma = 1."""

    @abstractmethod
    def alpha(self, t: Tensor) -> Tensor:
        """Return the share of the sample at times t, of any shape."""

    @abstractmethod
    def sigma(self, t: Tensor) -> Tensor:
        """Return the share of the noise at times t."""

    @abstractmethod
    def predicted(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return a and b at times t."""

    def target(self, x: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Return what the network learns to predict; x, noise (B, *shape), t (B,)."""
        a, b = self.predicted(t)
        return _like(a, x) * noise - _like(b, x) * x

    def clean(self, x_t: Tensor, prediction: Tensor, t: Tensor) -> Tensor:
        """Return the sample (B, *shape) that a prediction at x_t means."""
        return _like(self.predicted(t)[0], x_t) * x_t - _like(self.sigma(t), x_t) * prediction

    def times(self, uniform: Tensor) -> Tensor:
        """Return the times (B,) at which the network is trained, of uniform values (B,)."""
        return uniform * LAST

    def at(self, x: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Return x_t (B, *shape) of samples and noise."""
        return _like(self.alpha(t), x) * x + _like(self.sigma(t), x) * noise

    def log_ratio(self, t: Tensor) -> Tensor:
        """Return log(alpha / sigma): half the logarithm of the signal-to-noise ratio."""
        return torch.log(self.alpha(t)) - torch.log(self.sigma(t))


class FlowMatching(Process):
    """Straight lines from sample to noise, whose velocity is learnt (Lipman et al. 2023, arXiv:2210.02747; Liu et al. 2023, arXiv:2209.03003).

    Training times are the logistic function of N(`mean`, `spread`^2) (Esser et al. 2024, arXiv:2403.03206).
    """

    @checked
    def __init__(self, mean: float = 0.0, spread: Positive = 1.0):
        self.mean = mean
        self.spread = spread

    def alpha(self, t: Tensor) -> Tensor:
        return 1 - t

    def sigma(self, t: Tensor) -> Tensor:
        return t

    def predicted(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return torch.ones_like(t), torch.ones_like(t)

    def times(self, uniform: Tensor) -> Tensor:
        normal = torch.special.ndtri(uniform.clamp(1e-4, 1 - 1e-4))
        return torch.sigmoid(self.mean + self.spread * normal).clamp(max=LAST)


class VPrediction(Process):
    """Variance-preserving diffusion with a cosine schedule, of which v = alpha noise - sigma x is learnt (Salimans & Ho 2022, arXiv:2202.00512)."""

    def alpha(self, t: Tensor) -> Tensor:
        return torch.cos(0.5 * math.pi * t)

    def sigma(self, t: Tensor) -> Tensor:
        return torch.sin(0.5 * math.pi * t)

    def predicted(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return self.alpha(t), self.sigma(t)


def _like(values: Tensor, x: Tensor) -> Tensor:
    """(B,) -> (B, 1, ...), as many axes as x has."""
    return values.view(-1, *[1] * (x.dim() - 1))
