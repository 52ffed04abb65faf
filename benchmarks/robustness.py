"""A classifier of several modalities with all of them, with one missing, and with one noisy: variants, and classical ones beside them.

Each variant is the robust classifier with options changed, trained on all training samples of each fold. Its macro-F1 is that on each
fold's own val_indices (mean over folds, with its interval), and that of the folds' ensemble on the test samples; the classical
classifiers' that of the fold's samples, and of all training samples. Noise is white, on one modality, in deviations
of each value over the training samples. Each finished training is a line of `out`, and the same command goes on where it was stopped.

    python benchmarks/robustness.py data=watch workers=2
    python benchmarks/robustness.py data=watch draw=1 folds=1,2 workers=2 'variants=default,concat,focal exponent 0'
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from cells import Cell, Line, OptionsOfOneData, completed, labelled_test_samples, markdown, read_options, stamped

from mmgan.evaluation.classifiers import macro_f1
from mmgan.evaluation.prediction import calibration_error
from mmgan.evaluation.statistics import interval
from mmgan.evaluation.table import REAL
from mmgan.schema import Arrays
from mmgan.training.predictions import ensemble

PLAIN = "model/fusion=concat model.corruption.drop=0"
VARIANTS = {
    "default": "",
    "concat without dropout": PLAIN,
    "one network": "model.members=1",
    "concat": "model/fusion=concat",
    "gated uncertainty": "model/fusion=gated_uncertainty",
    "product of experts": "model/fusion=product_of_experts",
    "no contrast": "model.weights.classifier.contrastive=0",
    "contrast 1": "model.weights.classifier.contrastive=1",
    "focal exponent 0": "model.loss.gamma=0",
    "focal exponent 2": "model.loss.gamma=2",
    "no smoothing": "model.loss.smoothing=0",
    "smoothing .1": "model.loss.smoothing=0.1",
    "no modality dropout": "model.corruption.drop=0",
    "modality dropout .6": "model.corruption.drop=0.6",
    "no noise": "model.corruption.noise=0",
    "no mixup": "model.training.mixup=0",
    "scaled to quantiles": "model/scaler=quantile",
    "convolutions": "model.network.branch.stages=2",
    "no decoders": "model.weights.classifier.reconstruction=0",
}
SHOWN = "default,concat without dropout"
CLASSICAL = ("logistic", "forest", "svc", "mlp")
LEVELS = (0.5, 1.0)
ENSEMBLE = 0  # in the place of a fold's number


@dataclass
class Options(OptionsOfOneData):
    """The command line."""

    variants: str = SHOWN
    out: str = "runs/robustness/robustness.jsonl"


@dataclass(frozen=True)
class Variant(Cell):
    """A cell of the robust classifier with options changed, or of a classical classifier; or the ensemble of `folds`."""

    variant: str
    folds: str

    def overrides(self, of_all: str) -> str:
        """Return the options of train.py that change it, behind those of all variants."""
        # Classical classifiers have no configuration of their own: it is there for the data.
        return f"{'model=robust_classifier' if self.model == REAL else ''} {of_all} {VARIANTS.get(self.variant, '')}"

    def member(self, fold: int, of_all: str) -> Any:
        """Return the trained model of a fold."""
        cell = Cell(self.data, self.draw, self.rows, self.model, fold, self.seed)
        return cell.model_of(f"runs/robustness/{self.variant.replace(' ', '_')}", self.overrides(of_all))

    @property
    def folds_of_ensemble(self) -> list[int]:
        """The folds' numbers."""
        return [int(fold) for fold in self.folds.split(",")]


def main() -> None:
    """Train what is missing in `workers` processes, and print the tables."""
    options = read_options(Options, sys.argv[1:])
    names = options.variants.split(",")
    if unknown := [name for name in names if name not in VARIANTS]:
        sys.exit(f"error: {unknown[0]}: there is no such variant; variants are {', '.join(VARIANTS)}.")
    folds = [int(fold) for fold in options.folds.split(",")]

    def done(variants: Sequence[str], folds: Sequence[int], model: str) -> list[Line]:
        where = options.data, options.draw, "full", model
        keys = [
            Variant(*where, fold, options.seed, name, options.folds if fold == ENSEMBLE and model != REAL else "")
            for name in variants
            for fold in folds
        ]
        wanted = stamped(keys, lambda key: key.settings(key.overrides(options.overrides), levels=LEVELS))
        work, log = partial(measured, of_all=options.overrides), Path("runs/robustness/log.txt")
        return list(completed(wanted, work, Path(options.out), options.workers, log=log).values())

    lines = done(names, folds, "robust_classifier")
    lines += done(names, [ENSEMBLE], "robust_classifier")
    lines += done(CLASSICAL, [*folds, ENSEMBLE], REAL)
    print(f"On each fold's own val_indices:\n\n{table(lines, 'val')}\n")
    print(f"On the test samples, the folds' ensemble:\n\n{table(lines, 'test')}")


