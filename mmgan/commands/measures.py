"""What `compare` can measure of a cell: metrics, and the columns that show them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas
from omegaconf import DictConfig

from mmgan.baselines import BASELINES
from mmgan.commands.build import task_of
from mmgan.commands.cells import CLASSICAL, Cell, Work
from mmgan.data.arrays import LabelledSamples, take
from mmgan.data.unlabelled import NONE
from mmgan.errors import MmganError
from mmgan.evaluation.classifiers import macro_f1
from mmgan.evaluation.evaluator import Evaluator
from mmgan.evaluation.gain import Augmentation, real_per_class, synthetic_per_class
from mmgan.evaluation.prediction import calibration_error
from mmgan.evaluation.table import REAL, derived
from mmgan.report.content import Table
from mmgan.report.quality import FULL, PSEUDO_LABELS, WITHOUT_SAMPLES, correction_of, full_tables, utility_tables
from mmgan.report.tables import MAIN, Correction, points
from mmgan.schema import Arrays

Line = Mapping[str, Any]
FEWEST = 3  # folds for an interval


class Measure:
    """Base: `metrics` of a cell, shown under `columns` (none: under the metrics' own names)."""

    models: tuple[str, ...] = ("vacwgan",)  # by default
    suits: tuple[str, ...] = ()  # models that it is for; none: all that make samples
    columns: Mapping[str, str] = {}
    digits = 3
    whole: tuple[str, ...] = ()  # metrics that are shown as whole numbers

    def __init__(self, cfg: DictConfig) -> None:
        self.options = {"draws": cfg.draws}  # of `compare`, that change a cell's metrics
        self.folds = list(cfg.folds)  # of the cells

    def wants(self, cell: Cell) -> bool:
        """Say whether there is anything to measure of a cell."""
        return True

    def check(self, cells: Sequence[Cell]) -> None:
        """Raise MmganError for a model that cannot be measured."""
        for cell in cells:
            if self.suits and cell.model not in self.suits:
                raise MmganError(f"models: {cell.model} cannot be measured so; give {' or '.join(self.suits)}.")
            if not self.suits and cell.trained and "samples" not in task_of(cell.config()).offers:
                raise MmganError(f"models: {cell.model} makes no samples; another measure= is for it.")

    def metrics(self, work: Work) -> dict[str, Any]:
        """Return a cell's metrics, by name."""
        raise TypeError("a Measure defines metrics")

    def judged(self, judge: Evaluator, rows: LabelledSamples | None) -> dict[str, float]:
        """Return those metrics of synthetic samples (None: of the real row) that have columns."""
        real = judge.real()["metrics"]
        found = derived(real if rows is None else judge([rows])["metrics"], real)
        return {key: found[key] for key in self.columns.values() if key in found}

    def parts(self, line: Line) -> Iterator[tuple[str, Line]]:
        """Yield the names of the table's rows that a line belongs to, with their metrics."""
        yield line.get("variant") or line["model"], line["metrics"]

    def tables(self, lines: Sequence[Line], order: Sequence[str] = ()) -> list[Table]:
        """Return a table for each number of training samples, with a row for each model or variant, in this order."""
        by_rows = {rows: [line for line in lines if line["rows"] == rows] for rows in (line["rows"] for line in lines)}
        return [self._means(f"Means over folds, rows={rows}", own, order) for rows, own in by_rows.items()]

    def _means(self, title: str, lines: Sequence[Line], order: Sequence[str]) -> Table:
        parts = ((line["fold"], *part) for line in lines for part in self.parts(line))
        found = pandas.DataFrame({"row": name, "fold": fold, **metrics} for fold, name, metrics in parts)
        means = found.groupby(["row", "fold"]).mean()  # of seeds first: they are not independent samples
        columns = {
            heading: key for heading, key in (self.columns or {key: key for key in means}).items() if key in means
        }
        rows = [
            [name, *(self._cell(means[key].xs(name).dropna(), key, correction_of(lines)) for key in columns.values())]
            for name in sorted(means.index.unique("row"), key=[*order, *found.row].index)
        ]
        return Table(title, ["", *columns], rows)

    def _cell(self, values: pandas.Series, key: str, correction: Correction) -> str:
        if values.empty:
            return ""
        found = correction.interval(values if len(values) >= FEWEST else [values.mean()])
        if key == "gain":
            return points(found)
        digits = 0 if key in self.whole else self.digits
        reach = "" if np.isnan(found.high) or not digits else f" ± {found.high - found.mean:.{digits}f}"
        return f"{found.mean:.{digits}f}{reach}"


class Quality(Measure):
    """Samples judged as `evaluate` judges them."""

    models = (REAL, *BASELINES, "vacwgan")
    columns = MAIN | {
        "recall": "recall",
        "spread": "spread",
        "spec to env": "retrieval/spec_to_env",
        "env to spec": "retrieval/env_to_spec",
        "autocorr.": "signal_autocorrelation",
        "score of trials: default": "default_score",
        "best": "best_score",
    }

    def check(self, cells: Sequence[Cell]) -> None:
        super().check(cells)
        for cell in cells:
            if cell.rows != FULL:
                raise MmganError(f"rows={cell.rows}: what samples add to few real ones is measure=utility; give that.")
            if cell.model in WITHOUT_SAMPLES:
                raise MmganError(f"models: {cell.model} makes no samples; measure=utility is for it.")

    def metrics(self, work: Work) -> dict[str, Any]:
        judge, y = work.judge(), work.train[1]
        found = judge.real() if work.cell.model == REAL else judge([(work.generated(y), y)])
        return found["metrics"] | (work.cell.trial_scores() if work.cell.tuned else {})

    def tables(self, lines: Sequence[Line], order: Sequence[str] = ()) -> list[Table]:
        if not any(line["variant"] for line in lines):
            return full_tables(lines)
        real = {line["fold"]: line["metrics"] for line in lines if line["model"] == REAL and "tstr" in line["metrics"]}

        def with_ratios(line: Line) -> Line:
            found, beside = line["metrics"], real.get(line["fold"])
            return {**line, "metrics": derived(found, beside) if beside and "tstr" in found else found}

        return super().tables([with_ratios(line) for line in lines], order)


class Utility(Measure):
    """What samples add to real training samples: to the vote of five classifiers, and to each of them.

    Of `real`, up to four times as many real samples. Test samples without labels may have been learnt from (`data.unlabelled=x_test`):
    then the figures are transductive.
    """

    models = (REAL, *WITHOUT_SAMPLES, "duplicate", "smote", "smoothed_bootstrap_5", "neighbour_bootstrap", "vacwgan")

    def check(self, cells: Sequence[Cell]) -> None:
        super().check([cell for cell in cells if cell.model not in WITHOUT_SAMPLES])
        for cell in cells:
            if cell.model == PSEUDO_LABELS and cell.config().data.unlabelled == NONE:
                raise MmganError("models: pseudo_labels needs unlabelled samples; give data.unlabelled=.")

    def wants(self, cell: Cell) -> bool:
        return cell.rows != FULL or cell.model != REAL  # of which none would be left to add

    def metrics(self, work: Work) -> dict[str, Any]:
        judge = Augmentation(work.train, work.utility_test(), work.cell.seed + work.cell.fold)
        x, y = work.dataset.samples(work.fold.extra_indices)
        kept, left_out = (np.bincount(each, minlength=work.dataset.schema.n_classes) for each in (work.train[1], y))
        labels = np.repeat(np.arange(len(kept)), synthetic_per_class(kept, work.pool_size))
        if work.cell.model == "class_weights":
            return judge.class_weights() | {"added": 0}
        if work.cell.model == "mixup":
            return judge.mixup(len(labels)) | {"added": len(labels)}
        if work.cell.model == PSEUDO_LABELS:
            extra = work.pseudo_labelled()
        elif work.cell.model == REAL:
            rng, counts = np.random.default_rng([work.cell.seed, work.cell.fold]), real_per_class(kept, left_out)
            chosen = [rng.permutation(np.flatnonzero(y == k))[:count] for k, count in enumerate(counts)]
            extra = take(x, np.concatenate(chosen)), y[np.concatenate(chosen)]
        else:
            extra = work.generated(labels), labels
        return judge.samples(extra) | {"added": len(extra[1])}

    def tables(self, lines: Sequence[Line], order: Sequence[str] = ()) -> list[Table]:
        return utility_tables(lines)


class Classification(Measure):
    """Macro-F1 of classifiers on each fold's val_indices: with all modalities, one missing, and noise on one."""

    models = ("robust_classifier", *CLASSICAL)
    suits = models
    levels = (0.5, 1.0)  # of the noise, in deviations of the training samples

    def metrics(self, work: Work) -> dict[str, Any]:
        return self.scores(work, work.train, work.dataset.samples(work.fold.val_indices), [work.cell])

    def scores(
        self, work: Work, train: LabelledSamples, test: LabelledSamples, members: list[Cell]
    ) -> dict[str, float]:
        """Return the metrics of these cells' mean probabilities, or of a classical classifier."""
        x, y = test
        if not work.cell.trained:
            return {"all": classical_f1(work.cell.model, train, test)}
        models = [cell.trained_model() for cell in members]
        answers = {
            name: np.mean([model.predict_probabilities(each) for model in models], axis=0)
            for name, each in conditions(x, train[0], self.levels).items()
        }
        found = {name: macro_f1(y, each.argmax(1)) for name, each in answers.items()}
        return found | {"calibration error": calibration_error(y, answers["all"])}


class Ensemble(Classification):
    """The same on the test samples, of all folds' classifiers together; of classical ones that saw all training samples."""

    def __init__(self, cfg: DictConfig) -> None:
        super().__init__(cfg)
        self.options, self.folds = {"folds": self.folds}, [0]

    def metrics(self, work: Work) -> dict[str, Any]:
        everything = work.dataset.samples(np.arange(len(work.dataset)))
        return self.scores(
            work, everything, work.test, [replace(work.cell, fold=fold) for fold in self.options["folds"]]
        )


def conditions(x: Arrays, train: Arrays, levels: Sequence[float]) -> dict[str, Arrays]:
    """Return the samples as they are, without each modality, and with noise on each, in deviations of the training samples' values.

    What is never negative stays so.
    """
    found = {"all": dict(x)}
    if len(x) > 1:
        found |= {f"no {name}": {k: v for k, v in x.items() if k != name} for name in x}
    for number, name in enumerate(x):
        lowest = 0 if train[name].min() >= 0 else -np.inf
        for level in levels:
            noise = np.random.default_rng([number, round(10 * level)]).normal(size=x[name].shape)
            noisy = np.maximum(x[name] + level * train[name].std(0) * noise, lowest)
            found[f"{name} + {level:g}"] = {**x, name: noisy.astype(np.float32)}
    return found


def classical_f1(name: str, train: LabelledSamples, test: LabelledSamples) -> float:
    """Return the macro-F1 of a classical classifier."""
    from mmgan.evaluation.classifiers import fit, forest, task_classifiers
    from mmgan.evaluation.features import FeatureSpace

    space = FeatureSpace(train[0], seed=0)
    flat, tested = (np.hstack([space.flat(x, each) for each in space.names]) for x in (train[0], test[0]))
    width = flat.shape[1]
    return macro_f1(
        test[1], fit((task_classifiers(width) | {"forest": forest(width)})[name], flat, train[1]).predict(tested)
    )


MEASURES = {"quality": Quality, "utility": Utility, "classification": Classification, "ensemble": Ensemble}
