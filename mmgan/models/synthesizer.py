"""What every generator is to its users: labels in, a dict of named modality arrays out."""

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from mmgan.errors import MmganError
from mmgan.losses.variational import importance_resampled, log_likelihood, reparameterize
from mmgan.models.memory import AggregatePosterior
from mmgan.models.noise import BLOCK_SIZE, BlockNoise
from mmgan.schema import Arrays, Batch, DataSchema

CALIBRATION_SEED = 2**63 - 1  # of samples that no user asks for
MAX_CALIBRATION_VALUES = 2**24  # 64 MB of generated samples
CANDIDATE_BLOCKS = 32  # of 64 latents each, among which a given modality chooses

CANNOT = {  # what a family may have beside `generate`, and what is said where it has not
    "regenerate": "cannot draw samples near given samples; use sample.",
    "reconstruct": "has no encoder, so it cannot rebuild samples.",
    "complete": "cannot draw one modality for another; use model=vacwgan or model=vae.",
}


class Generates(Protocol):
    """What a family of generators offers to a `Synthesizer`; a family that can do more also has the methods named in `CANNOT`.

    Its samples are of one class each time, always BLOCK_SIZE of them, in a representation of its own: `from_arrays` and
    `to_arrays` lead from and to physical units.
    """

    schema: DataSchema
    samplings: tuple[str, ...]  # where samples can be drawn from
    sampling: str  # where they are, unless another is asked for
    recipe: dict[str, Any]  # what a checkpoint must know to sample: plain containers only

    def generate(self, label: int, noise: BlockNoise, sampling: str) -> Batch:
        """Return samples of a class, {name: (BLOCK_SIZE, *shape)}, drawn from `noise` alone."""

    def from_arrays(self, x: Arrays) -> Batch:
        """Return samples in physical units in the family's own representation."""

    def to_arrays(self, x: Batch, *, mapped: bool = True) -> dict[str, np.ndarray]:
        """Return samples in physical units; `mapped`: with the marginals of the training samples."""

    def evaluating(self) -> AbstractContextManager[None]:
        """Switch to evaluation mode and back."""


