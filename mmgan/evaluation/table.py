"""One row of a table: the synthetic samples, a baseline, or real samples, judged alike."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import joblib
import numpy as np

from mmgan.baselines import BASELINES
from mmgan.data.arrays import LabelledSamples
from mmgan.errors import MmganError
from mmgan.evaluation.evaluator import Evaluator, FoldSamples
from mmgan.evaluation.statistics import shared_by_key
from mmgan.evaluation.verdict import ratio
from mmgan.schema import Arrays

REAL = "real"
BASELINE_DRAWS = 1  # of a baseline beside a file: it stands for comparison, and eight of them take most of the time
Metrics = dict[str, float]


def baseline_samples(
    train: LabelledSamples, name: str, labels: np.ndarray, seed: int | list[int], weights: np.ndarray | None = None
) -> Arrays:
    """Return samples of a baseline for these class indices, drawn from training samples by weight (n,) (None: all alike).

    Raises MmganError for an unknown baseline.
    """
    if name not in BASELINES:
        raise MmganError(f"no baseline is called '{name}'; known are {', '.join(BASELINES)}.")
    function, options = BASELINES[name]
    options = options if weights is None else {**options, "weights": weights}
    return function(train[0], np.asarray(train[1]), labels, np.random.default_rng(seed), **options)


def judged_row(folds: Sequence[FoldSamples], name: str, **options: Any) -> dict[str, Any]:
    """Return what `Evaluator` says of the row called `name`: `real`, a baseline's name, or any other for the synthetic samples.

    `options` are those of `Evaluator`.
    """
    judge = _judge(folds, options)
    if name == REAL:
        return judge.real()
    if name not in BASELINES:
        return judge()
    return judge([_of_baseline(fold, name, options.get("seed", 0)) for fold in folds], draws=BASELINE_DRAWS)


_latest: dict[str, Evaluator] = {}


def _judge(folds: Sequence[FoldSamples], options: Mapping[str, Any]) -> Evaluator:
    """Return the judge of these folds; a process fits it once for all rows of a table."""
    key = joblib.hash((list(folds), dict(options)))
    if key not in _latest:
        _latest.clear()
        _latest[key] = Evaluator(folds, **options)
    return _latest[key]


def _of_baseline(fold: FoldSamples, name: str, seed: int) -> LabelledSamples:
    """Return as many of each class as the training samples have, and at least as many samples as the file has."""
    y, seeds = fold.train[1], [seed, fold.fold]
    labels = np.resize(np.random.default_rng(seeds).permutation(y), max(len(fold.synthetic[1]), len(y)))
    return baseline_samples(fold.train, name, labels, seeds), labels


def derived(metrics: Mapping[str, float], real: Mapping[str, float]) -> Metrics:
    """Return a row's metrics with those that set it against the same fold's real row; a ratio without meaning is left out."""
    ratios = {
        "tstr_ratio": ratio(metrics.get("tstr"), real.get("tstr"))
        if real.get("tstr", 0) > real.get("chance", 0)
        else None,
        "coverage_ratio": ratio(metrics.get("coverage"), real.get("coverage")),
    }
    return {**metrics, **{key: value for key, value in ratios.items() if value is not None}}


def mean_over(folds: Iterable[Mapping[str, float]]) -> Metrics:
    """Return the mean of each metric that all of the folds have."""
    return {key: float(np.mean(values)) for key, values in shared_by_key(folds).items()}
