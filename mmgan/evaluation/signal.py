"""Signal statistics: does each channel have the mean, spread, autocorrelation and cross-correlation of real signals?

The RMSE of each statistic between synthetic and held-out rows is given in units of that between two halves of the
held-out rows. The modality's last axis is the signal's axis; a flat modality (F,) has features in place of channels,
and no autocorrelation.
"""

from dataclasses import dataclass

import numpy as np

from mmgan.evaluation.features import Rows

STATISTICS = ("signal_mean", "signal_spread", "signal_autocorrelation", "signal_cross")
MAX_CHANNELS = 64
MAX_LAGS = 64


@dataclass(frozen=True)
class RowStatistics:
    """One modality's statistics per row, so that those of any subset of rows are means of rows."""

    values: np.ndarray  # (n, C * L), standardised by training rows
    autocorrelation: np.ndarray  # (n, C * lags)
    cross: np.ndarray  # (n, pairs of channels)

    def of(self, index: np.ndarray) -> dict[str, np.ndarray]:
        """Return each statistic as a vector, over the rows `index`."""
        values = self.values[index]
        found = {"signal_mean": values.mean(0), "signal_spread": values.std(0)}
        if self.autocorrelation.shape[1]:
            found["signal_autocorrelation"] = self.autocorrelation[index].mean(0)
        if self.cross.shape[1]:
            found["signal_cross"] = self.cross[index].mean(0)
        return found


def row_statistics(standardised: np.ndarray, raw: np.ndarray) -> RowStatistics:
    """Return the statistics of one modality: `standardised` (n, F) for means and spreads, `raw` (n, *shape) for shapes."""
    n = len(raw)
    if raw.ndim == 2:
        some = _evenly(standardised.shape[1])
        products = _pairs(standardised[:, some], standardised[:, some])
        return RowStatistics(standardised, np.zeros((n, 0)), products)
    length = raw.shape[-1]
    lines = raw.reshape(n, -1, length).astype(np.float64)  # (n, channels [x height], L)
    lines = lines[:, _evenly(lines.shape[1])]
    channels = raw.reshape(n, raw.shape[1], -1).astype(np.float64)  # (n, C, positions)
    channels = _unit(channels[:, _evenly(channels.shape[1])])
    upper = np.triu_indices(channels.shape[1], k=1)
    cross = np.einsum("nip,njp->nij", channels, channels)[:, upper[0], upper[1]]
    return RowStatistics(standardised, _autocorrelation(lines), cross)


def _evenly(count: int) -> np.ndarray:
    return np.unique(np.linspace(0, count - 1, min(count, MAX_CHANNELS)).round().astype(int))


def _pairs(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the products (n, pairs) of standardised features: their mean over rows is a correlation."""
    upper = np.triu_indices(a.shape[1], k=1)
    return a[:, upper[0]] * b[:, upper[1]]


def _unit(lines: np.ndarray) -> np.ndarray:
    """Centre along the last axis and scale to length 1; a constant line becomes 0."""
    centred = lines - lines.mean(axis=-1, keepdims=True)
    norm = np.linalg.norm(centred, axis=-1, keepdims=True)
    return centred / np.where(norm > 1e-12, norm, 1.0)


def _autocorrelation(lines: np.ndarray) -> np.ndarray:
    """Return the normalised autocorrelation (n, C * lags) of (n, C, L), lags 1 to at most L / 2."""
    length = lines.shape[-1]
    lags = min(length // 2, MAX_LAGS)
    power = np.abs(np.fft.rfft(_unit(lines), n=2 * length)) ** 2  # zero-padded: no wrap-around
    return np.fft.irfft(power)[..., 1 : lags + 1].reshape(len(lines), -1)


class SignalComparison:
    """Compares with held-out rows; the unit, real versus real, is the mean over random halves of them."""

    def __init__(self, heldout: dict[str, RowStatistics], size: int, splits: int = 10, seed: int = 0) -> None:
        self._heldout = heldout
        rng = np.random.default_rng(seed)
        rows = len(next(iter(heldout.values())).values)
        units: dict[str, list[float]] = {}
        for _ in range(splits):
            order = rng.permutation(rows)
            for key, error in self._errors(order[:size], heldout, order[size : 2 * size]).items():
                units.setdefault(key, []).append(error)
        self._units = {key: float(np.mean(errors)) for key, errors in units.items()}

    def _errors(
        self, index: np.ndarray, other: dict[str, RowStatistics], other_index: np.ndarray
    ) -> dict[str, float]:
        errors = {}
        for name, statistics in self._heldout.items():
            theirs = other[name].of(other_index)
            for key, ours in statistics.of(index).items():
                errors[f"{key}/{name}"] = float(np.sqrt(np.mean((ours - theirs[key]) ** 2)))
        return errors

    def __call__(
        self, index: np.ndarray, other: dict[str, RowStatistics], other_index: np.ndarray
    ) -> dict[str, float]:
        """Return `signal_<statistic>/<modality>` of held-out rows `index` against `other`, and the mean per statistic."""
        errors = self._errors(index, other, other_index)
        result = {key: error / max(self._units[key], 1e-12) for key, error in errors.items()}
        for statistic in STATISTICS:
            parts = [value for key, value in result.items() if key.split("/")[0] == statistic]
            if parts:
                result[statistic] = float(np.mean(parts))
        return result


def signal_statistics(space_flat: dict[str, np.ndarray], x: Rows) -> dict[str, RowStatistics]:
    """Return `row_statistics` of every modality: `space_flat` {name: (n, F)} standardised, `x` {name: (n, *shape)}."""
    return {name: row_statistics(flat, np.asarray(x[name])) for name, flat in space_flat.items()}
