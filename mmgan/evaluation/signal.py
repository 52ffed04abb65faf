"""Signal statistics: does each channel have the mean, spread, autocorrelation and cross-correlation of real signals?

The RMSE of each statistic between synthetic and held-out samples is given in units of that between two halves of the
held-out samples. The modality's last axis is the signal's axis; a flat modality (F,) has features in place of channels,
and no autocorrelation.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mmgan.evaluation.statistics import by_key

STATISTICS = ("signal_mean", "signal_spread", "signal_autocorrelation", "signal_cross")
MAX_CHANNELS = 64
MAX_LAGS = 64


@dataclass(frozen=True)
class SampleStatistics:
    """One modality's statistics of each sample, so that those of any subset are means over its samples."""

    values: np.ndarray  # (n, C * L), standardised by training samples
    autocorrelation: np.ndarray  # (n, C * lags)
    cross: np.ndarray  # (n, pairs of channels)

    def take(self, index: np.ndarray) -> "SampleStatistics":
        """Return the statistics of the samples `index`."""
        return SampleStatistics(self.values[index], self.autocorrelation[index], self.cross[index])

    @classmethod
    def joined(cls, parts: Sequence["SampleStatistics"]) -> "SampleStatistics":
        """Return the statistics of the samples of several."""
        return cls(
            *(
                np.concatenate(found)
                for found in zip(*((each.values, each.autocorrelation, each.cross) for each in parts), strict=True)
            )
        )

    def means(self) -> dict[str, np.ndarray]:
        """Return each statistic as a vector, over all samples."""
        found = {"signal_mean": self.values.mean(0), "signal_spread": self.values.std(0)}
        if self.autocorrelation.shape[1]:
            found["signal_autocorrelation"] = self.autocorrelation.mean(0)
        if self.cross.shape[1]:
            found["signal_cross"] = self.cross.mean(0)
        return found


def sample_statistics(standardised: np.ndarray, raw: np.ndarray) -> SampleStatistics:
    """Return the statistics of one modality: `standardised` (n, F) for means and spreads, `raw` (n, *shape) for shapes.

    `raw` is in units of the modality's standard deviation.
    """
    n = len(raw)
    if raw.ndim < 3:
        some = _evenly(standardised.shape[1])
        products = _pairs(standardised[:, some], standardised[:, some])
        return SampleStatistics(standardised, np.zeros((n, 0)), products)
    length = raw.shape[-1]
    lines = raw.reshape(n, -1, length)  # (n, channels [x height], L)
    lines = lines[:, _evenly(lines.shape[1])]
    channels = raw.reshape(n, raw.shape[1], -1).astype(np.float64)  # (n, C, positions)
    channels = _unit(channels[:, _evenly(channels.shape[1])])
    upper = np.triu_indices(channels.shape[1], k=1)
    cross = np.einsum("nip,njp->nij", channels, channels)[:, upper[0], upper[1]]
    return SampleStatistics(standardised, autocorrelation(lines).reshape(n, -1), cross)


def _evenly(count: int) -> np.ndarray:
    return np.unique(np.linspace(0, count - 1, min(count, MAX_CHANNELS)).round().astype(int))


def _pairs(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the products (n, pairs) of standardised features: their mean over samples is a correlation."""
    upper = np.triu_indices(a.shape[1], k=1)
    return a[:, upper[0]] * b[:, upper[1]]


def _unit(lines: np.ndarray) -> np.ndarray:
    """Centre along the last axis and scale to length 1; a constant line becomes 0."""
    centred = lines - lines.mean(axis=-1, keepdims=True)
    norm = np.linalg.norm(centred, axis=-1, keepdims=True)
    return centred / np.where(norm > 1e-12, norm, 1.0)


def autocorrelation(values: np.ndarray) -> np.ndarray:
    """Return the autocorrelation (n, [C, H,] lags) of (n, [C, H,] L) along the last axis, lags 1 to at most L / 2."""
    length = values.shape[-1]
    lags = min(length // 2, MAX_LAGS)
    power = np.abs(np.fft.rfft(_unit(values.astype(np.float64)), n=2 * length)) ** 2  # zero-padded: no wrap-around
    return np.fft.irfft(power)[..., 1 : lags + 1]


SignalSet = Mapping[str, SampleStatistics]


class SignalComparison:
    """Compares two sets of samples, in units of what two random halves (`size` samples each) of the held-out samples differ by."""

    def __init__(self, heldout: SignalSet, size: int, splits: int = 40, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        n = len(next(iter(heldout.values())).values)
        found = []
        for _ in range(splits):
            order = rng.permutation(n)
            halves = order[:size], order[size : 2 * size]
            found.append(statistic_errors(*({name: of.take(half) for name, of in heldout.items()} for half in halves)))
        self._units = {key: float(np.mean(values)) for key, values in by_key(found).items()}

    def __call__(self, heldout: SignalSet, synthetic: SignalSet) -> dict[str, float]:
        """Return `signal_<statistic>/<modality>` and `signal_<statistic>`, the mean over modalities."""
        errors = statistic_errors(heldout, synthetic)
        result = {key: error / self._units[key] for key, error in errors.items() if self._units[key] > 0}
        return result | _over_modalities(result)


def _over_modalities(errors: Mapping[str, float]) -> dict[str, float]:
    """Return `<statistic>`, the mean of its `<statistic>/<modality>`."""
    parts = {name: [found for key, found in errors.items() if key.split("/")[0] == name] for name in STATISTICS}
    return {name: float(np.mean(found)) for name, found in parts.items() if found}


def statistic_errors(ours: SignalSet, theirs: SignalSet) -> dict[str, float]:
    """Return the RMSE `<statistic>/<modality>` between the statistics of two sets of samples."""
    errors = {}
    for name in ours:
        other = theirs[name].means()
        for key, found in ours[name].means().items():
            errors[f"{key}/{name}"] = float(np.sqrt(np.mean((found - other[key]) ** 2)))
    return errors
