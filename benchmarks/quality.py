"""The quality of models and baselines on held-out samples: trains, synthesises and judges, cell by cell.

A cell is one model on one fold of one data set, with one seed and as many training samples as `samples` says. Each finished
cell is a line of `out`; the same command again does the cells that are missing. At the end the
table of all lines in `out` is written beside it.

    python benchmarks/quality.py data=watch models=real,smote,vacwgan workers=2
    python benchmarks/quality.py data=watch models=real,smote rows=5,10,full,imbalance10
"""

import shlex
import sys
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from cells import Cell, Line, check_generators, check_rows_option, completed, read_options, stamped

from mmgan.baselines import BASELINES
from mmgan.data.arrays import take
from mmgan.evaluation.gain import Augmentation, extra_per_class
from mmgan.evaluation.table import REAL, FoldSamples, baseline_samples
from mmgan.report.quality import FULL, quality_page, read_lines


@dataclass
class Options:
    """The command line, as name=value; several values are separated by commas."""

    data: str = "watch"
    draw: int | None = 0  # of the data; null for data=pkl
    models: str = ",".join([REAL, *BASELINES, "vacwgan"])
    folds: str = "1,2,3,4,5"
    seeds: int = 1
    rows: str = FULL  # of a fold that train: full, 10 (of each class), imbalance10 (10:1)
    draws: int = 5
    workers: int = 1
    out: str = "runs/quality/quality.jsonl"
    runs: str = "runs/quality"  # trained models, found again by a second call
    overrides: str = ""  # options of train.py, separated by blanks: 'data.n_train=200 trainer.max_epochs=5'


def main() -> None:
    """Do the missing cells in `workers` processes, and write the table."""
    options = read_options(Options, sys.argv[1:])
    check_rows_option(options.rows)
    # The longest first, so that no process works on alone at the end.
    asked = sorted(cells(options), key=lambda cell: not cell.trained)
    wanted = stamped(asked, lambda cell: cell.settings(options.overrides, draws=options.draws))
    check_generators(wanted, options.overrides)
    out = Path(options.out)
    work, log = partial(measured, options=options), Path(options.runs) / "log.txt"
    completed(wanted, work, out, options.workers, log=log, kind=kind, facts=lambda cell: {"trained": cell.trained})
    page = quality_page(read_lines(out), shlex.join(["python", "benchmarks/quality.py", *sys.argv[1:]]))
    out.with_suffix(".md").write_text(page)
    print(f"{page}\nlines: {out}   table: {out.with_suffix('.md')}")


def cells(options: Options) -> Iterator[Cell]:
    """Yield every cell that the options ask for."""
    for data in options.data.split(","):
        for rows in options.rows.split(","):
            for model in options.models.split(","):
                for seed in range(options.seeds):
                    for fold in options.folds.split(","):
                        yield Cell(data, options.draw, rows, model, int(fold), seed)


def kind(cell: Cell) -> Hashable:
    """Return what cells of like duration share."""
    return cell.trained and cell.model, cell.data, cell.of_augmentation


def measured(cell: Cell, options: Options) -> Line:
    """Return the sizes and the metrics of a cell."""
    return Work(cell, options).line()


class Work:
    """One cell's data and what is measured on them."""

    def __init__(self, cell: Cell, options: Options) -> None:
        from mmgan.training.run import load_data

        from mmgan.data.folds import configured_folds, select_fold
        from mmgan.evaluation.files import judging_samples

        self.cell, self.options = cell, options
        cfg = cell.config(options.overrides)
        self.dataset = load_data(cfg)
        self.fold = select_fold(configured_folds(self.dataset, cfg.data), cell.fold)
        self.train = self.dataset.samples(self.fold.train_indices)
        self.heldout, self.unseen_groups = judging_samples(self.dataset, self.fold)

    def line(self) -> Line:
        """Return the sizes and the metrics."""
        metrics = self.augmentation() if self.cell.of_augmentation else self.quality()
        kept, left_out = len(self.train[1]), len(self.fold.extra_indices)
        sizes = {"n_train": kept, "n_fold": kept + left_out, "n_val": len(self.fold.val_indices)}
        return {**sizes, "metrics": {key: round(value, 5) for key, value in metrics.items() if ":" not in key}}

    def quality(self) -> dict[str, float]:
        """Return the metrics of as many synthetic samples as there are training samples."""
        rows = FoldSamples(self.cell.fold, self.train, self.heldout, self.train, self.unseen_groups)
        judge, labels = rows.judge(self.options.draws), self.train[1]
        return (judge.real() if self.cell.model == REAL else judge((self.generated(labels), labels)))["metrics"]

    def augmentation(self) -> dict[str, float]:
        """Return what synthetic samples, or as many extra real ones, add to the training samples."""
        judge = Augmentation(self.train, self.unseen_groups or self.heldout)
        extra = self.dataset.samples(self.fold.extra_indices)
        classes = self.dataset.schema.n_classes
        counts = extra_per_class(*(np.bincount(y, minlength=classes) for y in (self.train[1], extra[1])))
        labels = np.repeat(np.arange(classes), counts)
        if self.cell.model == "class_weights":
            worth = judge.class_weights()
        elif self.cell.model == "mixup":
            worth = judge.mixup(len(labels) or len(self.train[1]))
        elif self.cell.model == REAL:
            rng = np.random.default_rng([self.cell.seed, self.cell.fold])
            chosen = [rng.permutation(np.flatnonzero(extra[1] == k))[:count] for k, count in enumerate(counts)]
            worth = judge.rows((take(extra[0], np.concatenate(chosen)), labels))
        else:
            worth = judge.rows((self.generated(labels), labels))
        return {"baseline": float(np.mean(judge.baseline)), "f1": worth.f1, "gain": worth.gain, "added": len(labels)}

    def generated(self, labels: np.ndarray) -> dict[str, np.ndarray]:
        """Return samples of these classes from a baseline, or from a model."""
        cell = self.cell
        if not cell.trained:
            return baseline_samples(self.train, cell.model, labels, [cell.seed, cell.fold])
        model = cell.model_of(self.options.runs, self.options.overrides)
        return model.sample(self.dataset.schema.decode(labels), seed=cell.seed)


if __name__ == "__main__":
    main()