def measured(key: Variant, of_all: str = "") -> Line:
    """Return macro-F1 by condition: of a fold on its `val` samples, of the ensemble, or of all training samples, on the `test` samples."""
    from mmgan.training.run import load_data

    from mmgan.data.folds import configured_folds, select_fold

    cfg = key.config(key.overrides(of_all))
    dataset = load_data(cfg)
    folds = configured_folds(dataset, cfg.data)
    fold = None if key.fold == ENSEMBLE else select_fold(folds, key.fold)
    x, y = labelled_test_samples(dataset) if fold is None else dataset.samples(fold.val_indices)
    train = dataset.samples(np.arange(len(dataset)) if fold is None else fold.train_indices)
    sizes = {"n_train": len(folds[0].train_indices), "n_val": len(folds[0].val_indices)}
    if key.model == REAL:
        return sizes | {"metrics": {"all": of_classical(key.variant, train, (x, y))}}
    models = [key.member(number, of_all) for number in (key.folds_of_ensemble if fold is None else [key.fold])]
    answers = {name: ensemble(models, rows).mean(0) for name, rows in conditions(x, train[0]).items()}
    metrics = {name: round(macro_f1(y, each.argmax(1)), 5) for name, each in answers.items()}
    return sizes | {"metrics": metrics, "calibration_error": round(calibration_error(y, answers["all"]), 5)}


def conditions(x: Arrays, train: Arrays) -> dict[str, dict[str, np.ndarray]]:
    """Return the samples as they are, without each modality, and with noise on each, in deviations of the training samples' values.

    What is never negative stays so.
    """
    found = {"all": dict(x)}
    if len(x) > 1:
        found |= {f"no {name}": {k: v for k, v in x.items() if k != name} for name in x}
    for number, name in enumerate(x):
        for level in LEVELS:
            noise = np.random.default_rng([number, round(10 * level)]).normal(size=x[name].shape)
            noisy = x[name] + level * train[name].std(0) * noise
            lowest = 0 if train[name].min() >= 0 else -np.inf
            found[f"{name} + {level:g}"] = {**x, name: np.maximum(noisy, lowest).astype(np.float32)}
    return found


def of_classical(name: str, train: tuple, test: tuple) -> float:
    """Return the macro-F1 of a classical classifier."""
    from mmgan.evaluation.classifiers import fit, task_classifiers
    from mmgan.evaluation.features import FeatureSpace

    space = FeatureSpace(train[0], seed=0)
    flat, tested = (np.hstack([space.flat(x, modality) for modality in space.names]) for x in (train[0], test[0]))
    member = fit(task_classifiers(flat.shape[1])[name], flat, train[1])
    return round(macro_f1(test[1], member.predict(tested)), 5)


def table(lines: list[Line], rows: str) -> str:
    """Return macro-F1 by variant and condition as Markdown: on `val` the mean over folds and its interval, on `test` the ensemble's."""
    order = {name: place for place, name in enumerate((*VARIANTS, *CLASSICAL))}
    chosen = [line for line in lines if (line["fold"] == ENSEMBLE) == (rows == "test")]
    chosen.sort(key=lambda line: order[line["variant"]])
    conditions = list(chosen[0]["metrics"])
    body = [["", *conditions, "calibration error"]]
    for variant in dict.fromkeys(line["variant"] for line in chosen):
        own = [line for line in chosen if line["variant"] == variant]
        values = [[line["metrics"][name] for line in own] for name in conditions if name in own[0]["metrics"]]
        errors = [line["calibration_error"] for line in own if "calibration_error" in line]
        shown = [one_number(each, own[0]) for each in [*values, *([errors] if errors else [])]]
        body.append([variant, *shown, *[""] * (len(body[0]) - 1 - len(shown))])
    return markdown(body)


def one_number(values: list[float], sizes: Line) -> str:
    """Return the mean of one value per fold, with its 95 % interval where there are more than two."""
    found = interval(values, sizes["n_train"], sizes["n_val"])
    return f"{found.mean:.3f}" if len(values) < 3 else f"{found.mean:.3f} ± {found.high - found.mean:.3f}"


if __name__ == "__main__":
    main()
