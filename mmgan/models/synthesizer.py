"""What every generator is: labels in, a dict of named modality arrays out."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from mmgan.errors import MmganError
from mmgan.models.noise import BLOCK_SIZE, BlockNoise
from mmgan.schema import Arrays, DataSchema


class Synthesizer(ABC):
    """A generator of labelled samples in physical units.

    Row r of class c under a seed is always computed in the same block beside the same neighbours, so that neither the
    number nor the order of the labels changes a bit of it; the global random state is left alone.
    """

    schema: DataSchema
    scored = "samples against the fold's own val_indices (1 is best)"
    samplings: tuple[str, ...] = ("prior",)  # where `sample` can draw from
    sampling: str = "prior"
    seed: int = 0  # of the training
    recipe: dict[str, Any]  # what a checkpoint must know to sample: plain containers only

    def use_sampling(self, sampling: str) -> None:
        """Choose where `sample` draws from; raises MmganError for what this family does not have."""
        if sampling not in self.samplings:
            raise MmganError(f"sampling={sampling}: this model has {', '.join(self.samplings)}.")
        self.sampling = sampling

    def sample(self, labels: Iterable[int | str], *, seed: int = 0) -> Arrays:
        """Draw one row per label, {name: float32 (n, *shape)}, in the order of `labels` (the data's own labels).

        Raises MmganError for labels that the data do not have and for samples that are not finite.
        """
        indices = self._indices(labels)
        return self._collect(
            indices,
            ((rows, self._sample(label, BlockNoise(seed, label, block))) for label, block, rows in _blocks(indices)),
        )

    def resample(self, x: Mapping[str, np.ndarray], labels: Iterable[int | str], *, seed: int = 0) -> Arrays:
        """Draw one row near each given row, {name: (n, *shape)}; raises MmganError where the model cannot."""
        return self._drawn_for(x, self.schema.check_samples(x), labels, seed, self._resample)

    def reconstruct(self, x: Mapping[str, np.ndarray], labels: Iterable[int | str]) -> Arrays:
        """Rebuild each given row, {name: (n, *shape)}, from what the model's latents keep of it; raises MmganError where it cannot."""
        return self._drawn_for(x, self.schema.check_samples(x), labels, 0, self._reconstruct)

    def complete(self, x: Mapping[str, np.ndarray], labels: Iterable[int | str], *, seed: int = 0) -> Arrays:
        """Draw for each given row, {name: (n, *shape)} of some modalities, the others; returns all, those given unchanged.

        Raises MmganError for samples that have no modality, an unknown one, or all, and where the model cannot.
        """
        x = {name: np.asarray(value) for name, value in x.items()}
        n = self.schema.check_partial(x)
        drawn = self._drawn_for(x, n, labels, seed, self._complete)
        return drawn | {name: np.array(value, np.float32) for name, value in x.items()}

    def _drawn_for(
        self,
        x: Mapping[str, np.ndarray],
        n: int,
        labels: Iterable[int | str],
        seed: int,
        draw: Callable[[Arrays, int, BlockNoise], Arrays],
    ) -> Arrays:
        """Draw a row for each of the n samples `x`, block by block."""
        if broken := [name for name, value in x.items() if not np.isfinite(value).all()]:
            raise MmganError(f"the samples given of {broken} hold values that are not finite; leave such samples out.")
        indices = self._indices(labels)
        if len(indices) != n:
            raise MmganError(f"{n} samples were given with {len(indices)} labels; give one label per row.")

        def drawn() -> Iterator[tuple[np.ndarray, Arrays]]:
            for label, block, rows in _blocks(indices):
                padded = np.resize(rows, BLOCK_SIZE)  # samples repeat until the block is full
                near = {name: np.asarray(value)[padded] for name, value in x.items()}
                yield rows, draw(near, label, BlockNoise(seed, label, block))

        return self._collect(indices, drawn())

    @abstractmethod
    def fit_data(self, x: Arrays, y: np.ndarray) -> None:
        """Take in the training samples in physical units, with class indices (n,), before anything else is trained."""

    @abstractmethod
    def _sample(self, label: int, noise: BlockNoise) -> Arrays:
        """Return 64 samples of class `label` in physical units, drawn from `noise` alone."""

    def _resample(self, x: Arrays, label: int, noise: BlockNoise) -> Arrays:
        """Return 64 samples near the 64 samples `x` of class `label`."""
        raise MmganError(f"{type(self).__name__} cannot draw samples near given samples; use sample.")

    def _reconstruct(self, x: Arrays, label: int, noise: BlockNoise) -> Arrays:
        """Return the 64 samples `x` of class `label` as their latents tell them."""
        raise MmganError(f"{type(self).__name__} has no encoder, so it cannot rebuild samples.")

    def _complete(self, x: Arrays, label: int, noise: BlockNoise) -> Arrays:
        """Return 64 samples of class `label`, all modalities, that fit the 64 samples `x` of some of them."""
        raise MmganError(f"{type(self).__name__} cannot draw one modality for another; use model=vacwgan or model=vae.")

    def _indices(self, labels: Iterable[int | str]) -> np.ndarray:
        indices = np.asarray(self.schema.encode(labels), dtype=np.int64)
        if not len(indices):
            raise MmganError("no labels were given; ask for at least one row.")
        return indices

    def _collect(self, indices: np.ndarray, drawn: Iterable[tuple[np.ndarray, Arrays]]) -> Arrays:
        out = {name: np.empty((len(indices), *shape), np.float32) for name, shape in self.schema.modalities.items()}
        for rows, block in drawn:
            for name, target in out.items():
                target[rows] = block[name][: len(rows)]
        broken = [name for name, value in out.items() if not np.isfinite(value).all()]
        if broken:
            raise MmganError(f"the generator gives values that are not finite in {broken}; train it again.")
        return out


def _blocks(indices: np.ndarray) -> Iterator[tuple[int, int, np.ndarray]]:
    """Yield (label, block number, positions of at most 64 samples), each block of one class."""
    for label in np.unique(indices):
        positions = np.flatnonzero(indices == label)
        for block, start in enumerate(range(0, len(positions), BLOCK_SIZE)):
            yield int(label), block, positions[start : start + BLOCK_SIZE]
