"""Where samples come from: what a model keeps of the training samples, class by class."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mmgan.models.noise import BlockNoise
from mmgan.schema import Arrays

MAX_SAMPLES = 10_000
MAX_VALUES = 2**24  # 64 MB
ENCODED_SAMPLES = 128  # that go through an encoder together
ACTIVE_VARIANCE = 0.01
POOLED_SAMPLES = 10  # that the residuals of all classes count as, beside those of one


def memory_indices(y: np.ndarray, most: int = MAX_SAMPLES) -> np.ndarray:
    """Return the indices of at most `most` samples, random ones, rare classes in full before frequent ones have more."""
    order = np.random.default_rng(0).permutation(len(y))
    rank = np.empty(len(y), dtype=np.int64)  # among the samples of its class
    for label in np.unique(y):
        rank[order[y[order] == label]] = np.arange((y == label).sum())
    return np.argsort(rank, kind="stable")[:most]


class Memory(nn.Module):
    """Tensors with one line for each of some training samples, (n, width) by name, and their classes `labels` (n,).

    Buffers, so that a checkpoint carries them; they are as many as there are samples.
    """

    def __init__(self, **widths: int):
        super().__init__()
        for name, width in widths.items():
            self.register_buffer(name, torch.zeros(0, width))
        self.register_buffer("labels", torch.zeros(0, dtype=torch.int64))

    def fit(self, labels: Tensor, **values: Tensor) -> None:
        """Take the values (n, width) of samples of classes `labels` (n,)."""
        for name, value in values.items():
            setattr(self, name, value.detach().float())
        self.labels = labels

    def members(self, label: int) -> Tensor:
        """Return the lines (n,) of the samples of one class; none, where the class has no sample."""
        return torch.nonzero(self.labels == label)[:, 0]

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        # The number of samples is the checkpoint's, not that of a fresh object.
        for name, buffer in list(self.named_buffers()):
            if prefix + name in state_dict:
                setattr(self, name, torch.empty_like(state_dict[prefix + name], device=buffer.device))
        super()._load_from_state_dict(state_dict, prefix, *args)


class SampleMemory(Memory):
    """Arrays of some `shapes`, {name: shape}, to begin from: those of the training, or random ones of them where they are many."""

    def __init__(self, shapes: Mapping[str, tuple[int, ...]]):
        sizes = [math.prod(shape) for shape in shapes.values()]
        super().__init__(flat=sum(sizes))
        self.shapes = dict(shapes)
        self.sizes = sizes

    def indices_of(self, y: np.ndarray) -> np.ndarray:
        """Return the indices of the samples to be kept of those with class indices y (n,)."""
        return memory_indices(y, min(MAX_SAMPLES, max(1, MAX_VALUES // sum(self.sizes))))

    def fit_data(self, parts: Sequence[Mapping[str, Tensor]], labels: Tensor) -> None:
        """Take samples {name: (n, *shape)}, in parts that follow each other, of classes `labels`, one for each sample of all parts."""
        rows = [torch.cat([part[name].flatten(1) for name in self.shapes], dim=1) for part in parts]
        self.fit(labels, flat=torch.cat(rows))

    def samples(self, lines: Tensor) -> dict[str, Tensor]:
        """Return the samples {name: (B, *shape)} of some lines (B,)."""
        return self._shaped(self.flat[lines])

    def _shaped(self, flat: Tensor) -> dict[str, Tensor]:
        parts = flat.split(self.sizes, dim=1)
        return {name: part.unflatten(1, shape) for (name, shape), part in zip(self.shapes.items(), parts, strict=True)}


class Residuals(SampleMemory):
    """What a model leaves unexplained of training samples, for each class a Gaussian with the mean and covariance of these residuals.

    Both are shrunk towards those of all classes, the more the fewer samples a class has, as in regularised discriminant analysis (Friedman 1989, doi:10.1080/01621459.1989.10478752).
    """

    def sample(self, label: int, white: Tensor) -> dict[str, Tensor]:
        """Return residuals {name: (B, *shape)} of one class, of normal noise (B, n): a value for each of the n samples that were taken in."""
        own = (self.labels == label).float()
        rows = own.sum()
        share = rows / (rows + POOLED_SAMPLES)
        weights = share * own / rows.clamp_min(1) + (1 - share) / len(own)  # of the samples in mean and covariance
        mean = weights @ self.flat
        return self._shaped(mean + (white * weights.sqrt()) @ (self.flat - mean))


class AggregatePosterior(Memory):
    """The posteriors q(z|x) = N(mu, diag(exp(logvar))) of training samples, each class's together one density over z.

    As the mixture that they are (an aggregate posterior; as prior: Norouzi et al. 2020, arXiv:2004.04795), or as the Gaussian of
    the same mean and covariance.
    """

    SAMPLINGS = ("prior", "density", "posterior")

    def __init__(self, latent_dim: int):
        super().__init__(mu=latent_dim, logvar=latent_dim)
        self.latent_dim = latent_dim
        self._training: tuple[Arrays, np.ndarray, np.ndarray] = {}, np.empty(0, int), np.empty(0, int)

    def fit_data(self, x: Arrays, y: np.ndarray) -> None:
        """Take in the training samples whose posteriors `update` looks at: up to 10 000."""
        self._training = x, memory_indices(y), y

    def update(self, encode: Callable[[Arrays], tuple[Tensor, Tensor]]) -> None:
        """Take the posteriors mu, logvar that an encoder gives to the training samples."""
        x, kept, y = self._training
        parts = np.array_split(kept, -(-len(kept) // ENCODED_SAMPLES))
        posteriors = [encode({name: value[part] for name, value in x.items()}) for part in parts]
        mu, logvar = (torch.cat(each) for each in zip(*posteriors, strict=True))
        self.fit(torch.from_numpy(y[kept]).to(mu.device), mu=mu, logvar=logvar)

    def sample(self, label: int, noise: BlockNoise, sampling: str) -> Tensor:
        """Return z (64, latent_dim) of one class.

        `sampling` says where from: `posterior`, that of a random training sample of the class; `density`, the Gaussian with the
        moments of all those; `prior`, N(0, I).
        """
        z = torch.from_numpy(noise.normal((self.latent_dim,))).to(self.mu.device)
        if sampling == "posterior":
            return self.sample_mixture(label, z, torch.from_numpy(noise.uniform()).to(self.mu.device))
        return self.sample_gaussian(label, z) if sampling == "density" else z

    def active_units(self) -> int:
        """Return how many latent dimensions tell samples apart: the variance of their posterior means exceeds .01.

        Paper: Burda et al. 2016, arXiv:1509.00519, section 5.2.
        """
        return int((self.mu.var(0, correction=0) > ACTIVE_VARIANCE).sum()) if len(self.mu) else 0

    def sample_mixture(self, label: int, noise: Tensor, choice: Tensor) -> Tensor:
        """Return z (B, latent_dim) of one class: for each a posterior, by `choice` (B,) in [0, 1), and `noise` (B, latent_dim)."""
        members = self.members(label)
        if not len(members):
            return noise  # before the first epoch has ended: the prior
        chosen = members[(choice * len(members)).long().clamp(max=len(members) - 1)]
        return self.mu[chosen] + torch.exp(0.5 * self.logvar[chosen]) * noise

    def sample_gaussian(self, label: int, noise: Tensor) -> Tensor:
        """Return z (B, latent_dim) of one class from the Gaussian with the mixture's moments, for `noise` (B, latent_dim)."""
        members = self.labels == label
        if not members.any():
            return noise
        mu = self.mu[members].double()
        mean = mu.mean(0)
        # The covariance of the mixture: of the means, plus the mean of the variances.
        covariance = (mu - mean).T @ (mu - mean) / len(mu) + torch.diag(self.logvar[members].double().exp().mean(0))
        factor, failed = torch.linalg.cholesky_ex(covariance)
        if failed:
            # Of a model that has diverged: samples that are not finite, which `Synthesizer.sample` refuses in words.
            factor = torch.full_like(factor, torch.nan)
        return (mean + noise.double() @ factor.T).float()
