"""What generators share that make a row from a latent z: drawn from N(0, I), or from where an encoder puts training samples."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mmgan.losses.variational import log_likelihood, reparameterize
from mmgan.models.memory import AggregatePosterior, exemplars
from mmgan.models.module import Batch, moving_average
from mmgan.models.neural import NeuralSynthesizer
from mmgan.models.noise import BlockNoise
from mmgan.nets.networks import Generated
from mmgan.schema import Arrays, DataSchema

CANDIDATE_BLOCKS = 32  # of 64 latents each, among which a modality that is given chooses
TEMPER = 0.05
ENCODED_ROWS = 128  # that go through E together at the end of an epoch
ACTIVE_VARIANCE = 0.01


class LatentSynthesizer(NeuralSynthesizer):
    """A generator G (z, labels, noise -> rows), a moving average of which samples; z is drawn from N(0, I)."""

    def __init__(
        self,
        schema: DataSchema,
        generator: nn.Module,
        *,
        latent_dim: int,
        training: Mapping[str, Any],
        weights: Mapping[str, Mapping[str, float]],
        optimizer: Mapping[str, Any],
        scaler: Callable[..., nn.Module],
        n_calibration_samples: int = 0,
    ):
        super().__init__(schema, scaler, weights, optimizer, n_calibration_samples)
        self.latent_dim = latent_dim
        self.generator = generator
        self.average = moving_average(generator, training["ema_decay"])

    def after_batch(self, x: Batch, labels: Tensor) -> None:
        self.average.update_parameters(self.generator)

    def generate(self, labels: Tensor, noise: BlockNoise) -> Batch:
        return self._rows(self._latents(int(labels[0]), noise), labels, noise)

    def _latents(self, label: int, noise: BlockNoise) -> Tensor:
        """Draw z (64, latent_dim) of one class."""
        return self.tensor(noise.normal((self.latent_dim,)))

    def _rows(self, z: Tensor, labels: Tensor, noise: BlockNoise) -> Batch:
        return self.average(z, labels, self.shaped(self.tensor(noise.normal((self.generator.noise_dim,))))).rows

    def shaped(self, white: Tensor) -> Tensor:
        """Return the noise that G takes when samples are sampled, of normal noise (B, noise_dim)."""
        return white

    def _generated(self, z: Tensor, labels: Tensor) -> Generated:
        return self.generator(z, labels, torch.randn(len(z), self.generator.noise_dim, device=z.device, dtype=z.dtype))


class VariationalSynthesizer(LatentSynthesizer):
    """G with an encoder E, which knows near which z a row lies.

    `sampling` is where `sample` takes z from: `posterior`, that of a random training row of the class; `density`, the Gaussian
    with the moments of all those; `prior`, N(0, I). For the first two a checkpoint holds the posteriors of up to 10 000
    training samples: with G they give samples near those. `training.kl_warmup` are the batches until the KL term has its full weight.
    """

    samplings = ("prior", "density", "posterior")

    def __init__(
        self,
        schema: DataSchema,
        encoder: nn.Module,
        generator: nn.Module,
        *,
        training: Mapping[str, Any],
        sampling: str,
        **shared: Any,
    ):
        super().__init__(schema, generator, training=training, **shared)
        self.kl_warmup = int(training["kl_warmup"])
        self.use_sampling(sampling)
        self.encoder = encoder
        self.density = AggregatePosterior(self.latent_dim)

    def fit_data(self, x: Arrays, y: np.ndarray) -> None:
        super().fit_data(x, y)
        kept = exemplars(y)
        self._exemplars = {name: torch.from_numpy(value) for name, value in x.items()}, kept, torch.from_numpy(y[kept])

    def weight(self, phase: str, term: str) -> float:
        weight = super().weight(phase, term)
        return weight * self.progress(self.kl_warmup) if term == "kl" else weight

    def after_epoch(self) -> None:
        rows, kept, y = self._exemplars
        posteriors = []
        for part in np.array_split(kept, -(-len(kept) // ENCODED_ROWS)):
            near = {name: value[part].to(self.device) for name, value in rows.items()}
            posteriors.append(self.encoder(self.scaler(near)))
        mu, logvar = (torch.cat(parts) for parts in zip(*posteriors, strict=True))
        self.density.fit(y.to(self.device), mu=mu, logvar=logvar)
        self._accumulate({"latent/active_units": torch.tensor(float(self.active_units()))})
        super().after_epoch()  # which samples

    def _reconstruct(self, x: Arrays, label: int, noise: BlockNoise) -> Arrays:
        given = {name: self.tensor(value) for name, value in x.items()}

        def mean_of_mean(labels: Tensor) -> Batch:
            return self._means(self.encoder(self.scaler(given))[0], labels)

        return self.rows_of(label, mean_of_mean, calibrated=False)

    def traverse(self, label: int, values: np.ndarray, dimensions: int) -> tuple[list[int], list[Arrays]]:
        """Return the latent dimensions that vary most over the training samples, and for each the samples along it, from G.

        They begin at the mean of the class with index `label` and go `values` standard deviations of that dimension from it; each item
        of the list holds {name: (len(values), *shape)}. Before the first epoch has ended there is no mean: no dimensions.
        """
        of_class = self.density.labels == label
        if not of_class.any():
            return [], []
        centre, deviations = self.density.mu[of_class].mean(0), self.density.mu.std(0, correction=0)
        chosen = deviations.argsort(descending=True)[:dimensions].tolist()
        steps = self.tensor(values)
        drawn = []
        for dimension in chosen:
            z = centre.repeat(len(steps), 1)
            z[:, dimension] += steps * deviations[dimension]
            labels = torch.full((len(z),), label, dtype=torch.int64, device=self.device)
            with self.evaluating():
                rows = self.scaler.inverse(self._means(z, labels))
            drawn.append({name: value.cpu().numpy() for name, value in rows.items()})
        return chosen, drawn

    def active_units(self) -> int:
        """Return how many latent dimensions tell samples apart: the variance of their posterior means exceeds .01.

        Paper: Burda et al. 2016, arXiv:1509.00519, section 5.2.
        """
        mu = self.density.mu
        return int((mu.var(0, correction=0) > ACTIVE_VARIANCE).sum()) if len(mu) else 0

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
        z = super()._latents(label, noise)
        if self.sampling == "posterior":
            return self.density.sample_mixture(label, z, self.tensor(noise.uniform()))
        return self.density.sample_gaussian(label, z) if self.sampling == "density" else z

    def _means(self, z: Tensor, labels: Tensor) -> Batch:
        return self.average(z, labels, z.new_zeros(len(z), self.generator.noise_dim)).mean

    def _latent(self, x: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Return z (B, latent_dim), drawn from the posteriors of the samples, and their mu and logvar."""
        mu, logvar = self.encoder(x)
        return reparameterize(mu, logvar, torch.randn(mu.shape, device=mu.device, dtype=mu.dtype)), mu, logvar
