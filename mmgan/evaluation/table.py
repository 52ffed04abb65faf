"""One row of one fold's table: the synthetic rows, a control, or the real row, judged alike."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmgan.errors import MmganError
from mmgan.evaluation.controls import CONTROLS
from mmgan.evaluation.features import LabelledRows, Rows, check_rows
from mmgan.evaluation.protocol import Judge, compared_rows

REAL = "real"
CONTROL_DRAWS = 2  # of a control beside a file: it stands for comparison, and six of them take most of the time
Metrics = dict[str, float]


@dataclass(frozen=True)
class FoldRows:
    """What one fold's table needs: the rows that its generator saw, those that judge, and the synthetic ones.

    Fold 0 stands for rows that no fold was asked for: the generator saw all training rows. `newcomers` are as in `Judge`.
    """

    fold: int
    train: LabelledRows
    heldout: LabelledRows
    synthetic: LabelledRows
    newcomers: LabelledRows | None = None

    def check(self, where: object) -> None:
        """Raise MmganError, naming `where` and the fold, for rows that cannot be judged."""
        try:
            check_rows(self.train, self.heldout, "held-out")
            check_rows(self.train, self.synthetic, "synthetic")
            compared_rows(len(self.heldout[1]), len(self.synthetic[1]))
        except MmganError as error:
            raise MmganError(f"{where}" + (f", fold {self.fold}" if self.fold else "") + f": {error}") from None

    def judge(self, draws: int = 5, seed: int = 0, quick: bool = False) -> Judge:
        """Return the judge of every row of this fold's table: the number of compared rows is the synthetic rows' at most."""
        return Judge(self.train, self.heldout, len(self.synthetic[1]), draws, seed, quick, self.newcomers)


def control_rows(train: LabelledRows, name: str, labels: np.ndarray, seed: int | list[int]) -> Rows:
    """Return rows of a control for these class indices; raises MmganError for an unknown control."""
    if name not in CONTROLS:
        raise MmganError(f"no control is called '{name}'; known are {', '.join(CONTROLS)}.")
    function, options = CONTROLS[name]
    return function(train[0], np.asarray(train[1]), labels, np.random.default_rng(seed), **options)


def judged_row(rows: FoldRows, name: str, **options: Any) -> dict[str, Any]:
    """Return what `Judge` says of the row called `name`: `real`, a control's name, or any other for the synthetic rows.

    `options` are those of `FoldRows.judge`.
    """
    judge = rows.judge(**options)
    if name == REAL:
        return judge.real()
    if name in CONTROLS:
        judge.draws = min(judge.draws, CONTROL_DRAWS)
        seed, y = [options.get("seed", 0), rows.fold], rows.train[1]
        # As many of each class as the training rows have, and at least as many rows as are compared.
        labels = np.resize(np.random.default_rng(seed).permutation(y), max(len(rows.synthetic[1]), len(y)))
        return judge((control_rows(rows.train, name, labels, seed), labels))
    return judge(rows.synthetic)


def derived(metrics: Mapping[str, float], real: Mapping[str, float]) -> Metrics:
    """Return a row's metrics with those that set it against the training rows or against the same fold's real row."""
    ratios = {
        "tstr_ratio": metrics["tstr"] / max(metrics["trtr"], 1e-12),
        "coverage_ratio": metrics["coverage"] / max(real["coverage"], 1e-12),
        "mmd_ratio": metrics["mmd"] / max(metrics["mmd_null"], 1e-12),
    }
    return {**metrics, **ratios}


def mean_over(folds: Iterable[Mapping[str, float]]) -> Metrics:
    """Return the mean of each metric that all of the folds have."""
    found = list(folds)
    shared = [key for key in found[0] if all(key in each for each in found)]
    return {key: float(np.mean([each[key] for each in found])) for key in shared}