class Synthesizer:
    """A generator of labelled samples in physical units.

    Sample r of class c under a seed is always computed in the same block beside the same neighbours, so that neither the
    number nor the order of the labels changes a bit of it; the global random state is left alone.
    """

    def __init__(self, model: Generates):
        self.model = model
        self.schema = model.schema

    @property
    def recipe(self) -> dict[str, Any]:
        """What the checkpoint says of the training: plain containers."""
        return self.model.recipe

    def sample(
        self, labels: Iterable[int | str], *, seed: int = 0, sampling: str | None = None
    ) -> dict[str, np.ndarray]:
        """Draw one sample per label, {name: float32 (n, *shape)}, in the order of `labels` (the data's own labels).

        Raises MmganError for labels that the data do not have, an unknown `sampling`, and samples that are not finite.
        """
        sampling = self.checked_sampling(sampling)
        return self._drawn(labels, lambda label, noise, _: self.model.generate(label, noise, sampling), seed)

    def resample(self, x: Arrays, labels: Iterable[int | str], *, seed: int = 0) -> dict[str, np.ndarray]:
        """Draw one sample near each given one, {name: (n, *shape)}; raises MmganError where the model cannot."""
        return self._drawn_for(x, self.schema.check_samples(x), labels, self._able("regenerate"), seed)

    def reconstruct(self, x: Arrays, labels: Iterable[int | str]) -> dict[str, np.ndarray]:
        """Rebuild each given sample, {name: (n, *shape)}, from what the latents keep of it; raises MmganError where the model cannot."""
        n, rebuild = self.schema.check_samples(x), self._able("reconstruct")
        return self._drawn_for(x, n, labels, lambda given, label, noise: rebuild(given, label), mapped=False)

    def complete(
        self, x: Arrays, labels: Iterable[int | str], *, seed: int = 0, sampling: str | None = None
    ) -> dict[str, np.ndarray]:
        """Draw for each given sample, {name: (n, *shape)} of some modalities, the others; returns all, those given unchanged.

        Raises MmganError for samples that have no modality, an unknown one, or all, and where the model cannot.
        """
        x = {name: np.asarray(value) for name, value in x.items()}
        n, fill, sampling = self.schema.check_partial(x), self._able("complete"), self.checked_sampling(sampling)
        drawn = self._drawn_for(x, n, labels, lambda given, label, noise: fill(given, label, noise, sampling), seed)
        return drawn | {name: np.array(value, np.float32) for name, value in x.items()}

    def checked_sampling(self, sampling: str | None) -> str:
        """Return where samples are drawn from, by default as the model was set up; raises MmganError for what the family does not have."""
        if sampling is None:
            return self.model.sampling
        if sampling not in self.model.samplings:
            raise MmganError(f"sampling={sampling}: this model has {', '.join(self.model.samplings)}.")
        return sampling

    def _able(self, method: str) -> Callable[..., Batch]:
        if not hasattr(self.model, method):
            raise MmganError(f"{type(self.model).__name__} {CANNOT[method]}")
        return getattr(self.model, method)

    def _drawn_for(
        self, x: Arrays, n: int, labels: Iterable[int | str], draw: Callable[..., Batch], seed: int = 0, **options: bool
    ) -> dict[str, np.ndarray]:
        """Return what `draw` (64 of the n samples `x` in the model's own representation, label, noise) gives, block by block."""
        labels = list(labels)
        if broken := [name for name, value in x.items() if not np.isfinite(value).all()]:
            raise MmganError(f"the samples given of {broken} hold values that are not finite; leave such samples out.")
        if len(labels) != n:
            raise MmganError(f"{n} samples were given with {len(labels)} labels; give one label per sample.")

        def near(label: int, noise: BlockNoise, positions: np.ndarray) -> Batch:
            padded = np.resize(positions, BLOCK_SIZE)  # samples repeat until the block is full
            given = {name: np.asarray(value)[padded] for name, value in x.items()}
            return draw(self.model.from_arrays(given), label, noise)

        return self._drawn(labels, near, seed, **options)

    def _drawn(
        self, labels: Iterable[int | str], draw: Callable[..., Batch], seed: int, mapped: bool = True
    ) -> dict[str, np.ndarray]:
        """Return the samples of `draw` (label, noise, positions of at most 64 samples), one for each label."""
        indices = np.asarray(self.schema.encode(labels), dtype=np.int64)
        if not len(indices):
            raise MmganError("no labels were given; ask for at least one sample.")
        out = {name: np.empty((len(indices), *shape), np.float32) for name, shape in self.schema.modalities.items()}
        for label, block, positions in _blocks(indices):
            with self.model.evaluating():
                drawn = self.model.to_arrays(draw(label, BlockNoise(seed, label, block), positions), mapped=mapped)
            for name, target in out.items():
                target[positions] = drawn[name][: len(positions)]
        if broken := [name for name, value in out.items() if not np.isfinite(value).all()]:
            raise MmganError(f"the generator gives values that are not finite in {broken}; train it again.")
        return out


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
        fit_quantile_mapping(self, self.class_counts)


def fit_quantile_mapping(model: Any, class_counts: np.ndarray) -> None:
    """Fit a trained generator's quantile mapping on samples that it generates, of each class as many as its share asks for.

    Anew after each epoch, and after a change of how samples are drawn; `class_counts` (K,) are those of the training samples.
    """
    if model.mapping is None:
        return
    values = sum(math.prod(shape) for shape in model.schema.modalities.values())
    most = min(model.mapping.n_samples, max(BLOCK_SIZE, MAX_CALIBRATION_VALUES // values))
    shares = class_counts / class_counts.sum()
    drawn: dict[str, list[Any]] = {name: [] for name in model.mapping.names}
    with model.evaluating():
        for label, n in enumerate(np.ceil(shares * most).astype(int)):
            for block in range(-(-n // BLOCK_SIZE)):
                scaled = model.generate(label, BlockNoise(CALIBRATION_SEED, label, block), model.sampling)
                for name, parts in drawn.items():
                    parts.append(scaled[name][: n - block * BLOCK_SIZE].clone())  # a view would keep the whole block
        model.mapping.fit_generated({name: torch.cat(parts) for name, parts in drawn.items()})


def _blocks(indices: np.ndarray) -> Iterator[tuple[int, int, np.ndarray]]:
    """Yield (label, block number, positions of at most 64 samples), each block of one class."""
    for label in np.unique(indices):
        positions = np.flatnonzero(indices == label)
        for block, start in enumerate(range(0, len(positions), BLOCK_SIZE)):
            yield int(label), block, positions[start : start + BLOCK_SIZE]
