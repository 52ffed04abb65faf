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

    Raises MmganError where the training samples are fewer than two or not finite.
    """

    def __init__(self, train_x: Arrays, max_dims: int = 32, seed: int = 0) -> None:
        if n_samples_of(train_x) < 2 or not all_finite(train_x):
            raise MmganError(
                "the training samples must be at least two and finite; remove samples with NaN or infinite values."
            )
        self.names = tuple(train_x)
        self._mean = {name: np.mean(values, axis=0, dtype=np.float64).ravel() for name, values in train_x.items()}
        # Constant features keep their unit: dividing by 0 would hide a generator that moves them.
        spread = {name: np.std(values, axis=0, dtype=np.float64).ravel() for name, values in train_x.items()}
        self._scale = {name: np.where(std > 1e-12, std, 1.0) for name, std in spread.items()}
        self._pca = {}
        for key in (JOINT, *self.names):
            flat = self.flat(train_x, key)
            dims = min(max_dims, flat.shape[1], flat.shape[0] - 1)
            with np.errstate(invalid="ignore"):  # a constant modality has no variance to explain
                self._pca[key] = PCA(dims, random_state=seed).fit(flat)

    def flat(self, x: Arrays, name: str = JOINT) -> np.ndarray:
        """Return standardised samples (n, F), float32: all modalities side by side, or the one called `name`."""
        parts = []
        for key in self.names if name == JOINT else (name,):
            values = np.asarray(x[key], dtype=np.float64).reshape(len(x[key]), -1)
            parts.append((values - self._mean[key]) / self._scale[key])
        return np.clip(np.concatenate(parts, axis=1), -MAX_DEVIATION, MAX_DEVIATION).astype(np.float32)

    def embed(self, x: Arrays, name: str = JOINT) -> np.ndarray:
        """Return samples, joint or of the modality `name`, in the principal components (n, dims) of the training samples."""
        return self._pca[name].transform(self.flat(x, name))
