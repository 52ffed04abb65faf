"""Intervals and comparisons over folds, whose training samples overlap.

Average seeds within a fold first: they are not independent samples.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import stats

from mmgan.errors import MmganError


@dataclass(frozen=True)
class Interval:
    """A mean with its confidence interval; the bounds are NaN for a single value."""

    mean: float
    low: float
    high: float
    error: float  # standard error, corrected


@dataclass(frozen=True)
class Comparison:
    """A paired difference ours - theirs, its two-sided p-value, and what it means for us."""

    difference: Interval
    p_value: float
    outcome: Literal["win", "tie", "loss"]


def by_key(found: Iterable[Mapping[str, float]]) -> dict[str, list[float]]:
    """Return {key: its values}, in the order given."""
    values: dict[str, list[float]] = {}
    for each in found:
        for key, value in each.items():
            values.setdefault(key, []).append(value)
    return values


def shared_by_key(found: Iterable[Mapping[str, float]]) -> dict[str, list[float]]:
    """Return {key: its values} for the keys that all have."""
    found = list(found)
    return {key: values for key, values in by_key(found).items() if len(values) == len(found)}


def corrected_error(values: np.ndarray, n_train: int, n_test: int) -> float:
    """Return the standard error sqrt((1/k + n_test/n_train) var) of the mean over k folds.

    Paper: Nadeau & Bengio 2003, https://doi.org/10.1023/A:1024068626366.
    """
    return float(np.sqrt((1 / len(values) + n_test / n_train) * np.var(values, ddof=1)))


def interval(values: Sequence[float], n_train: int, n_test: int, level: float = 0.95) -> Interval:
    """Return the corrected interval of one value per fold; raises MmganError for none, or for NaN."""
    found = np.asarray(values, dtype=np.float64)
    if not len(found) or not np.isfinite(found).all():
        raise MmganError("an interval needs one finite value per fold; count the failed folds and leave them out.")
    mean = float(found.mean())
    if len(found) == 1:
        return Interval(mean, float("nan"), float("nan"), float("nan"))
    error = corrected_error(found, n_train, n_test)
    reach = float(stats.t.ppf((1 + level) / 2, len(found) - 1)) * error
    return Interval(mean, mean - reach, mean + reach, error)


def compare(
    ours: Sequence[float],
    theirs: Sequence[float],
    n_train: int,
    n_test: int,
    higher_is_better: bool = True,
    level: float = 0.95,
) -> Comparison:
    """Return the corrected resampled t-test of values paired by fold; raises MmganError for unequal numbers of folds."""
    if len(ours) != len(theirs):
        raise MmganError(f"{len(ours)} folds cannot be paired with {len(theirs)}; give the same folds for both.")
    difference = interval(np.asarray(ours) - np.asarray(theirs), n_train, n_test, level)
    if len(ours) == 1:
        return Comparison(difference, float("nan"), "tie")
    if difference.error < 1e-12:  # all folds agree to the last bit, as where a method is compared with itself
        p_value = 1.0 if abs(difference.mean) < 1e-12 else 0.0
    else:
        p_value = float(2 * stats.t.sf(abs(difference.mean) / difference.error, len(ours) - 1))
    if p_value > 1 - level:
        return Comparison(difference, p_value, "tie")
    return Comparison(difference, p_value, "win" if (difference.mean > 0) == higher_is_better else "loss")
