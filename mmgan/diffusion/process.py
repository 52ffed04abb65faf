"""Diffusion processes between samples and noise, what a network learns of them, and how their equation is solved backwards.

At time t, from 0 (a row) to 1 (noise), x_t = alpha(t) x + sigma(t) noise. Networks predict a mixture of row and noise, from which
both follow.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from mmgan.errors import MmganError

Batch = dict[str, Tensor]
LAST = 0.999  # there is no row left to be seen at t = 1, so it is begun a little earlier


class Process(ABC):
    """Base: what follows from alpha and sigma, functions of times (B,)."""

    @abstractmethod
    def alpha(self, t: Tensor) -> Tensor:
        """Return the share of the row at times t, of any shape."""

    @abstractmethod
    def sigma(self, t: Tensor) -> Tensor:
        """Return the share of the noise at times t."""

    @abstractmethod
    def target(self, x: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Return what the network learns to predict; x, noise (B, *shape), t (B,)."""

    @abstractmethod
    def row(self, x_t: Tensor, prediction: Tensor, t: Tensor) -> Tensor:
        """Return the row (B, *shape) that a prediction at x_t means."""

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
    """Straight lines from row to noise, whose velocity is learnt (Lipman et al. 2023, arXiv:2210.02747; Liu et al. 2023, arXiv:2209.03003).

    Training times are the logistic function of N(`mean`, `spread`^2) (Esser et al. 2024, arXiv:2403.03206).
    """

    def __init__(self, mean: float = 0.0, spread: float = 1.0):
        if not spread > 0:
            raise MmganError(f"model.process.spread={spread}: give a number above 0.")
        self.mean = mean
        self.spread = spread

    def alpha(self, t: Tensor) -> Tensor:
        return 1 - t

    def sigma(self, t: Tensor) -> Tensor:
        return t

    def target(self, x: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        return noise - x

    def row(self, x_t: Tensor, prediction: Tensor, t: Tensor) -> Tensor:
        return x_t - _like(t, x_t) * prediction

    def times(self, uniform: Tensor) -> Tensor:
        normal = torch.special.ndtri(uniform.clamp(1e-4, 1 - 1e-4))
        return torch.sigmoid(self.mean + self.spread * normal).clamp(max=LAST)


class VPrediction(Process):
    """Variance-preserving diffusion with a cosine schedule, of which v = alpha noise - sigma x is learnt (Salimans & Ho 2022, arXiv:2202.00512)."""

    def alpha(self, t: Tensor) -> Tensor:
        return torch.cos(0.5 * math.pi * t)

    def sigma(self, t: Tensor) -> Tensor:
        return torch.sin(0.5 * math.pi * t)

    def target(self, x: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        return _like(self.alpha(t), x) * noise - _like(self.sigma(t), x) * x

    def row(self, x_t: Tensor, prediction: Tensor, t: Tensor) -> Tensor:
        return _like(self.alpha(t), x_t) * x_t - _like(self.sigma(t), x_t) * prediction


def guided(
    network: Callable[[Batch, Tensor, Tensor], Batch], labels: Tensor, nothing: int, scale: float
) -> Callable[[Batch, Tensor], Batch]:
    """Return the predictions (x_t, t) of `network` (x_t, t, labels) for labels (B,), led away from those for the label `nothing`; 1: not led.

    Classifier-free guidance (Ho & Salimans 2022, arXiv:2207.12598), whose weight w is `scale` - 1.
    """
    if scale == 1:
        return lambda x, t: network(x, t, labels)
    both_labels = torch.cat([labels, torch.full_like(labels, nothing)])

    def predict(x: Batch, t: Tensor) -> Batch:
        both = network({name: torch.cat([value, value]) for name, value in x.items()}, torch.cat([t, t]), both_labels)
        told, untold = ({name: value.chunk(2)[side] for name, value in both.items()} for side in (0, 1))
        return {name: torch.lerp(untold[name], told[name], scale) for name in x}

    return predict


def solve(
    process: Process,
    predict: Callable[[Batch, Tensor], Batch],
    x: Batch,
    steps: int,
    start: float = LAST,
    *,
    eta: float = 0.0,
    fresh: Callable[[], Batch] = dict,
) -> Batch:
    """Return samples {name: (B, *shape)} of x at time `start`, by DPM-Solver++(2M) in `steps` calls of `predict` (x_t, t (B,)).

    The times divide the logarithm of the signal-to-noise ratio evenly. With `eta` above 0 each step removes more noise than it has to and adds
    some of `fresh`, normal noise like x: at 1 the stochastic equation is solved, at 0 the deterministic one.
    Paper: Lu et al. 2022, arXiv:2211.01095, algorithm 2 and appendix on SDE-DPM-Solver++.
    """
    n, device = len(next(iter(x.values()))), next(iter(x.values())).device
    times = _times(process, steps, start).to(device)
    ratios = process.log_ratio(times)
    before: tuple[Batch, Tensor] | None = None  # the samples that the last step saw, and its width
    for step in range(steps):
        t, following = times[step], times[step + 1]
        predicted = predict(x, t.expand(n))
        rows = {name: process.row(x[name], predicted[name], t.expand(n)) for name in x}
        if step + 1 == steps:
            return rows
        width = ratios[step + 1] - ratios[step]
        aimed = rows
        if before is not None:
            share = 0.5 * width / before[1]
            aimed = {name: rows[name] + share * (rows[name] - before[0][name]) for name in x}
        kept = process.sigma(following) / process.sigma(t) * torch.exp(-eta * width)
        gained = -process.alpha(following) * torch.expm1(-(1 + eta) * width)
        x = {name: kept * x[name] + gained * aimed[name] for name in x}
        if eta:
            added = process.sigma(following) * torch.sqrt(-torch.expm1(-2 * eta * width))
            x = {name: x[name] + added * noise for name, noise in fresh().items()}
        before = rows, width
    raise MmganError(f"model.sampler.steps={steps}: give a whole number from 1 on.")


def _times(process: Process, steps: int, start: float) -> Tensor:
    """Return steps + 1 falling times from `start` on, even in the log ratio; the last is next to 0."""
    grid = torch.linspace(1 - LAST, start, 4096, dtype=torch.float64)
    ratio = process.log_ratio(grid)  # falls
    wanted = torch.linspace(float(ratio[-1]), float(ratio[0]), steps + 1, dtype=torch.float64)
    place = torch.searchsorted(-ratio, -wanted).clamp(1, len(grid) - 1)
    low, high = ratio[place], ratio[place - 1]
    times = grid[place] - (wanted - low) / (high - low) * (grid[place] - grid[place - 1])
    return times.float()


def _like(values: Tensor, x: Tensor) -> Tensor:
    """(B,) -> (B, 1, ...), as many axes as x has."""
    return values.view(-1, *[1] * (x.dim() - 1))
