"""One row of one fold's table: the synthetic samples, a baseline, or real samples, judged alike."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmgan.baselines import BASELINES
from mmgan.data.arrays import LabelledSamples, check_samples
from mmgan.errors import MmganError
from mmgan.evaluation.evaluator import Evaluator, n_compared
from mmgan.evaluation.statistics import shared_by_key
from mmgan.schema import Arrays

REAL = "real"
BASELINE_DRAWS = 2  # of a baseline beside a file: it stands for comparison, and six of them take most of the time
Metrics = dict[str, float]


@dataclass(frozen=True)
class FoldSamples:
    """What one fold's table needs: the samples that its generator saw, those that judge, and the synthetic ones.

    Fold 0 stands for samples that no fold was asked for: the generator saw all training samples. `unseen_groups` are as in `Evaluator`.
    """

    fold: int
    train: LabelledSamples
    heldout: LabelledSamples
    synthetic: LabelledSamples
    unseen_groups: LabelledSamples | None = None

    def check(self, where: object) -> None:
        """Raise MmganError, naming `where` and the fold, for samples that cannot be judged."""
        try:
            check_samples(self.train, self.heldout, "held-out")
            check_samples(self.train, self.synthetic, "synthetic")
            n_compared(len(self.heldout[1]), len(self.synthetic[1]))
        except MmganError as error:
            raise MmganError(f"{where}" + (f", fold {self.fold}" if self.fold else "") + f": {error}") from None

    def judge(self, draws: int = 5, seed: int = 0, quick: bool = False) -> Evaluator:
        """Return the evaluator of every row of this fold's table; it compares no more samples than there are synthetic ones."""
        return Evaluator(self.train, self.heldout, len(self.synthetic[1]), draws, seed, quick, self.unseen_groups)


def baseline_samples(train: LabelledSamples, name: str, labels: np.ndarray, seed: int | list[int]) -> Arrays:
    """Return samples of a baseline for these class indices; raises MmganError for an unknown baseline."""
    if name not in BASELINES:
        raise MmganError(f"no baseline is called '{name}'; known are {', '.join(BASELINES)}.")
    function, options = BASELINES[name]
    return function(train[0], np.asarray(train[1]), labels, np.random.default_rng(seed), **options)


def judged_row(fold: FoldSamples, name: str, **options: Any) -> dict[str, Any]:
    """Return what `Evaluator` says of the row called `name`: `real`, a baseline's name, or any other for the synthetic samples.

    `options` are those of `FoldSamples.judge`.
    """
    judge = fold.judge(**options)
    if name == REAL:
        return judge.real()
    if name in BASELINES:
        judge.draws = min(judge.draws, BASELINE_DRAWS)
        seed, y = [options.get("seed", 0), fold.fold], fold.train[1]
        # As many of each class as the training samples have, and at least as many samples as are compared.
        labels = np.resize(np.random.default_rng(seed).permutation(y), max(len(fold.synthetic[1]), len(y)))
        return judge((baseline_samples(fold.train, name, labels, seed), labels))
    return judge(fold.synthetic)


def derived(metrics: Mapping[str, float], real: Mapping[str, float]) -> Metrics:
    """Return a row's metrics with those that set it against the training samples or against the same fold's real row."""
    ratios = {
        "tstr_ratio": metrics["tstr"] / max(metrics["trtr"], 1e-12),
        "coverage_ratio": metrics["coverage"] / max(real["coverage"], 1e-12),
        "mmd_ratio": metrics["mmd"] / max(metrics["mmd_null"], 1e-12),
    }
    return {**metrics, **ratios}


def mean_over(folds: Iterable[Mapping[str, float]]) -> Metrics:
    """Return the mean of each metric that all of the folds have."""
    return {key: float(np.mean(values)) for key, values in shared_by_key(folds).items()}
