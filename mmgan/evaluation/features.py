"""The space in which samples are compared: standardised values and their principal components, fitted on training samples."""

import numpy as np
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

from mmgan.data.arrays import all_finite, n_samples_of
from mmgan.errors import MmganError
from mmgan.schema import Arrays

JOINT = "joint"

# A broken generator may emit 1e30: beyond this many standard deviations all values are equally wrong, and float32 is safe.
MAX_DEVIATION = 1e3
CONSTANT = 1e-7  # of a feature's largest value: float32 resolves no smaller standard deviation


def nearest(reference: np.ndarray, queries: np.ndarray, k: int = 1) -> np.ndarray:
    """Return the distances (n_queries, k) to the k nearest samples of `reference`, ascending.

    scikit-learn searches in blocks, so the full distance matrix never exists.
    """
    # float64: expanding |a - b|^2 in float32 gives a copy a distance of about 1e-2 instead of 0.
    search = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(reference.astype(np.float64))
    return search.kneighbors(queries.astype(np.float64))[0]


def nearest_within(x: np.ndarray, k: int) -> np.ndarray:
    """Return the distances (n, k) from each sample (n, F) to its k nearest *other* samples."""
    return nearest(x, x, k + 1)[:, 1:]


class FeatureSpace:
    """Standardisation and PCA (at most `max_dims`) of the joint samples and of each modality, fitted on training samples.

    No figure depends on a modality's unit. Raises MmganError where the training samples are fewer than two or not finite.
    """

    def __init__(self, train_x: Arrays, max_dims: int = 32, seed: int = 0) -> None:
        if n_samples_of(train_x) < 2 or not all_finite(train_x):
            raise MmganError(
                "the training samples must be at least two and finite; remove samples with NaN or infinite values."
            )
        self.names = tuple(train_x)
        flat = {name: _flat(values) for name, values in train_x.items()}
        self._mean = {name: values.mean(axis=0) for name, values in flat.items()}
        self._scale = {name: _scale(values) for name, values in flat.items()}
        self.unit = {name: float(np.sqrt(np.mean(values.var(axis=0)))) or 1.0 for name, values in flat.items()}
        self._pca = {}
        for key in (JOINT, *self.names):
            standardised = self.flat(train_x, key)
            dims = min(max_dims, standardised.shape[1], standardised.shape[0] - 1)
            with np.errstate(invalid="ignore"):  # a constant modality has no variance to explain
                self._pca[key] = PCA(dims, random_state=seed).fit(standardised)

    def flat(self, x: Arrays, name: str = JOINT) -> np.ndarray:
        """Return standardised samples (n, F), float32: all modalities side by side, or the one called `name`."""
        keys = self.names if name == JOINT else (name,)
        parts = [(_flat(x[key]) - self._mean[key]) / self._scale[key] for key in keys]
        return np.clip(np.concatenate(parts, axis=1), -MAX_DEVIATION, MAX_DEVIATION).astype(np.float32)

    def embed(self, x: Arrays, name: str = JOINT) -> np.ndarray:
        """Return samples, joint or of the modality `name`, in the principal components (n, dims) of the training samples."""
        return self._pca[name].transform(self.flat(x, name))

    def in_units(self, x: Arrays, name: str) -> np.ndarray:
        """Return a modality (n, *shape) in units of its training samples' standard deviation, float64, shape kept."""
        limit = MAX_DEVIATION * self.unit[name]
        values = np.asarray(x[name], np.float64) - self._mean[name].mean()
        return np.clip(values, -limit, limit) / self.unit[name]


def _flat(values: np.ndarray) -> np.ndarray:
    return np.asarray(values, dtype=np.float64).reshape(len(values), -1)


def _scale(flat: np.ndarray) -> np.ndarray:
    """Return each feature's standard deviation; a constant one has the modality's, so that a generator that moves it is seen."""
    spread, varies = flat.std(axis=0), flat.std(axis=0) > CONSTANT * np.abs(flat).max(axis=0)
    usual = float(np.sqrt(np.mean(spread[varies] ** 2))) if varies.any() else float(np.abs(flat).max()) or 1.0
    return np.where(varies, spread, usual)
