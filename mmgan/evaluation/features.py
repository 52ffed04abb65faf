"""The space in which rows are compared: standardised values and their principal components, fitted on training rows."""

from collections.abc import Mapping

import numpy as np
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

from mmgan.errors import MmganError

Rows = Mapping[str, np.ndarray]
LabelledRows = tuple[Rows, np.ndarray]

JOINT = "joint"

# A broken generator may emit 1e30: beyond this many standard deviations all values are equally wrong, and float32 is safe.
MAX_DEVIATION = 1e3


def row_count(x: Rows) -> int:
    """Return the number of rows of {name: (n, *shape)}."""
    return len(next(iter(x.values())))


def take(x: Rows, index: np.ndarray) -> dict[str, np.ndarray]:
    """Return the rows `index` of every modality."""
    return {name: values[index] for name, values in x.items()}


def flatten(x: Rows, names: tuple[str, ...] | None = None) -> np.ndarray:
    """Return the rows as one matrix (n, F): the modalities `names` (default: all) side by side."""
    return np.concatenate([np.asarray(x[name]).reshape(len(x[name]), -1) for name in names or tuple(x)], axis=1)


def unflatten(flat: np.ndarray, like: Rows) -> dict[str, np.ndarray]:
    """Undo `flatten`: cut (n, F) into modalities with the names, shapes and dtypes of `like`."""
    out, start = {}, 0
    for name, values in like.items():
        width = int(np.prod(values.shape[1:]))
        part = flat[:, start : start + width]  # (n, width)
        out[name] = part.reshape(len(flat), *values.shape[1:]).astype(values.dtype)
        start += width
    return out


def all_finite(x: Rows) -> bool:
    """Say whether no modality holds a NaN or an infinite value."""
    return all(bool(np.isfinite(values).all()) for values in x.values())


def check_rows(train: LabelledRows, rows: LabelledRows, kind: str) -> None:
    """Raise MmganError unless `rows` are finite, with the modalities, shapes and classes of `train`."""
    x, y = rows
    if set(x) != set(train[0]):
        raise MmganError(f"the {kind} rows have modalities {sorted(x)}, expected {sorted(train[0])}.")
    for name, values in train[0].items():
        if np.shape(x[name])[1:] != np.shape(values)[1:]:
            raise MmganError(
                f"the {kind} rows of '{name}' have shape {np.shape(x[name])[1:]}, expected {np.shape(values)[1:]}."
            )
        if len(x[name]) != len(y):
            raise MmganError(f"the {kind} rows have {len(x[name])} of '{name}' but {len(y)} labels; give one each.")
    if not len(y):
        raise MmganError(f"there are no {kind} rows; give some.")
    for name, values in x.items():
        if not all_finite({name: values}):
            broken = int((~np.isfinite(np.asarray(values).reshape(len(y), -1)).all(axis=1)).sum())
            raise MmganError(f"{broken} {kind} rows of '{name}' hold NaN or infinite values; leave those rows out.")
    unknown = np.setdiff1d(y, train[1])
    if len(unknown):
        raise MmganError(f"the {kind} rows have class {unknown[0]}, which the training rows lack; leave it out.")


def nearest(reference: np.ndarray, queries: np.ndarray, k: int = 1) -> np.ndarray:
    """Return the distances (n_queries, k) to the k nearest rows of `reference`, ascending.

    scikit-learn searches in blocks, so the full distance matrix never exists.
    """
    # float64: expanding |a - b|^2 in float32 gives a copy a distance of about 1e-2 instead of 0.
    search = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(reference.astype(np.float64))
    return search.kneighbors(queries.astype(np.float64))[0]


def nearest_within(rows: np.ndarray, k: int) -> np.ndarray:
    """Return the distances (n, k) from each row to its k nearest *other* rows."""
    return nearest(rows, rows, k + 1)[:, 1:]


class FeatureSpace:
    """Standardisation and PCA (at most `max_dims`) of the joint rows and of each modality, fitted on training rows.

    Raises MmganError where the training rows are fewer than two or not finite.
    """

    def __init__(self, train_x: Rows, max_dims: int = 32, seed: int = 0) -> None:
        if row_count(train_x) < 2 or not all_finite(train_x):
            raise MmganError(
                "the training rows must be at least two and finite; remove rows with NaN or infinite values."
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

    def flat(self, x: Rows, name: str = JOINT) -> np.ndarray:
        """Return standardised rows (n, F), float32: all modalities side by side, or the one called `name`."""
        parts = []
        for key in self.names if name == JOINT else (name,):
            values = np.asarray(x[key], dtype=np.float64).reshape(len(x[key]), -1)
            parts.append((values - self._mean[key]) / self._scale[key])
        return np.clip(np.concatenate(parts, axis=1), -MAX_DEVIATION, MAX_DEVIATION).astype(np.float32)

    def embed(self, x: Rows, name: str = JOINT) -> np.ndarray:
        """Return rows, joint or of the modality `name`, in the principal components (n, dims) of the training rows."""
        return self._pca[name].transform(self.flat(x, name))
