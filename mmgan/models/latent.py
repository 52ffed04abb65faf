"""What trained families share as they sample: latents and the moving average of G, and the fit of the quantile mapping."""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmgan.losses.variational import importance_resampled, log_likelihood, reparameterize
from mmgan.models.memory import AggregatePosterior
from mmgan.models.noise import BLOCK_SIZE, BlockNoise, JoinedNoise
from mmgan.schema import Arrays, Batch

CALIBRATION_SEED = 2**63 - 1  # of samples that no user asks for
IN_TRAINING = 1024  # calibration samples after an epoch; all of them once the training has ended
MAX_CALIBRATION_VALUES = 2**24  # 64 MB of generated samples
TOGETHER = 4 * BLOCK_SIZE  # calibration samples that go through a network together: more are no faster
CANDIDATE_BLOCKS = 32  # of 64 latents each, among which a given modality chooses


class LatentGenerator:
    """The sampling half of a trained family that has an encoder E, a generator G, its moving `average`, and `latents`.

    z comes from where `sampling` says; the moving average of G turns it into samples. The family also sets `kl_warmup`.
    """

    samplings = AggregatePosterior.SAMPLINGS

    def generate(self, label: int, noise: BlockNoise, sampling: str) -> Batch:
        """Return scaled samples of a class, {name: (64, *shape)}."""
        return self.sampled(self.latents.sample(label, noise, sampling), label, noise)

    def regenerate(self, x: Batch, label: int, noise: BlockNoise) -> Batch:
        """Return scaled samples from the posteriors of the scaled samples x."""
        mu, logvar = self.encoder(x)
        return self.sampled(reparameterize(mu, logvar, self.tensor(noise.normal((mu.shape[1],)))), label, noise)

    def complete(self, x: Batch, label: int, noise: BlockNoise, sampling: str) -> Batch:
        """Return scaled samples, all modalities, from latents that explain the scaled samples x of some of them."""
        z = torch.cat([self.latents.sample(label, noise, sampling) for _ in range(CANDIDATE_BLOCKS)])
        candidates = self.averaged(z, label)
        fit = sum(log_likelihood(x[k], candidates.mean[k], candidates.log_std[k]) for k in x)  # (64, candidates)
        return self.sampled(importance_resampled(z, fit, self.tensor(noise.uniform())), label, noise)

    def reconstruct(self, x: Batch, label: int) -> Batch:
        """Return the scaled samples x as the means of their posteriors tell them."""
        return self.averaged(self.encoder(x)[0], label).mean

    def sampled(self, z: Tensor, label: int, noise: BlockNoise) -> Batch:
        """Return what the moving average of G makes of z (64, latent_dim)."""
        return self.averaged(z, label, self.shaped(self.tensor(noise.normal((self.generator.noise_dim,))))).samples

    def averaged(self, z: Tensor, label: int, white: Tensor | None = None) -> Any:
        """Return `Generated` of the moving average of G, for z (B, latent_dim) of a class and noise (B, noise_dim); without noise, zeros."""
        labels = torch.full((len(z),), label, dtype=torch.int64, device=z.device)
        return self.average(z, labels, z.new_zeros(len(z), self.generator.noise_dim) if white is None else white)

    def shaped(self, white: Tensor) -> Tensor:
        """Return the noise that G takes when samples are drawn, of normal noise (B, noise_dim)."""
        return white

    # -- beside the phases of a training --------------------------------------------------------------------------
    def weight(self, phase: str, term: str) -> float:
        weight = super().weight(phase, term)
        return weight * self.progress(self.kl_warmup) if term == "kl" else weight

    def after_batch(self, x: Batch, labels: Tensor) -> None:
        self.average.update_parameters(self.generator)

    def fit_data(self, x: Arrays, y: np.ndarray) -> None:
        super().fit_data(x, y)
        self.latents.fit_data(x, y)

    def after_epoch(self) -> None:
        self.latents.update(lambda x: self.encoder(self.from_arrays(x)))
        self.accumulate({"latent/active_units": torch.tensor(float(self.latents.active_units()))})
        fit_quantile_mapping(self, self.class_counts, IN_TRAINING)

    def calibrate(self) -> bool:
        return fit_in_full(self, self.class_counts)


def fit_quantile_mapping(model: Any, class_counts: np.ndarray, most: int | None = None) -> None:
    """Fit a trained generator's quantile mapping on samples that it generates, of each class as many as its share asks for.

    Anew after each epoch, on at most `most` of them, and after a change of how samples are drawn; `class_counts` (K,) are those of
    the training samples.
    """
    if model.mapping is None:
        return
    values = sum(math.prod(shape) for shape in model.schema.modalities.values())
    most = min(
        most or model.mapping.n_samples, model.mapping.n_samples, max(BLOCK_SIZE, MAX_CALIBRATION_VALUES // values)
    )
    shares = class_counts / class_counts.sum()
    drawn: dict[str, list[Any]] = {name: [] for name in model.mapping.names}
    with model.evaluating():
        for label, n in enumerate(np.ceil(shares * most).astype(int)):
            for start in range(0, n, TOGETHER):
                blocks = range(start // BLOCK_SIZE, -(-min(n, start + TOGETHER) // BLOCK_SIZE))
                scaled = model.generate(label, JoinedNoise(CALIBRATION_SEED, label, blocks), model.sampling)
                for name, parts in drawn.items():
                    parts.append(scaled[name][: n - start].clone())  # a view would keep all of them
        model.mapping.fit_generated({name: torch.cat(parts) for name, parts in drawn.items()})


def fit_in_full(model: Any, class_counts: np.ndarray) -> bool:
    """Fit the quantile mapping on all calibration samples where a part of them is enough after each epoch; say whether it is so."""
    if model.mapping is None or model.mapping.n_samples <= IN_TRAINING:
        return False
    fit_quantile_mapping(model, class_counts)
    return True
