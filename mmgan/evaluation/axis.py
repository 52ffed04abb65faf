"""Statistics of each single sample along its axis: how rough and how periodic a signal is, and how its channels go together."""

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

FEWEST_POINTS = 8  # of an axis that has statistics
MAX_LAG = 8
MAX_CHANNELS = 64
FLOOR = 1e-3  # of the modality's variance: what is added to an energy, so that a constant channel has one


def axis_statistics(values: np.ndarray) -> np.ndarray:
    """Return the statistics (n, T) of one modality (n, C, L) or (n, C, H, W), in units of its standard deviation.

    Of each channel, its mean removed: the log energy of values and of first and second differences, the autocorrelation at
    lags 1 to 8 (on short axes to half of the points); of each pair of channels the correlation. Differences and lags run
    along both axes of an image. T is 0 for vectors and where no axis has 8 points.
    """
    values = np.asarray(values, np.float64)
    if values.ndim < 3:
        return np.zeros((len(values), 0))
    axes = [axis for axis in range(2, values.ndim) if values.shape[axis] >= FEWEST_POINTS]
    if not axes:
        return np.zeros((len(values), 0))
    positions = tuple(range(2, values.ndim))
    values = values[:, _evenly(values.shape[1])]
    centred = values - values.mean(axis=positions, keepdims=True)
    energy = (centred**2).mean(axis=positions) + FLOOR  # (n, C)
    found = [np.log(energy)]
    for axis in axes:
        moved = np.moveaxis(centred, axis, -1)
        found += [np.log((np.diff(moved, n=n) ** 2).mean(axis=positions) + FLOOR) for n in (1, 2)]
        lags = range(1, min(MAX_LAG, moved.shape[-1] // 2) + 1)
        found += [(moved[..., :-lag] * moved[..., lag:]).mean(axis=positions) / energy for lag in lags]
    return np.concatenate([*found, _correlations(centred, energy)], axis=1)


def _correlations(centred: np.ndarray, energy: np.ndarray) -> np.ndarray:
    flat = centred.reshape(*centred.shape[:2], -1)
    first, second = np.triu_indices(flat.shape[1], k=1)
    products = np.einsum("nip,njp->nij", flat, flat)[:, first, second] / flat.shape[-1]
    return products / np.sqrt(energy[:, first] * energy[:, second])


def _evenly(count: int) -> np.ndarray:
    return np.unique(np.linspace(0, count - 1, min(count, MAX_CHANNELS)).round().astype(int))


def axis_classifier():
    """Return the classifier that tells real from synthetic samples by these statistics."""
    return make_pipeline(StandardScaler(), LogisticRegression(C=0.03, max_iter=300))
