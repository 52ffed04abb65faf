"""What tuning changes: the default configuration and the one that a sweep found, on test samples, fold by fold, below the real row.

A trial is scored on the inner split of a fold's training samples; what its parameters are worth on test samples, which no sweep sees, stands here.

    python benchmarks/tuned.py data=watch folds=1,2 trials=15 workers=2
"""

import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import quality
from cells import Cell, Line, OptionsOfOneGenerator, completed, finished, markdown, read_options, stamped
from optuna.trial import TrialState
from sweep import swept, trials_of

from mmgan.evaluation.table import REAL
from mmgan.tuning.study import RETRY_OF

COLUMNS = ("tstr", "coverage", "c2st", "novelty10", "novelty50", "novelty90", "close")


@dataclass
class Options(OptionsOfOneGenerator):
    """The command line."""

    trials: int = 15
    draws: int = 5
    out: str = "runs/tuned/tuned.jsonl"
    sweeps: str = "runs/tuned"


@dataclass(frozen=True)
class Row(Cell):
    """What a line tells of: the real row, a model's default, or what a sweep found."""

    tuned: bool

    def sweep(self, options: Options) -> Path:
        """Return the folder of its sweep."""
        return Path(options.sweeps).absolute() / f"{self.data}-{self.model}" / f"fold{self.fold}"

    def scores(self, options: Options) -> Line:
        """Return the scores on the inner split, after the epochs of a trial, of the default, which is the first, and of the best."""
        (trials,) = trials_of(self.sweep(options)).values()
        default = trials[0]
        while again := [
            trial for trial in trials if trial.user_attrs.get(RETRY_OF) == default.number
        ]:  # it was cut off
            default = again[0]
        best = max(trial.value for trial in trials if trial.state == TrialState.COMPLETE)
        return {"default_score": round(default.value, 4), "best_score": round(best, 4)}


class Work(quality.Work):
    """One row's data, and the metrics of what its model makes."""

    def generated(self, labels: np.ndarray) -> dict[str, np.ndarray]:
        """Return samples of these classes from the refit of a sweep, or from the default model."""
        import mmgan

        if not self.cell.tuned:
            return super().generated(labels)
        model = mmgan.load(self.cell.sweep(self.options) / "best.ckpt")
        return model.sample(self.dataset.schema.decode(labels), seed=self.cell.seed)


def main() -> None:
    """Run the sweeps that are missing, judge their refits and the default in `workers` processes, and print the table."""
    options = read_options(Options, sys.argv[1:])
    folds = [int(fold) for fold in options.folds.split(",")]
    kinds = ((REAL, False), (options.model, False), (options.model, True))
    rows = [
        Row(options.data, options.draw, "full", name, k, options.seed, tuned) for name, tuned in kinds for k in folds
    ]
    wanted = stamped(rows, lambda row: settings(row, options))
    out, work = Path(options.out), partial(measured, options=options)
    known = finished(out, wanted)
    for row in rows:
        if row.tuned and row not in known:
            tune(row, options)
    lines = completed(wanted, work, out, options.workers, log=Path(options.sweeps) / "log.txt")
    print(table(list(lines.values())))


def settings(row: Row, options: Options) -> str:
    """Return a digest of all that decides a row's result."""
    return row.settings(options.overrides, draws=options.draws, **({"trials": options.trials} if row.tuned else {}))


def tune(row: Row, options: Options) -> None:
    """Run the sweep of a fold, or go on with it."""
    words = f"data={row.data} model={row.model} seed={row.seed} fold={row.fold} n_trials={options.trials}"
    draw = "" if row.draw is None else f"data.draw={row.draw}"
    swept(row.sweep(options), f"{words} {draw} {options.overrides}", workers=options.workers)


def measured(row: Row, options: Options) -> Line:
    """Return the metrics of a row, and of a sweep what it went by."""
    return Work(row, options).line() | (row.scores(options) if row.tuned else {})


def table(lines: list[Line]) -> str:
    """Return a row for each fold and model as Markdown."""
    rows = [["fold, samples", "score of trials: default", "best", *COLUMNS]]
    for line in sorted(lines, key=lambda line: line["fold"]):
        name = f"{line['fold']}, {line['model']}{', tuned' if line['tuned'] else ''}"
        scores = [f"{line[key]:.3f}" if key in line else "" for key in ("default_score", "best_score")]
        rows.append([name, *scores, *(f"{line['metrics'][key]:.3f}" for key in COLUMNS)])
    return markdown(rows)


if __name__ == "__main__":
    main()
